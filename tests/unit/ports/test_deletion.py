"""A deletion is on the log before it is in the store, and spares a response that goes on."""

from typing import Any

import pytest

from processor.errors import KafkaUnavailable
from processor.ports.deletion import delete_everywhere
from processor.ports.store import Deletion, Position, Summary, Tombstones

AT = Position(3, 10)


def summary(*, finished: bool, stored_at: int = 1_000, position: Position = AT) -> Summary:
    return Summary(position, "r", "c", finished, 100, stored_at)


class OneResponse:
    """The two methods of a store that a deletion uses. Also the log: what happened, in order."""

    def __init__(self, current: Summary | None) -> None:
        self.current = current
        self.happened: list[str] = []

    async def summary(self, response_id: str) -> Summary | None:
        assert response_id == "r"
        return self.current

    async def delete(self, response_id: str, *, even_open: bool = False) -> Deletion:
        assert even_open
        self.happened.append(f"deleted {response_id}")
        return Deletion.DELETED


class Log(Tombstones):
    def __init__(self, happened: list[str], *, away: bool = False) -> None:
        self._happened = happened
        self._away = away

    async def connect(self) -> None:
        if self._away:
            raise KafkaUnavailable("away")

    async def write(self, response_id: str, partition: int) -> None:
        await self.connect()
        self._happened.append(f"tombstone {response_id} on {partition}")


async def delete(store: OneResponse, given: Summary, *, away: bool = False) -> Deletion:
    port: Any = store
    return await delete_everywhere(port, Log(store.happened, away=away), given, open_before=2_000)


@pytest.mark.parametrize("finished", [True, False])
async def test_the_tombstone_comes_first(finished: bool) -> None:
    given = summary(finished=finished)
    store = OneResponse(given)
    assert await delete(store, given) is Deletion.DELETED
    assert store.happened == ["tombstone r on 3", "deleted r"]


@pytest.mark.parametrize(
    ("current", "outcome"),
    [
        (None, Deletion.MISSING),
        (summary(finished=False, position=Position(3, 11)), Deletion.OPEN),
        (summary(finished=False, stored_at=1_001), Deletion.OPEN),
    ],
)
async def test_an_open_response_that_changed_meanwhile_is_kept(current: Summary | None, outcome: Deletion) -> None:
    store = OneResponse(current)
    assert await delete(store, summary(finished=False)) is outcome
    assert store.happened == []


async def test_an_open_response_that_goes_on_is_kept() -> None:
    given = summary(finished=False, stored_at=2_000)
    store = OneResponse(given)
    assert await delete(store, given) is Deletion.OPEN
    assert store.happened == []


@pytest.mark.parametrize("finished", [True, False])
async def test_without_kafka_nothing_is_deleted(finished: bool) -> None:
    given = summary(finished=finished)
    store = OneResponse(given)
    with pytest.raises(KafkaUnavailable):
        await delete(store, given, away=True)
    assert store.happened == []
