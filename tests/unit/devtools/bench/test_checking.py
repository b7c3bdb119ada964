from collections.abc import Callable, Mapping

import msgspec
import pytest

from devtools.bench.checking import Checker
from devtools.bench.load import Load
from devtools.judge.frames import Report
from processor.reader.frames import Message
from support.bench_world import frame, frames_of, record_of

LOAD = Load(name="t", responses=3, tokens=20, channels=2, seed=7)


def judged(load: Load, change: Callable[[list[Message]], list[Message]] = lambda frames: frames) -> Report:
    """The verdict on a faultless run whose second response was changed."""
    checker = Checker(load)
    for number in range(load.responses):
        frames = frames_of(load, number)
        for one in change(frames) if number == 1 else frames:
            checker.feed(one)
        checker.commit(record_of(load, number))
    return checker.verdict()


@pytest.mark.parametrize("alternate", [False, True])
def test_a_faultless_run_has_no_faults_and_every_token_is_counted(alternate: bool) -> None:
    load = msgspec.structs.replace(LOAD, alternate=alternate)
    verdict = judged(load)
    assert verdict.faults(repeats_allowed=False) == {}
    assert verdict.tokens == load.count()
    assert not alternate or verdict.text_frames == load.count()


def test_a_lost_frame_is_found() -> None:
    assert "lost" in judged(LOAD, lambda frames: [*frames[:2], *frames[3:]]).faults(repeats_allowed=False)


def test_a_number_left_out_is_found_though_the_text_is_whole() -> None:
    def change(frames: list[Message]) -> list[Message]:
        later = [
            Message(name=one.name, data=one.data, headers=moved(one.headers), client_id=one.client_id)
            for one in frames[3:]
        ]
        return [*frames[:3], *later]

    def moved(headers: Mapping[str, str]) -> dict[str, str]:
        return {name: str(int(told) + 1) if name in ("seq", "seqEnd") else told for name, told in headers.items()}

    assert judged(LOAD, change).faults(repeats_allowed=False) == {"lost": 1, "lost_for_reader": 1}


def test_a_lost_last_frame_of_text_is_found() -> None:
    assert "lost" in judged(LOAD, lambda frames: [*frames[:-2], frames[-1]]).faults(repeats_allowed=False)


def test_a_repeated_frame_is_found_and_may_be_allowed() -> None:
    verdict = judged(LOAD, lambda frames: [*frames[:3], frames[2], *frames[3:]])
    assert verdict.faults(repeats_allowed=False) == {"repeated_as_published": 4}
    assert verdict.faults(repeats_allowed=True) == {}


def test_a_frame_that_repeats_a_part_and_goes_on_is_found_and_may_be_allowed() -> None:
    """As a successor may publish what its predecessor had in flight, with more behind it."""

    def change(frames: list[Message]) -> list[Message]:
        two, three = frames[2], frames[3]
        headers = {**two.headers, "seqEnd": three.headers["seqEnd"]}
        both = Message(name="token", data=two.data + three.data, headers=headers, client_id=two.client_id)
        return [*frames[:3], both, *frames[4:]]

    verdict = judged(LOAD, change)
    assert verdict.faults(repeats_allowed=False) == {"repeated_as_published": 4}
    assert verdict.faults(repeats_allowed=True) == {}
    assert verdict.tokens == LOAD.count()


def test_two_frames_in_the_wrong_order_are_found() -> None:
    faults = judged(LOAD, lambda frames: [*frames[:2], frames[3], frames[2], *frames[4:]]).faults(repeats_allowed=False)
    assert faults == {"out_of_order": 1, "holes": 1}


def test_a_frame_after_the_stop_is_found() -> None:
    end = len(LOAD.texts(1)) + 2
    late = frame(LOAD, 1, "token", end, end, "late", offset=str(len(LOAD.parts(1)["text"])))
    assert "out_of_order" in judged(LOAD, lambda frames: [*frames, late]).faults(repeats_allowed=False)


def test_a_missing_stop_is_found() -> None:
    assert judged(LOAD, lambda frames: frames[:-1]).faults(repeats_allowed=False) == {"unfinished": 1}


def test_another_text_of_the_same_length_is_found() -> None:
    def change(frames: list[Message]) -> list[Message]:
        one = frames[2]
        other = Message(name=one.name, data="x" * len(one.data), headers=one.headers, client_id=one.client_id)
        return [*frames[:2], other, *frames[3:]]

    assert "lost_for_reader" in judged(LOAD, change).faults(repeats_allowed=False)


def test_a_stop_that_proves_another_text_is_found() -> None:
    def change(frames: list[Message]) -> list[Message]:
        stop = frames[-1]
        parts = [{**part, "sha256": "0" * 64} for part in stop.data["parts"]]
        other = Message(name="stop", data={**stop.data, "parts": parts}, headers=stop.headers, client_id=stop.client_id)
        return [*frames[:-1], other]

    assert judged(LOAD, change).faults(repeats_allowed=False) == {"mismatches": 1}


def test_an_announced_gap_is_a_loss_though_readers_would_bear_it() -> None:
    def change(frames: list[Message]) -> list[Message]:
        gone = frames[2]
        seq, end = int(gone.headers["seq"]), int(gone.headers["seqEnd"])
        gap = frame(LOAD, 1, "gap", seq, end, {"from": seq, "to": end}, seqEnd=str(end))
        return [*frames[:2], gap, *frames[3:]]

    assert judged(LOAD, change).faults(repeats_allowed=False) == {"holes": 1, "lost_for_reader": 1}


def test_a_frame_that_is_no_frame_is_found_and_another_publishers_message_is_not_looked_at() -> None:
    wrong = Message(name="token", data=None, headers={"responseId": LOAD.response_id(1)}, client_id="tokenstream")
    stranger = Message(name="hello", data="", headers={}, client_id="someone")
    assert judged(LOAD, lambda frames: [*frames, wrong]).faults(repeats_allowed=False) == {"malformed": 1}
    assert judged(LOAD, lambda frames: [*frames, stranger]).faults(repeats_allowed=False) == {}


def test_a_response_without_a_whole_committed_record_counts_all_its_tokens_as_uncommitted() -> None:
    for spoil in (None, "text", "tokens"):
        checker = Checker(LOAD)
        for number in range(LOAD.responses):
            for one in frames_of(LOAD, number):
                checker.feed(one)
            record = record_of(LOAD, number)
            if number != 1:
                checker.commit(record)
            elif spoil == "text":
                parts = tuple(msgspec.structs.replace(part, text=part.text[:-1]) for part in record.parts)
                checker.commit(msgspec.structs.replace(record, parts=parts))
            elif spoil == "tokens":
                checker.commit(msgspec.structs.replace(record, tokens=record.tokens - 1))
        assert checker.verdict().faults(repeats_allowed=False) == {"uncommitted": len(LOAD.texts(1))}
