"""A coordinator's error about a group as a whole is never taken for "nothing was committed"."""

from typing import Any

import pytest
from aiokafka.errors import for_code

from processor.errors import KafkaUnavailable
from processor.kafka import CommittedOffsets
from processor.kafka.connection import KafkaConnection
from processor.kafka.lazy import LazyClient

Partitions = list[tuple[int, int, str, int]]


class Coordinator:
    """An admin client whose coordinator answers so."""

    def __init__(self, topics: list[tuple[str, Partitions]], code: int) -> None:
        self.topics = topics
        self.error_code = code
        self.closed = False

    async def start(self) -> None: ...

    async def find_coordinator(self, _group: str) -> int:
        return 1

    async def _send_request(self, _request: Any, _node: int) -> "Coordinator":
        return self

    async def close(self) -> None:
        self.closed = True


def coordinator_of(partitions: Partitions, code: int = 0) -> Coordinator:
    return Coordinator([("tokens", partitions)] if partitions else [], code)


def reader_of(coordinator: Coordinator) -> CommittedOffsets:
    return CommittedOffsets(lambda: KafkaConnection("nowhere"), "group", "tokens", LazyClient(lambda: coordinator))


def offsets(partitions: Partitions, code: int = 0) -> CommittedOffsets:
    return reader_of(coordinator_of(partitions, code))


async def test_what_was_committed_is_read() -> None:
    assert await offsets([(0, 9, "m", 0)]).read(0) == (9, "m")


async def test_what_was_never_committed_is_absent() -> None:
    assert await offsets([(0, -1, "", 0)]).read(0) is None


@pytest.mark.parametrize("code", [14, 15, 16, -1])
async def test_an_error_of_the_group_is_tried_again(code: int) -> None:
    for coordinator in (coordinator_of([], code), coordinator_of([(0, -1, "", code)])):
        with pytest.raises(KafkaUnavailable, match=for_code(code).__name__):
            await reader_of(coordinator).read(0)
        assert coordinator.closed, "another coordinator may have to be asked"


@pytest.mark.parametrize(("code", "advice"), [(30, "Grant READ on the group"), (29, "Grant READ on the topic")])
async def test_a_missing_right_is_named(code: int, advice: str) -> None:
    for reader in (offsets([], code), offsets([(0, -1, "", code)])):
        with pytest.raises(KafkaUnavailable, match=advice):
            await reader.read(0)


async def test_an_answer_without_the_partition_says_nothing() -> None:
    for reader in (offsets([]), offsets([(1, 9, "m", 0)])):
        with pytest.raises(KafkaUnavailable, match="partition 0 of tokens is not in the answer"):
            await reader.read(0)
