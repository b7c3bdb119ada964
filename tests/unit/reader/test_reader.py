"""The reader of frames, against the vectors it shares with its JavaScript twin, and against incomplete input."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.reader.events import Appended, RepairNeeded, Started, Stopped
from processor.reader.frames import sha256_of, utf16_length
from processor.reader.reader import Message, Reader, ReaderLimits, ReaderResponse

VECTORS = Path(__file__).parents[2] / "vectors"
LIMIT_NAMES = {"finished": "finished", "open": "open", "heldFrames": "held_frames", "heldUnits": "held_units"}


def all_vectors() -> list[Any]:
    return [
        pytest.param(vector, id=f"{path.stem}: {vector['name']}")
        for path in sorted(VECTORS.glob("*.json"))
        for vector in json.loads(path.read_text())
    ]


def message(raw: dict[str, Any]) -> Message:
    return Message(name=raw["name"], data=raw["data"], headers=raw["headers"], client_id=raw.get("clientId"))


def take(reader: Reader, step: dict[str, Any]) -> None:
    match step:
        case {"feed": frame}:
            reader.feed(message(frame))
        case {"replay": frames}:
            reader.replay([message(frame) for frame in frames])
        case {"hydrate": record}:
            reader.hydrate(record)
        case {"giveUp": response_id}:
            reader.give_up(response_id)


def described(response: ReaderResponse) -> dict[str, Any]:
    return {
        "id": response.response_id,
        "status": response.status,
        "reason": response.reason,
        "error": response.error,
        "metadata": response.metadata,
        "usage": response.usage,
        "parts": [
            {"part": part.part, "kind": part.kind, "info": part.info, "text": part.text, "length": part.length}
            for part in response.parts.values()
        ],
        "seq": response.last,
        "tokens": response.tokens,
        "frames": response.frames,
        "gaps": [list(gap) for gap in response.gaps],
        "complete": response.complete,
        "verified": response.verified,
    }


def outcome(vector: dict[str, Any]) -> dict[str, Any]:
    limits = {LIMIT_NAMES[name]: value for name, value in vector.get("limits", {}).items()}
    reader = Reader(limits=ReaderLimits(**limits))
    for step in vector["steps"]:
        take(reader, step)
    counts = reader.counts
    return {
        "needs": list(reader.needs()),
        "counts": {name: getattr(counts, name) for name in counts.__slots__},
        "responses": [described(response) for response in reader.responses.values()],
    }


@pytest.mark.parametrize("vector", all_vectors())
def test_every_vector_ends_as_it_says(vector: dict[str, Any]) -> None:
    assert outcome(vector) == vector["expect"]


def token(seq: int, offset: int, text: str, *, seq_end: int | None = None) -> Message:
    headers = {"responseId": "r", "seq": str(seq), "seqEnd": str(seq_end or seq), "offset": str(offset)}
    return Message(name="token", data=text, headers=headers, client_id="tokenstream")


def start() -> Message:
    return Message(name="start", data=None, headers={"responseId": "r", "seq": "0"}, client_id="tokenstream")


def stop(seq: int, text: str) -> Message:
    parts = [{"part": "text", "length": utf16_length(text), "sha256": sha256_of(text)}]
    data = {"reason": "stop", "status": "complete", "parts": parts}
    return Message(name="stop", data=data, headers={"responseId": "r", "seq": str(seq)}, client_id="tokenstream")


def test_what_happened_is_told_in_order() -> None:
    reader = Reader()
    assert reader.feed(start()) == (Started("r"),)
    assert reader.feed(token(2, 1, "b")) == (RepairNeeded("r"),)
    assert reader.feed(token(1, 0, "a")) == (Appended("r", "text", "a"), Appended("r", "text", "b"))
    assert reader.feed(stop(3, "ab")) == (Stopped("r", "complete", verified=True),)


def test_finished_responses_beyond_the_limit_are_let_go_oldest_first() -> None:
    reader = Reader(limits=ReaderLimits(finished=2))
    for number in range(4):
        for frame in (start(), stop(1, "")):
            headers = {**frame.headers, "responseId": f"r{number}"}
            reader.feed(Message(name=frame.name, data=frame.data, headers=headers, client_id="tokenstream"))
    assert list(reader.responses) == ["r2", "r3"]


def frames_of(text: str, cuts: list[int]) -> list[Message]:
    edges = [0, *sorted({cut % (len(text) + 1) for cut in cuts}), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(edges)]
    offsets = [utf16_length(text[:a]) for a in edges]
    tokens = [token(seq, offsets[seq - 1], piece) for seq, piece in enumerate(pieces, start=1)]
    return [start(), *tokens, stop(len(pieces) + 1, text)]


@given(st.text(max_size=60), st.lists(st.integers(0, 100), max_size=12), st.data())
def test_in_whatever_order_and_however_often_frames_come_the_text_is_whole(
    text: str, cuts: list[int], data: st.DataObject
) -> None:
    frames = frames_of(text, cuts)
    order = data.draw(st.permutations(frames))
    again = data.draw(st.lists(st.sampled_from(frames), max_size=10))
    reader = Reader()
    for frame in [*order, *again]:
        reader.feed(frame)
    response = reader.responses["r"]
    assert (response.text, response.verified, reader.needs()) == (text, True, ())


@given(st.text(min_size=1, max_size=40), st.lists(st.integers(0, 100), max_size=12), st.data())
def test_a_prefix_is_all_that_shows_until_the_hole_is_filled(text: str, cuts: list[int], data: st.DataObject) -> None:
    frames = frames_of(text, cuts)
    missing = data.draw(st.integers(0, len(frames) - 2))
    reader = Reader()
    for frame in frames[:missing] + frames[missing + 1 :]:
        reader.feed(frame)
    assert text.startswith(reader.responses["r"].text)
    assert reader.needs() == ("r",)
    reader.replay(frames)
    assert (reader.responses["r"].text, reader.responses["r"].verified) == (text, True)
