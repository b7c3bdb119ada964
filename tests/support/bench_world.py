"""A faultless run of a load, as frames and records: for tests that then break it."""

import hashlib
from typing import Any

from devtools.bench.load import REASONING, Load
from processor.reader.frames import Message, utf16_length
from topics.records import Part, ResponseRecord, Status


def frame(load: Load, number: int, name: str, seq: int, end: int, data: Any = None, **headers: str) -> Message:
    told = {"responseId": load.response_id(number), "seq": str(seq), **headers}
    if name in ("token", "part"):
        told["seqEnd"] = str(end)
    return Message(name=name, data=data, headers=told, client_id="tokenstream")


def frames_of(load: Load, number: int, per_frame: int = 4) -> list[Message]:
    """Start, text, stop; `per_frame` tokens in each frame, or one where parts take turns."""
    texts = load.texts(number)
    step = 1 if load.alternate else per_frame
    lengths: dict[str, int] = {}
    frames = [frame(load, number, "start", 0, 0, {"model": "bench"})]
    for index in range(0, len(texts), step):
        text, part = "".join(texts[index : index + step]), load.part(index)
        headers = {"offset": str(lengths.get(part, 0))}
        if part == REASONING:
            headers |= {"part": part, "kind": part}
        name = "part" if part == REASONING else "token"
        frames.append(frame(load, number, name, index + 1, min(index + step, len(texts)), text, **headers))
        lengths[part] = lengths.get(part, 0) + utf16_length(text)
    return [*frames, frame(load, number, "stop", len(texts) + 1, len(texts) + 1, stop_of(load, number))]


def stop_of(load: Load, number: int) -> dict[str, Any]:
    parts = [
        {"part": part, "length": utf16_length(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}
        for part, text in load.parts(number).items()
    ]
    return {"reason": "stop", "status": "complete", "parts": parts}


def record_of(load: Load, number: int) -> ResponseRecord:
    count = len(load.texts(number))
    return ResponseRecord(
        response_id=load.response_id(number),
        channel=load.channel(number),
        status=Status.COMPLETE,
        parts=tuple(
            Part(part=part, kind=part, text=text, length=utf16_length(text))
            for part, text in load.parts(number).items()
        ),
        seq=count + 1,
        tokens=count,
        started_at=0,
        updated_at=0,
    )
