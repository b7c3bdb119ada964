"""Feeds records in OpenAI's format to the decoder, one response at a time, and shows what readers would see."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from topics.codec import TokenRecord
from topics.json_text import REPLACEMENT
from topics.openai import Body, Chunk, identify, recognize
from topics.openai_state import State, Step
from topics.openai_stream import advance, begin, end_after_gap

HEADERS = [("response-id", b"r-1"), ("content-type", b"application/vnd.openai.chunk+json")]
DONE = b"[DONE]"


class Outcome:
    """Of one response: its token events, the texts of its parts, its end."""

    def __init__(self) -> None:
        self.state: State | None = None
        self.records: list[TokenRecord] = []
        self.dropped = 0
        self.late = 0

    def take(self, step: Step) -> None:
        self.state = step.state
        self.records += step.records
        self.dropped += step.dropped
        self.late += step.late

    def feed(self, chunk: Chunk) -> None:
        self.take(begin(chunk, "chat:42") if self.state is None else advance(self.state, chunk))

    def wait(self) -> None:
        """The gap timeout passes after the last record."""
        assert self.state is not None
        self.take(end_after_gap(self.state, "r-1"))

    @property
    def tokens(self) -> list[TokenRecord]:
        return [record for record in self.records if record.event == "token"]

    @property
    def parts(self) -> dict[str, str]:
        """As readers see them: halves of a pair that meet in one part become one character."""
        texts: dict[str, list[str]] = {}
        for token in self.tokens:
            texts.setdefault(token.part or "", []).append(token.text or "")
        return {part: readable("".join(pieces)) for part, pieces in texts.items()}

    @property
    def kinds(self) -> dict[str, str]:
        return {token.part or "": token.kind or "" for token in self.tokens}

    @property
    def infos(self) -> dict[str, Any]:
        return {token.part or "": token.part_info for token in self.tokens if token.part_info is not None}

    @property
    def metadata(self) -> Any:
        assert self.records[0].event == "start"
        return self.records[0].metadata

    @property
    def stop(self) -> TokenRecord | None:
        stops = [record for record in self.records if record.event == "stop"]
        assert len(stops) < 2
        assert not stops or self.records[-1] is stops[0]
        return stops[0] if stops else None

    @property
    def reason(self) -> str | None:
        return self.stop.reason if self.stop else None

    @property
    def usage(self) -> Any:
        return self.stop.usage if self.stop else None

    @property
    def error(self) -> Any:
        return self.stop.error if self.stop else None


def readable(text: str) -> str:
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return "".join(REPLACEMENT if "\ud800" <= each <= "\udfff" else each for each in joined)


def chunk_of(value: bytes | dict[str, Any], response_id: str = "r-1") -> Chunk:
    headers = [("response-id", response_id.encode()), *HEADERS[1:]]
    given = value if isinstance(value, bytes) else json.dumps(value).encode()
    body = recognize(given, headers)
    assert isinstance(body, Body), body
    found = identify(body, b"chat:42", headers)
    assert isinstance(found, Chunk), found
    return found


def read(values: Iterable[bytes | dict[str, Any]]) -> Outcome:
    """Reads the records of one response, whose id a header gives."""
    outcome = Outcome()
    for value in values:
        outcome.feed(chunk_of(value))
    return outcome


def kept(state: State) -> State:
    """The state as it comes back from where it was kept as JSON."""
    return msgspec.json.decode(msgspec.json.encode(state), type=State)


# Chunks of Chat Completions


def chat(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": "c1", "object": "chat.completion.chunk", "choices": list(choices), **fields}


def delta(fields: dict[str, Any] | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    """A choice with a delta."""
    return {"index": index, "delta": fields or {}, "finish_reason": None, **more}


def text(content: str, index: int = 0) -> dict[str, Any]:
    return chat(delta({"content": content}, index))


def finish(reason: str = "stop", index: int = 0, **fields: Any) -> dict[str, Any]:
    return chat(delta({}, index, finish_reason=reason), **fields)


def tool(arguments: str | None = None, name: str | None = None, **fields: Any) -> dict[str, Any]:
    """One delta of a tool call."""
    function = {"arguments": arguments, "name": name}
    return {**fields, "function": {key: value for key, value in function.items() if value is not None}}


def tools(*calls: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return chat(delta({"tool_calls": list(calls)}, index))


USAGE = {"prompt_tokens": 4, "completion_tokens": 2}
USAGE_CHUNK = chat(usage=USAGE)


def parts(*values: bytes | dict[str, Any]) -> dict[str, str]:
    return read(values).parts
