"""The checker finds each kind of wrong it is there to find."""

import pytest

from devtools.judge.frames import check
from processor.reader.frames import sha256_of, utf16_length
from processor.reader.reader import Message

TEXT = {"r": {"text": "a😀bc"}}


def start() -> Message:
    return message("start", None, seq=0)


def token(seq: int, offset: int, text: str, seq_end: int | None = None) -> Message:
    return message("token", text, seq=seq, seqEnd=seq_end or seq, offset=offset)


def stop(seq: int, text: str = "a😀bc") -> Message:
    parts = [{"part": "text", "length": utf16_length(text), "sha256": sha256_of(text)}]
    return message("stop", {"reason": "stop", "status": "complete", "parts": parts}, seq=seq)


def message(name: str, data: object, **headers: int) -> Message:
    strings = {"responseId": "r", **{key: str(value) for key, value in headers.items()}}
    return Message(name=name, data=data, headers=strings, client_id="tokenstream")


GOOD = [start(), token(1, 0, "a😀"), token(2, 3, "b"), token(3, 4, "c"), stop(4)]


def test_what_is_published_well_is_perfect() -> None:
    report = check(GOOD, TEXT)
    assert report.perfect, report
    assert (report.frames, report.tokens) == (5, 3)


def test_pieces_of_one_large_token_are_neither_repeats_nor_disorder() -> None:
    assert check([start(), token(1, 0, "a"), token(1, 1, "😀"), token(2, 3, "bc"), stop(3)], TEXT).perfect


@pytest.mark.parametrize(
    ("published", "wrong"),
    [
        ([GOOD[0], GOOD[2], GOOD[1], *GOOD[3:]], {"out_of_order": 1, "holes": 1}),
        ([*GOOD[:2], *GOOD[3:]], {"lost": 1, "holes": 1, "lost_for_reader": 1}),
        (GOOD[:-1], {"unfinished": 1}),
        ([*GOOD, token(5, 5, "d")], {"out_of_order": 1}),
        ([*GOOD[:3], token(3, 4, "x"), GOOD[4]], {"lost_for_reader": 1}),
        ([*GOOD[:4], stop(4, "a😀bd")], {"mismatches": 1}),
        ([*GOOD[:4], token(4, 5, "c"), stop(5, "a😀bcc")], {"mismatches": 1, "repeated_for_reader": 1}),
        ([], {"unfinished": 1, "lost_for_reader": 1}),
        ([*GOOD, message("token", "x", seq=1, offset=-1)], {"malformed": 1}),
    ],
)
def test_what_is_wrong_is_counted(published: list[Message], wrong: dict[str, int]) -> None:
    assert check(published, TEXT).wrong == wrong


@pytest.mark.parametrize("index", range(5))
def test_a_repeat_is_counted_as_published_and_does_the_reader_no_harm(index: int) -> None:
    report = check([*GOOD[: index + 1], GOOD[index], *GOOD[index + 1 :]], TEXT)
    assert (report.repeated_as_published, report.wrong) == (1, {})


def test_an_overlap_is_a_repeat() -> None:
    report = check([*GOOD[:2], token(1, 1, "😀b", seq_end=2), *GOOD[3:]], TEXT)
    assert (report.repeated_as_published, report.wrong) == (1, {})
