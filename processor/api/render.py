"""Renders stored records for the API: unchanged, with `text`, and `sha256` for each part.

Only the parts are decoded; all other bytes are copied from the store to the answer, including numbers of any size.
A page is rendered piece by piece, and each record is released once it is rendered.
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator

import msgspec

from processor.ports.store import StoredResponse
from topics.records import TEXT_PART

Fields = dict[str, msgspec.Raw]
Pieces = Iterator[bytes]
_decode_record = msgspec.json.Decoder(Fields).decode
_decode_parts = msgspec.json.Decoder(list[Fields]).decode
_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode
_NO_TEXT = msgspec.Raw(b'""')
PIECE_BYTES = 256 * 1024
"""A piece of a page ends at this size; a single larger record is still a piece."""


def render(value: bytes, fields: frozenset[str] | None = None) -> bytes:
    """One JSON object of a stored record's bytes. `fields` keeps only those of these names; None keeps all."""
    record = _decode_record(value)
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
    raw = bytes(text)
    # A text without escapes has the same bytes in the record.
    plain = memoryview(raw)[1:-1] if b"\\" not in raw else _decode_text(raw).encode()
    return msgspec.Raw(_encode(hashlib.sha256(plain).hexdigest()))


def render_page(
    items: Iterable[StoredResponse],
    following: str | None,
    fields: frozenset[str] | None = None,
    *,
    more_open: bool = False,
) -> Pieces:
    """A page, in pieces. `more_open`: its `next` leads to open responses."""
    waiting = deque(item.value for item in items)
    del items
    gathered, separator = bytearray(b'{"items":['), b""
    while waiting:
        body = render(waiting.popleft(), fields)
        gathered += separator
        separator = b","
        if len(gathered) + len(body) > PIECE_BYTES:
            yield bytes(gathered)
            gathered.clear()
        if len(body) > PIECE_BYTES:
            yield body
        else:
            gathered += body
        del body
    gathered += b'],"next":' + _encode(following) + (b',"moreOpen":true}' if more_open else b"}")
    yield bytes(gathered)
