"""Reads from the messages of a channel's history what was published. Does no I/O."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from processor.core.response import Published
from processor.core.text import utf16_length


@dataclass(frozen=True, slots=True)
class PastMessage:
    """One message of a channel's history, whatever its order among the others. Header values are strings."""

    id: str
    name: str
    data: object
    client_id: str
    headers: dict[str, str]


@dataclass(slots=True)
class ChannelHistory:
    published: dict[str, Published] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    pages: int = 0

    @property
    def ids(self) -> frozenset[str]:
        return frozenset(self.seen)

    def add(self, messages: Iterable[PastMessage], client_id: str) -> None:
        """Notes the frames among `messages`. Frames of other publishers are ignored."""
        self.pages += 1
        for message in messages:
            if message.client_id == client_id and (response_id := message.headers.get("responseId")):
                self.seen.add(message.id)
                self._note(response_id, message)

    def _note(self, response_id: str, message: PastMessage) -> None:
        try:
            seq = int(message.headers["seq"])
            seq_end = int(message.headers.get("seqEnd", seq))
            offset = int(message.headers.get("offset", 0))
        except (KeyError, ValueError):
            return  # not a frame of this version
        before = self.published.get(response_id, Published(-1, {}, stopped=False))
        lengths = dict(before.lengths)
        if message.name in {"token", "part"} and isinstance(message.data, str):
            part = message.headers.get("part", "text")
            lengths[part] = max(lengths.get(part, 0), offset + utf16_length(message.data))
        stopped = before.stopped or message.name == "stop"
        self.published[response_id] = Published(max(before.seq_end, seq_end), lengths, stopped)
