"""Decoding takes time linear in the size of the value, for any bytes."""

import gc
import json
import time
from collections.abc import Callable

import pytest

from topics.codec import Decoder, Invalid, TokenRecord
from topics.records import Reason

SMALL, TIMES = 8 * 1024, 16
MEGABYTE = 1024 * 1024
SECONDS_FOR_A_MEGABYTE = 10.0
"""A quadratic search needs minutes, a linear one some milliseconds."""


def padded(head: bytes, unit: bytes, tail: bytes = b"") -> Callable[[int], bytes]:
    return lambda size: head + unit * ((size - len(head) - len(tail)) // len(unit)) + tail


def cut_off(size: int) -> bytes:
    """A token record that ends in the middle of its text, which is JSON itself."""
    inner = json.dumps([{"name": "city", "value": n} for n in range(size // 36)])
    whole = {"v": 1, "event": "token", "responseId": "r-1", "seq": 5, "text": inner}
    return json.dumps(whole).encode()[:size]


TOKEN = b'{"event":"token","responseId":"r-1","seq":1,"text":"a",'
FAMILIES: dict[str, Callable[[int], bytes]] = {
    "escaped quotes after brackets": padded(b"[" * 513, b'\\"'),
    "a cut record of JSON in JSON": cut_off,
    "quotes after brackets": padded(b"[" * 513, b'"'),
    "backslashes after brackets": padded(b"[" * 513 + b'"', b"\\"),
    "backslashes and brackets": padded(b'"', b"\\["),
    "quotes and brackets": padded(b"", b'"['),
    "open brackets": padded(b"", b"["),
    "open objects": padded(b"", b'{"a":'),
    "closed brackets": padded(b"", b"]"),
    "empty arrays": padded(b"[", b"[],", b"0]"),
    "strings of brackets": padded(b"[", b'"[[",', b"0]"),
    "one text of quotes": padded(TOKEN[:-4], b'\\"', b'"}'),
    "one text of surrogates": padded(b'{"event":"token","responseId":"r-1","text":"', b"\\ud83d", b'"}'),
    "one text of control characters": padded(b'{"event":"token","responseId":"r-1","text":"', b"\\u0001", b'"}'),
    "one long integer": padded(TOKEN + b'"zz":', b"9", b"}"),
    "one long fraction": padded(TOKEN + b'"zz":0.', b"9", b"}"),
    "one long exponent": padded(TOKEN + b'"zz":1e', b"9", b"}"),
    "long integers": padded(TOKEN + b'"zz":[', b"9" * 4000 + b",", b"0]}"),
    "a repeated name": padded(TOKEN, b'"text":"b",', b'"v":1}'),
    "many names of surrogates": padded(TOKEN + b'"zz":{', b'"\\ud83d":1,', b'"a":1}}'),
    "metadata of surrogates": padded(
        b'{"event":"start","responseId":"r-1","channel":"c","metadata":{', b'"\\ud83d":"\\ude00",', b'"a":1}}'
    ),
    "metadata of integers": padded(
        b'{"event":"start","responseId":"r-1","channel":"c","metadata":{"a":[', b"9" * 300 + b",", b"0]}}"
    ),
    "a long responseId": padded(b'{"event":"token","text":"a","responseId":"', b"r", b'"}'),
    "a long channel": padded(b'{"event":"start","responseId":"r","channel":"', b"c", b'"}'),
    "a long part": padded(TOKEN + b'"part":"', b"p", b'"}'),
    "a long kind": padded(TOKEN + b'"kind":"', b"k", b'"}'),
    "whitespace": padded(b"", b" "),
    "newlines and a value": padded(b"", b"\n", b"nothing"),
    "NUL": padded(b"", b"\0"),
    "UTF-16": padded(b"\xff\xfe", b"{\0"),
    "broken UTF-8": padded(TOKEN + b'"zz":"', b"\xed\xa0\xbd", b'"}'),
}


def seconds(value: bytes) -> float:
    """Of processor time, the best of three, without what the garbage collector makes of other tests' objects."""
    best = float("inf")
    gc.disable()
    for _ in range(3):
        began = time.process_time()
        Decoder().decode(value)
        best = min(best, time.process_time() - began)
        if best > SECONDS_FOR_A_MEGABYTE:
            break
    gc.enable()
    return best


@pytest.mark.costly
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_sixteen_times_the_bytes_take_no_square_of_the_time(family: Callable[[int], bytes]) -> None:
    small, large = seconds(family(SMALL)), seconds(family(SMALL * TIMES))
    assert large < max(small, 0.0005) * TIMES * 5  # a square would be 16 times as much, not 5


@pytest.mark.costly
@pytest.mark.parametrize("name", ["escaped quotes after brackets", "a cut record of JSON in JSON"])
def test_a_cut_megabyte_is_refused_at_once(name: str) -> None:
    value = FAMILIES[name](MEGABYTE)
    began = time.process_time()
    verdict = Decoder().decode(value)
    assert time.process_time() - began < SECONDS_FOR_A_MEGABYTE
    assert isinstance(verdict, Invalid)
    assert verdict.reason is Reason.NOT_JSON


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_every_value_cut_anywhere_gives_an_answer(family: Callable[[int], bytes]) -> None:
    value = family(2000)
    for end in range(0, len(value), 7):
        assert isinstance(Decoder().decode(value[:end]), TokenRecord | Invalid)
