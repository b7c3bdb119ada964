"""What the delivery tests count: frames as they were published, and what a reader made of them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from devtools.emulator.wire import Message as WireMessage
from processor.reader.frames import Message, utf16_length
from processor.reader.reader import Reader


@dataclass
class Verdict:
    tokens: int = 0
    out_of_order: int = 0
    lost: int = 0
    repeated_as_published: int = 0
    repeated_for_reader: int = 0
    unfinished: int = 0
    frames: int = 0
    problems: list[str] = field(default_factory=list)

    def faultless_for_readers(self) -> bool:
        return not (self.out_of_order or self.lost or self.repeated_for_reader or self.unfinished or self.problems)


def as_received(message: WireMessage) -> Message:
    data = json.loads(message.data) if message.encoding == "json" else message.data
    return Message(
        name=message.name or "",
        data=data,
        headers=(message.extras or {}).get("headers", {}),
        client_id=message.client_id,
        id=message.id,
    )


def judge_as_published(messages: Iterable[Message], verdict: Verdict) -> None:
    """Count, from the ranges alone, what was published out of order or again."""
    last: dict[str, int] = {}
    lengths: dict[tuple[str, str], int] = {}
    for message in messages:
        verdict.frames += 1
        response_id = message.headers["responseId"]
        seq = int(message.headers["seq"])
        end = int(message.headers.get("seqEnd", seq))
        before = last.get(response_id, -1)
        part = message.headers.get("part", "text")
        length = lengths.get((response_id, part), 0)
        offset = int(message.headers.get("offset", 0))
        if seq > before + 1 or ("offset" in message.headers and offset > length):
            verdict.out_of_order += 1
            verdict.problems.append(f"{message.id} after seq {before}")
        elif end <= before and not ("offset" in message.headers and offset == length and end == before):
            verdict.repeated_as_published += end - seq + 1
        elif seq <= before and not ("offset" in message.headers and offset == length):
            verdict.repeated_as_published += before - seq + 1
        last[response_id] = max(before, end)
        if "offset" in message.headers:
            lengths[response_id, part] = max(length, offset + utf16_length(str(message.data)))


def judge_for_reader(reader: Reader, response_id: str, texts: Mapping[str, str], verdict: Verdict) -> None:
    response = reader.responses.get(response_id)
    if response is None or not response.finished:
        verdict.unfinished += 1
        return
    for part, text in texts.items():
        seen = response.parts[part].text if part in response.parts else ""
        if seen == text:
            continue
        verdict.problems.append(f"{response_id}/{part}: {len(seen)} characters instead of {len(text)}")
        if len(seen) > len(text):
            verdict.repeated_for_reader += 1
        else:
            verdict.lost += 1
