"""A dead letter has the headers of its record, as they were; what can't be kept is stated."""

from dataclasses import dataclass
from typing import Any

from processor.core.dead_letters import KEEP_HEADERS, headers_of, value_of
from processor.core.write_queue import DeadLetter
from topics.records import Reason

OWN = ["tokenstream-reason", "tokenstream-topic", "tokenstream-partition", "tokenstream-offset", "tokenstream-time"]


@dataclass(frozen=True)
class Sent:
    headers: Any = ()
    value: bytes | None = b"{}"
    key: bytes | None = b"k"
    offset: int = 7
    timestamp: int = -1
    renamed: int = 0


def headers(raw: Sent, detail: str = "") -> list[tuple[str, bytes | None]]:
    return headers_of(DeadLetter(raw, Reason.INVALID, detail), topic="t", partition=3, now_ms=1)


def test_all_headers_come_through_in_order_null_and_repeated_ones_too() -> None:
    sent = (("n", None), ("content-type", b"application/json"), ("baggage", b"b" * 9_000), ("n", b"second"), ("", b""))
    written = headers(Sent(sent))
    assert tuple(written[: len(sent)]) == sent
    assert [name for name, _ in written[len(sent) :]] == OWN


def test_one_that_is_too_large_takes_no_other_along_and_is_stated() -> None:
    sent = (("a", b"1"), ("big", b"x" * KEEP_HEADERS), ("z", None))
    written = headers(Sent(sent))
    assert written[:2] == [("a", b"1"), ("z", None)]
    stated = dict(written)
    assert stated["tokenstream-headers-left-out"] == b"1"
    assert int(stated["tokenstream-headers-size"] or 0) > KEEP_HEADERS


def test_many_small_ones_are_bounded() -> None:
    written = headers(Sent([("h", b"")] * 100_000))
    assert len(written) < 4_000
    assert int(dict(written)["tokenstream-headers-left-out"] or 0) == 100_000 - sum(name == "h" for name, _ in written)


def test_our_names_are_never_the_originals() -> None:
    written = headers(Sent((("tokenstream-reason", b"forged"),)))
    assert [value for name, value in written if name == "tokenstream-reason"] == [b"invalid"]
    assert dict(written)["tokenstream-headers-left-out"] == b"1"


def test_names_that_are_not_utf8_are_stated() -> None:
    assert dict(headers(Sent((("\\xff", b"x"),), renamed=1)))["tokenstream-headers-renamed"] == b"1"
    assert headers(Sent((("\ud800", b"x"),)))[0] == ("?", b"x")


def test_a_record_of_nothing_is_written_as_an_empty_value() -> None:
    assert value_of(DeadLetter(Sent(value=None, key=None), Reason.NOT_JSON), 1 << 20) == (
        b"",
        [("tokenstream-null-value", b"true")],
    )
    assert value_of(DeadLetter(Sent(value=None), Reason.NOT_JSON), 1 << 20) == (None, [])
