"""Responses that producers write in turns, a reader by the rules, and whether it saw what was produced."""

import hashlib
from random import Random
from typing import Any

import orjson
from hypothesis import strategies as st

from processor.core.framer import Frame
from processor.core.text import utf16_length
from support.world import World

TEXTS = ["", "a", "Hel", "lo ", "naïve", "日本", "👩‍👩‍👧", "\U0001f600", "line\n", '"q"\\', "\u0000x", "a" * 900]


def events(response_id: str, channel: str, parts: list[tuple[str, str]], *, unnumbered: bool) -> list[bytes]:
    raw: list[dict[str, Any]] = [
        {"event": "start", "responseId": response_id, "channel": channel, "metadata": {"m": 1}}
    ]
    raw += [
        {"event": "token", "responseId": response_id, "text": text, "part": part, "kind": part} for part, text in parts
    ]
    raw.append({"event": "stop", "responseId": response_id, "usage": {"n": len(parts)}})
    for seq, event in enumerate(raw):
        if not unnumbered:
            event["seq"] = seq
    return [orjson.dumps(event) for event in raw]


def shuffle_within(items: list[bytes], window: int, random: Random) -> list[bytes]:
    keyed = sorted(enumerate(items), key=lambda pair: pair[0] + random.random() * window)
    return [item for _, item in keyed]


@st.composite
def workloads(draw: st.DrawFn) -> tuple[list[bytes], dict[str, list[tuple[str, str]]], int]:
    seed = draw(st.integers(0, 2**32))
    random = Random(seed)
    produced: dict[str, list[tuple[str, str]]] = {}
    streams: list[list[bytes]] = []
    for number in range(draw(st.integers(1, 4))):
        response_id = f"r{number}"
        parts = [
            (random.choice(("text", "text", "reasoning", "call_1")), random.choice(TEXTS))
            for _ in range(draw(st.integers(0, 25)))
        ]
        produced[response_id] = parts
        unnumbered = draw(st.booleans()) and draw(st.booleans())
        stream = events(response_id, f"chat:{number % 2}", parts, unnumbered=unnumbered)
        if not unnumbered:
            stream = shuffle_within(stream, draw(st.sampled_from((0, 3))), random)
            stream = [copy for value in stream for copy in [value] * (2 if random.random() < 0.1 else 1)]
        streams.append(stream)
    log: list[bytes] = []
    while any(streams):
        stream = random.choice([each for each in streams if each])
        log.append(stream.pop(0))
    return log, produced, seed


def texts_of(parts: list[tuple[str, str]]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for part, text in parts:
        texts[part] = texts.get(part, "") + text
    return texts


def read(frames: list[Frame], response_id: str) -> tuple[dict[str, str], list[str]]:
    """A reader by the rules: the texts per part, and what went wrong."""
    texts: dict[str, str] = {}
    wrong: list[str] = []
    last, stops = -1, 0
    for frame in frames:
        if frame.response_id != response_id:
            continue
        seq, end = int(frame.headers["seq"]), int(frame.headers.get("seqEnd", frame.headers["seq"]))
        if seq > last + 1:
            wrong.append(f"loss before {frame.id}")
        if frame.name == "start" and last >= 0:
            continue
        if frame.name == "stop":
            stops += end > last
            data = orjson.loads(frame.data or "null")
            for part in data["parts"]:
                text = texts.get(part["part"], "")
                if part["length"] != utf16_length(text) or part["sha256"] != hashlib.sha256(text.encode()).hexdigest():
                    wrong.append(f"stop does not prove {part['part']}")
        if "offset" in frame.headers:
            part = frame.headers.get("part", "text")
            held = texts.get(part, "")
            offset, length = int(frame.headers["offset"]), utf16_length(held)
            if offset > length:
                wrong.append(f"hole before {frame.id}")
            data_utf16 = (frame.data or "").encode("utf-16-le")
            texts[part] = held + data_utf16[2 * (length - offset) :].decode("utf-16-le")
        last = max(last, end)
    if stops != 1:
        wrong.append(f"{stops} stops")
    return texts, wrong


def check(world: World, produced: dict[str, list[tuple[str, str]]]) -> None:
    records = world.records()
    for response_id, parts in produced.items():
        texts, wrong = read(world.published, response_id)
        assert not wrong, (response_id, wrong)
        expected = texts_of(parts)
        assert texts == expected
        record = records[response_id]
        assert record.finished
        assert {part.part: part.text for part in record.parts} == expected
        assert record.tokens == len(parts)
        assert record.seq == len(parts) + 1
        assert record.gaps == ()
    assert world.committed == len(world.log)
    assert not world.pipeline.status().open_responses
