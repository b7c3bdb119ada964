"""Stored records as the API shows them: as they are, with `text`, and `sha256` for each part.

Only the parts are decoded; everything else goes from the store to the answer as the bytes it is, numbers of any size too.
"""

import hashlib
from collections.abc import Sequence

import msgspec

from processor.store_port import StoredResponse
from topics.records import TEXT_PART

Fields = dict[str, msgspec.Raw]
_decode_record = msgspec.json.Decoder(Fields).decode
_decode_parts = msgspec.json.Decoder(list[Fields]).decode
_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode
_NO_TEXT = msgspec.Raw(b'""')


def render(stored: StoredResponse, fields: frozenset[str] | None = None) -> bytes:
    """One JSON object. `fields` keeps only those of these names; None keeps all."""
    record = _decode_record(stored.value)
    if fields is not None:
        kept = {name: value for name, value in record.items() if name in fields}
        if not fields & {"parts", "text"}:
            return _encode(kept)
    parts = _decode_parts(record["parts"])
    texts = [(_decode_text(part["part"]), part["text"]) for part in parts]
    text = next((raw for name, raw in texts if name == TEXT_PART), _NO_TEXT)
    hashed = [part | {"sha256": _hash(part["text"])} for part in parts]
    whole = record | {"parts": msgspec.Raw(_encode(hashed)), "text": text}
    return _encode(whole if fields is None else {name: value for name, value in whole.items() if name in fields})


def _hash(text: msgspec.Raw) -> msgspec.Raw:
    return msgspec.Raw(_encode(hashlib.sha256(_decode_text(text).encode()).hexdigest()))


def render_page(items: Sequence[bytes], following: str | None) -> bytes:
    return b'{"items":[' + b",".join(items) + b'],"next":' + _encode(following) + b"}"
