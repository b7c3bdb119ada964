"""Incremental fetch sessions (KIP-227), and their requests and answers in one pass over the bytes.

aiokafka (0.14) asks for every partition each time, and makes an object of each field of each partition in the answer, empty ones too.
In a session the broker knows what is wanted: a request names only what changed, and an answer only partitions that have something.
Version 11 of the request, which brokers know since Kafka 2.3; with older ones the library's own requests are used.

What is used of the library's internals: fields of `FetchRequest`, and the methods that a connection calls of a request.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, ClassVar, Final

from aiokafka.protocol.fetch import FetchRequest

API_KEY: Final = 1
VERSION: Final = 11
FIRST_EPOCH: Final = 0
LAST_EPOCH: Final = 2**31 - 1
NO_LEADER_EPOCH: Final = -1
NO_REPLICA: Final = -1
NO_LOG_START: Final = -1

HEAD: Final = struct.Struct(">iiiibii")
PARTITION: Final = struct.Struct(">iiqqi")
ANSWER_HEAD: Final = struct.Struct(">ihi")
ANSWER_PARTITION: Final = struct.Struct(">ihqqqi")
ABORTED: Final = struct.Struct(">qq")
TAIL: Final = struct.Struct(">ii")
INT: Final = struct.Struct(">i")
SHORT: Final = struct.Struct(">h")

Wanted = dict[tuple[str, int], tuple[int, int]]
"""(topic, partition) -> (offset, most bytes)"""


class FetchSession:
    """What one broker was asked for last. Every request must be followed by `answered` or `lost`."""

    __slots__ = ("_asked", "_epoch", "_id")

    def __init__(self) -> None:
        self._id = 0
        self._epoch = FIRST_EPOCH
        self._asked: Wanted = {}

    def encode(self, request: Any) -> bytes:
        """Returns the body of what asks for the same as the library's `FetchRequest`, by what changed since the last one."""
        asked = self._asked
        wanted: Wanted = {(topic, each[0]): each[1:] for topic, numbers in request.topics for each in numbers}
        changed = [key for key, value in wanted.items() if asked.get(key) != value] if asked else list(wanted)
        forgotten = [key for key in asked if key not in wanted]
        self._asked = wanted
        head = HEAD.pack(
            NO_REPLICA,
            request._max_wait_ms,  # noqa: SLF001 - see above
            request._min_bytes,  # noqa: SLF001
            request._max_bytes,  # noqa: SLF001
            request._isolation_level,  # noqa: SLF001
            self._id,
            self._epoch,
        )
        return b"".join((head, *_partitions(changed, wanted), *_forgotten(forgotten), _text(request._rack_id)))  # noqa: SLF001

    def answered(self, answer: "FetchAnswer") -> None:
        """Goes on with the session that the broker has, or begins again with all partitions."""
        if answer.error or not answer.session:
            self.lost()
            return
        self._id = answer.session
        self._epoch = next_epoch(self._epoch)

    def lost(self) -> None:
        """It is not known what the broker took: the next request closes the session and begins another."""
        self._epoch = FIRST_EPOCH
        self._asked = {}


def next_epoch(epoch: int) -> int:
    """Returns the epoch of the next request of a session: after the last one comes 1, because 0 is a session's first."""
    return 1 if epoch == LAST_EPOCH else epoch + 1


def _grouped(keys: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    topics: dict[str, list[int]] = {}
    for topic, number in keys:
        topics.setdefault(topic, []).append(number)
    return topics


def _partitions(changed: Iterable[tuple[str, int]], wanted: Wanted) -> list[bytes]:
    topics = _grouped(changed)
    pieces = [INT.pack(len(topics))]
    for topic, numbers in topics.items():
        pieces += _text(topic), INT.pack(len(numbers))
        for number in numbers:
            offset, most = wanted[topic, number]
            pieces.append(PARTITION.pack(number, NO_LEADER_EPOCH, offset, NO_LOG_START, most))
    return pieces


def _forgotten(keys: Iterable[tuple[str, int]]) -> list[bytes]:
    topics = _grouped(keys)
    pieces = [INT.pack(len(topics))]
    for topic, numbers in topics.items():
        pieces += _text(topic), struct.pack(f">i{len(numbers)}i", len(numbers), *numbers)
    return pieces


def _text(text: str) -> bytes:
    raw = text.encode()
    return SHORT.pack(len(raw)) + raw


@dataclass(frozen=True, slots=True)
class FetchAnswer:
    """An answer as aiokafka's own, without the partitions that the broker left out. `error` is of the whole answer."""

    API_VERSION: ClassVar[int] = VERSION

    error: int
    session: int
    topics: list[tuple[str, list[tuple[Any, ...]]]]
    """Of each partition: number, error code, high watermark, last stable offset, log's start, aborted transactions as
    (producer id, first offset), preferred replica, bytes of batches.
    """

    @classmethod
    def decode(cls, source: BytesIO) -> "FetchAnswer":
        """Reads an answer behind its header. Raises what `struct` raises, or ValueError, where it is cut off."""
        at, data = source.tell(), source.getbuffer()
        _, error, session = ANSWER_HEAD.unpack_from(data, at)
        at += ANSWER_HEAD.size
        (count,) = INT.unpack_from(data, at)
        at += INT.size
        topics = []
        for _ in range(count):
            (length,) = SHORT.unpack_from(data, at)
            at += SHORT.size
            topic = str(data[at : at + length], "utf-8")
            (numbers,) = INT.unpack_from(data, at + length)
            at += length + INT.size
            partitions = []
            for _ in range(numbers):
                partition, at = _partition(data, at)
                partitions.append(partition)
            topics.append((topic, partitions))
        return cls(error, session, topics)


def _partition(data: memoryview, at: int) -> tuple[tuple[Any, ...], int]:
    """Returns the partition that begins at `at`, and where the next one does."""
    number, code, high, stable, start, count = ANSWER_PARTITION.unpack_from(data, at)
    at += ANSWER_PARTITION.size
    aborted = [ABORTED.unpack_from(data, at + ABORTED.size * each) for each in range(count)]
    at += ABORTED.size * len(aborted)
    replica, length = TAIL.unpack_from(data, at)
    at += TAIL.size
    end = at + max(0, length)
    if end > len(data):
        raise ValueError("the answer to a fetch is cut off")
    return (number, code, high, stable, start, aborted, replica, bytes(data[at:end])), end


@dataclass(frozen=True, slots=True)
class _Header:
    correlation_id: int
    client_id: str = ""

    def encode(self) -> bytes:
        return struct.pack(">hhi", API_KEY, VERSION, self.correlation_id) + _text(self.client_id)


class SessionRequest:
    """A fetch as a connection of the library sends one, and the type of its answer."""

    API_KEY: ClassVar[int] = API_KEY
    API_VERSION: ClassVar[int] = VERSION
    RESPONSE_TYPE: ClassVar[type[FetchAnswer]] = FetchAnswer

    __slots__ = ("_request", "_session")

    def __init__(self, session: FetchSession, request: FetchRequest) -> None:
        self._session = session
        self._request = request

    def prepare(self, versions: dict[int, tuple[int, int]]) -> Any:
        """Returns itself, or for brokers that do not know the version what the library sends."""
        lowest, highest = versions.get(API_KEY, (0, 0))
        return self if lowest <= VERSION <= highest else self._request.prepare(versions)

    def build_request_header(self, correlation_id: int, client_id: str) -> _Header:
        return _Header(correlation_id, client_id)

    def encode(self) -> bytes:
        return self._session.encode(self._request)

    def parse_response_header(self, source: BytesIO) -> _Header:
        return _Header(*INT.unpack(source.read(INT.size)))
