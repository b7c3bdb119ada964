"""A deletion is on the log before it is in the store, and spares a response that goes on."""

from typing import Any

import pytest

from processor.errors import KafkaUnavailable
from processor.ports.deletion import delete_everywhere
from processor.ports.store import Deletion, Position, Summary
from support.recorders import RecordingTombstones

AT = Position(3, 10)


def summary(*, finished: bool, stored_at: int = 1_000, position: Position = AT) -> Summary:
    return Summary(position, "r", "c", finished, 100, stored_at)


class OneResponse:
    """The two methods of a store that a deletion uses. `deletions` has what the log had at each deletion."""

    def __init__(self, current: Summary | None, tombstones: RecordingTombstones) -> None:
        self.current = current
        self.tombstones = tombstones
        self.deletions: list[list[tuple[str, int]]] = []

    async def summary(self, response_id: str) -> Summary | None:
        assert response_id == "r"
        return self.current

    async def delete(self, response_id: str, *, even_open: bool = False) -> Deletion:
        assert (response_id, even_open) == ("r", True)
        self.deletions.append([*self.tombstones.written])
        return Deletion.DELETED


def stored(current: Summary | None, *, down: bool = False) -> OneResponse:
    return OneResponse(current, RecordingTombstones(down=down))


async def delete(store: OneResponse, given: Summary) -> Deletion:
    port: Any = store
    return await delete_everywhere(port, store.tombstones, given, open_before=2_000)


def is_untouched(store: OneResponse) -> bool:
    return store.deletions == [] and store.tombstones.written == []


@pytest.mark.parametrize("finished", [True, False])
async def test_the_tombstone_comes_first(finished: bool) -> None:
    given = summary(finished=finished)
    store = stored(given)
    assert await delete(store, given) is Deletion.DELETED
    assert store.deletions == [[("r", 3)]]


@pytest.mark.parametrize(
    ("current", "outcome"),
    [
        (None, Deletion.MISSING),
        (summary(finished=False, position=Position(3, 11)), Deletion.OPEN),
        (summary(finished=False, stored_at=1_001), Deletion.OPEN),
    ],
)
async def test_an_open_response_that_changed_meanwhile_is_kept(current: Summary | None, outcome: Deletion) -> None:
    store = stored(current)
    assert await delete(store, summary(finished=False)) is outcome
    assert is_untouched(store)


async def test_an_open_response_that_goes_on_is_kept() -> None:
    given = summary(finished=False, stored_at=2_000)
    store = stored(given)
    assert await delete(store, given) is Deletion.OPEN
    assert is_untouched(store)


@pytest.mark.parametrize("finished", [True, False])
async def test_without_kafka_nothing_is_deleted(finished: bool) -> None:
    given = summary(finished=finished)
    store = stored(given, down=True)
    with pytest.raises(KafkaUnavailable):
        await delete(store, given)
    assert is_untouched(store)
