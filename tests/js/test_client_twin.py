"""The readers in Python and JavaScript are twins: whatever they are fed, they end in the same state."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processor.reader.frames import sha256_of, utf16_length
from processor.reader.reader import Message, Reader, ReaderLimits, ReaderResponse

ROOT = Path(__file__).parents[2]
RUNNER = Path(__file__).with_name("client_runner.mjs")
LIMIT_NAMES = {"finished": "finished", "open": "open", "heldFrames": "held_frames", "heldUnits": "held_units"}
Step = dict[str, Any]


class JavaScriptReader:
    """A Node process that runs one script a line."""

    def __init__(self) -> None:
        self._node = subprocess.Popen(["node", RUNNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def outcome(self, script: dict[str, Any]) -> Any:
        assert self._node.stdin is not None
        assert self._node.stdout is not None
        self._node.stdin.write(json.dumps(script) + "\n")
        self._node.stdin.flush()
        line = self._node.stdout.readline()
        assert line, "the JavaScript reader ended"
        return json.loads(line)

    def close(self) -> None:
        assert self._node.stdin is not None
        assert self._node.stdout is not None
        self._node.stdin.close()
        self._node.wait(10)
        self._node.stdout.close()


@pytest.fixture(scope="module")
def javascript() -> Iterator[JavaScriptReader]:
    reader = JavaScriptReader()
    yield reader
    reader.close()


def python_outcome(script: dict[str, Any]) -> Any:
    reader = Reader(
        limits=ReaderLimits(**{LIMIT_NAMES[name]: value for name, value in script.get("limits", {}).items()})
    )
    for step in script["steps"]:
        match step:
            case {"feed": frame}:
                reader.feed(_message(frame))
            case {"replay": frames}:
                reader.replay([_message(frame) for frame in frames])
            case {"hydrate": record}:
                reader.hydrate(record)
            case {"giveUp": response_id}:
                reader.give_up(response_id)
    counts = {name: getattr(reader.counts, name) for name in reader.counts.__slots__}
    responses = [_described(response) for response in reader.responses.values()]
    return json.loads(json.dumps({"needs": reader.needs(), "counts": counts, "responses": responses}))


def _message(raw: Step) -> Message:
    return Message(name=raw["name"], data=raw["data"], headers=raw["headers"], client_id=raw.get("clientId"))


def _described(response: ReaderResponse) -> Step:
    same = ("status", "reason", "error", "metadata", "usage", "tokens", "frames", "gaps", "complete", "verified")
    parts = [
        {name: getattr(part, name) for name in ("part", "kind", "info", "text", "length")}
        for part in response.parts.values()
    ]
    described = {name: getattr(response, name) for name in same}
    return {"id": response.response_id, "seq": response.last, "parts": parts, **described}


VECTORS = [
    pytest.param(vector, id=f"{path.stem}: {vector['name']}")
    for path in sorted((ROOT / "tests" / "vectors").glob("*.json"))
    for vector in json.loads(path.read_text())
]


@pytest.mark.parametrize("vector", VECTORS)
def test_every_vector_ends_in_javascript_as_it_says(javascript: JavaScriptReader, vector: dict[str, Any]) -> None:
    assert javascript.outcome(vector) == vector["expect"]


@dataclass(frozen=True)
class Told:
    """A response as a relay frames it, with the records it could have stored on the way."""

    frames: tuple[Step, ...]
    records: tuple[Step, ...]


def _frame(response_id: str, name: str, data: Any, **headers: Any) -> Step:
    strings = {"responseId": response_id, **{key: str(value) for key, value in headers.items()}}
    return {"name": name, "data": data, "headers": strings, "clientId": "tokenstream"}


def _record(response_id: str, status: str, seq: int, texts: dict[str, str], gaps: list[list[int]]) -> Step:
    parts = [
        {"part": part, "kind": part, "text": text, "length": utf16_length(text), "sha256": sha256_of(text)}
        for part, text in texts.items()
    ]
    reason = None if status == "streaming" else "stop"
    common = {"responseId": response_id, "status": status, "reason": reason, "error": None, "parts": parts}
    return common | {"seq": seq, "tokens": seq, "gaps": list(gaps), "metadata": {"m": 1}, "usage": None, "startedAt": 1}


@st.composite
def told(draw: st.DrawFn, response_id: str) -> Told:
    frames = [_frame(response_id, "start", {"m": 1}, seq=0)]
    texts: dict[str, str] = {}
    gaps: list[list[int]] = []
    records = [_record(response_id, "streaming", 0, texts, gaps)]
    seq = 0
    for _ in range(draw(st.integers(0, 8))):
        first, seq = seq + 1, seq + draw(st.integers(1, 3))
        if draw(st.integers(0, 7)) == 0:
            frames.append(_frame(response_id, "gap", {"from": first, "to": seq}, seq=first, seqEnd=seq))
            gaps.append([first, seq])
        else:
            part = draw(st.sampled_from(["text", "reasoning"]))
            pieces = draw(st.lists(st.text("ab😀漢", max_size=4), min_size=1, max_size=3))
            if len(pieces) > 1:
                seq = first  # pieces of one large token
            for piece in pieces:
                offset = utf16_length(texts.get(part, ""))
                headers: Step = {"seq": first, "seqEnd": seq, "offset": offset}
                if part != "text":
                    headers |= {"part": part, "kind": part}
                frames.append(_frame(response_id, "token" if part == "text" else "part", piece, **headers))
                texts[part] = texts.get(part, "") + piece
        records.append(_record(response_id, "streaming", seq, texts, gaps))
    seq += 1
    parts = [{key: part[key] for key in ("part", "length", "sha256")} for part in records[-1]["parts"]]
    frames.append(_frame(response_id, "stop", {"reason": "stop", "status": "complete", "parts": parts}, seq=seq))
    records.append(_record(response_id, "complete", seq, texts, gaps))
    return Told(tuple(frames), tuple(records))


@st.composite
def corrupted(draw: st.DrawFn, frame: Step) -> Step:
    header = draw(st.sampled_from(["seq", "seqEnd", "offset", "part", "responseId", "partInfo"]))
    value = draw(st.sampled_from(["", "0", "1", "2", "5", "-1", "1e2", "x", "9999999999999999"]))
    return {**frame, "headers": {**frame["headers"], header: value}}


@st.composite
def damaged(draw: st.DrawFn, frames: list[Step]) -> list[Step]:
    """In order, but for what is lost or comes again later: the stop as well as what it ends."""
    fed: list[Step] = []
    for frame in frames:
        if draw(st.integers(0, 3)):
            fed.append(frame)
        if fed and not draw(st.integers(0, 5)):
            fed.append(draw(st.sampled_from(fed)))
    return fed


@st.composite
def scripts(draw: st.DrawFn) -> dict[str, Any]:
    """Frames removed, repeated and shuffled, some of them corrupted, with records, history and giving up in between."""
    both = [draw(told("a")), draw(told("b"))]
    frames = [frame for one in both for frame in one.frames]
    orders = [st.permutations(frames), st.lists(st.sampled_from(frames), max_size=30), st.just(frames), damaged(frames)]
    fed = draw(st.one_of(orders))
    steps: list[Step] = [{"feed": frame} for frame in fed]
    some_frame = st.sampled_from(frames)
    other_steps = st.one_of(
        some_frame.flatmap(corrupted).map(lambda frame: {"feed": frame}),
        some_frame.map(lambda frame: {"feed": {**frame, "clientId": "mallory"}}),
        st.sampled_from([record for one in both for record in one.records]).map(lambda record: {"hydrate": record}),
        st.sampled_from(both).map(lambda one: {"replay": list(one.frames)}),
        st.sampled_from(["a", "b"]).map(lambda response_id: {"giveUp": response_id}),
    )
    for step in draw(st.lists(other_steps, max_size=10)):
        steps.insert(draw(st.integers(0, len(steps))), step)
    limits = draw(st.sampled_from([{}, {"heldFrames": 2}, {"heldUnits": 3}, {"finished": 1}, {"open": 1}]))
    return {"limits": limits, "steps": steps}


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scripts())
def test_missing_repeated_and_shuffled_input_ends_in_the_same_state(
    javascript: JavaScriptReader, script: dict[str, Any]
) -> None:
    assert javascript.outcome(script) == python_outcome(script)
