"""Parses server-sent events as model servers write them: takes bytes in any pieces, returns the data of whole events."""

import re
from typing import Final

from topics.errors import TokenstreamError

MAX_EVENT_BYTES: Final = 8 * 1024 * 1024
"""Of one event that is not complete. A model server's chunk has a few hundred bytes."""
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class EventTooLarge(TokenstreamError):
    """An event is over `MAX_EVENT_BYTES`: what sends it is no stream of chunks."""


class EventParser:
    """Reads one stream. Comments, event names and ids are ignored. Time is linear in the size of the stream."""

    __slots__ = ("_begun", "_data", "_kept", "_max_bytes", "_rest", "_searched", "_skip_line_feed")

    def __init__(self, max_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()
        """The beginning of a line whose end has not come."""
        self._searched = 0
        self._data: list[bytes] = []
        self._kept = 0
        self._begun = False
        self._skip_line_feed = False

    def feed(self, received: bytes) -> list[bytes]:
        """Returns the data of each event that `received` completes. Raises EventTooLarge."""
        if not received:
            return []
        if self._skip_line_feed and received.startswith(b"\n"):
            received = received[1:]
        self._skip_line_feed = received.endswith(b"\r")
        self._rest += received
        events: list[bytes] = []
        begin = 0
        for end in _LINE_END.finditer(self._rest, self._searched):
            self._take_line(bytes(self._rest[begin : end.start()]), events)
            begin = end.end()
        del self._rest[:begin]
        self._searched = len(self._rest)
        if len(self._rest) + self._kept > self._max_bytes:
            raise EventTooLarge(f"the model server sent an event of more than {self._max_bytes} bytes")
        return events

    def finish(self) -> list[bytes]:
        """Returns the data of an event that the stream's end cut off: some servers leave out the last empty line."""
        events: list[bytes] = []
        for line in (bytes(self._rest), b""):
            self._take_line(line, events)
        self._rest.clear()
        self._searched = 0
        return events

    def _take_line(self, line: bytes, events: list[bytes]) -> None:
        if not self._begun:
            self._begun = True
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            if self._data:
                events.append(b"\n".join(self._data))
                self._data.clear()
                self._kept = 0
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._kept += len(line)
