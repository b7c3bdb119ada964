"""What a probe makes of what a reader gets: well, late, lost, twice, out of order, altered."""

from collections.abc import Sequence

import pytest

from processor.probe.probe import Judgement, Result, Sent
from processor.reader.frames import Message, digests, sha256_of, utf16_length
from processor.reader.reader import Reader
from processor.telemetry.metrics import PROBE_RESULTS

WELL = Judgement(lost=0, repeated=0, out_of_order=0, altered=False)
TOKENS = 6


def sent(tokens: int = TOKENS) -> tuple[Sent, list[Message]]:
    """A probe, and the frames that a relay makes of it, a token each: a start, the tokens, a stop."""
    probe = Sent("probe-1", Reader())
    frames = [frame("start", 0)]
    offset = 0
    for number in range(tokens):
        text = probe.next_token(float(number))
        frames.append(frame("token", number + 1, text, offset))
        offset += utf16_length(text)
    parts = [{"part": "text", "length": offset, "sha256": sha256_of(probe.text)}]
    stop = {"reason": "stop", "status": "complete", "parts": parts}
    assert digests(stop)
    return probe, [*frames, frame("stop", tokens + 1, stop)]


def frame(name: str, seq: int, data: object = None, offset: int = 0, response_id: str = "probe-1") -> Message:
    headers = {"responseId": response_id, "seq": str(seq), "seqEnd": str(seq), "offset": str(offset)}
    return Message(name=name, data=data, headers=headers, client_id="tokenstream")


def judged(probe: Sent, frames: Sequence[Message]) -> Judgement:
    for each in frames:
        probe.receive(each)
    return probe.judge()


def test_a_probe_that_came_whole_is_clean() -> None:
    probe, frames = sent()
    assert judged(probe, frames) == WELL
    assert probe.stopped


def test_a_repeat_that_readers_drop_by_its_offset_is_no_fault() -> None:
    probe, frames = sent()
    assert judged(probe, [*frames[:4], *frames[1:4], *frames[4:]]) == WELL


def test_what_has_not_come_by_the_deadline_is_late_and_not_lost() -> None:
    probe, frames = sent()
    assert judged(probe, frames[:3]).clean
    assert not probe.stopped


def test_a_token_missing_before_others_is_lost() -> None:
    probe, frames = sent()
    judgement = judged(probe, [*frames[:2], *frames[3:5]])
    assert (judgement.lost, judgement.clean) == (1, False)


def test_a_stop_without_the_last_tokens_is_a_loss_too() -> None:
    probe, frames = sent()
    judgement = judged(probe, [*frames[:-3], frames[-1]])
    assert judgement.lost == 2


def test_a_gap_announced_for_a_token_that_was_sent_is_a_loss() -> None:
    probe, frames = sent()
    gap = frame("gap", 3, {"from": 3, "to": 3})
    later = [frame("token", 4, frames[4].data, int(frames[3].headers["offset"]))]
    assert judged(probe, [*frames[:3], gap, *later]).lost == 1


def test_frames_that_overtake_one_another_are_out_of_order() -> None:
    probe, frames = sent()
    judgement = judged(probe, [*frames[:2], frames[3], frames[2], *frames[4:]])
    assert (judgement.lost, judgement.repeated) == (0, 0)
    assert judgement.out_of_order >= 1


def test_tokens_the_relay_shows_twice_or_swaps_are_seen_though_offsets_are_right() -> None:
    for order, repeated, swapped in (((0, 1, 1, 2), 1, 0), ((1, 0, 2), 0, 1)):
        probe, frames = sent()
        offset, faked = 0, [frames[0]]
        for seq, number in enumerate(order, start=1):
            text = str(frames[number + 1].data)
            faked.append(frame("token", seq, text, offset))
            offset += utf16_length(text)
        judgement = judged(probe, faked)
        assert (judgement.repeated, judgement.out_of_order) == (repeated, swapped)


def test_the_probes_of_others_on_the_channel_count_for_nothing() -> None:
    probe, frames = sent()
    foreign = [frame("start", 0, response_id="probe-2"), frame("token", 5, "<9> ", 50, "probe-2")]
    assert judged(probe, [*foreign, *frames[:3], *foreign, *frames[3:]]) == WELL


def test_each_token_is_timed_once() -> None:
    probe, frames = sent(3)
    times: list[float] = []
    for number, each in enumerate(frames):
        probe.receive(each)
        times += probe.arrived(10.0 + number)
    assert times == [11.0, 11.0, 11.0]


@pytest.mark.parametrize("result", Result)
def test_every_result_has_a_series_of_its_own(result: Result) -> None:
    assert result in PROBE_RESULTS
    assert len(Result) == len(PROBE_RESULTS)
