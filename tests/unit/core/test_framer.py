"""The fields of a frame about the tokens that it carries."""

from dataclasses import dataclass

from processor.core.framer import build
from processor.core.items import PartText, Run
from processor.core.response import Response
from topics.records import TEXT_PART


@dataclass(frozen=True)
class Record:
    offset: int
    timestamp: int | None = None
    key: bytes | None = b"k"
    value: bytes | None = b"{}"
    headers: tuple[()] = ()


def _with_run(texts: list[str]) -> Response:
    """A response with a run of tokens from number 2 on."""
    response = Response("r", 0.0)
    count = len(texts)
    records = [Record(100 + index) for index in range(count)]
    stamps = [1_000 + index for index in range(count)]
    response.begin_run(Run(2, PartText(TEXT_PART, TEXT_PART, None), texts, stamps, list(records)))
    return response


def test_frames_of_a_run_have_the_numbers_of_their_own_tokens() -> None:
    response = _with_run(["x" * 400] * 7)
    response.limit_frame_text(1_024)
    ids, counts = [], []
    while response.queue:
        frame = build(response, 65_536).frame
        ids.append(frame.id.rsplit("/", 1)[0])
        counts.append(frame.tokens)
        assert frame.headers["seq"] == frame.id.split("/")[2].split("-")[0]
    assert ids == ["r/token/2-3", "r/token/4-5", "r/token/6-7", "r/token/8-8"]
    assert counts == [2, 2, 2, 1]


def test_a_frame_of_a_run_has_the_time_and_offset_of_its_oldest_token() -> None:
    response = _with_run(["x" * 400] * 3)
    response.limit_frame_text(1_024)
    frame = build(response, 65_536).frame
    assert (frame.oldest_ts, frame.oldest_offset) == (1_000, 100)
