"""A client whose own task an error has ended is replaced: it would read nothing more, and raise nothing."""

from types import SimpleNamespace
from typing import Any

from processor.clock import Clock
from processor.kafka.membership import GroupMembership
from topics.client_tasks import reads, refreshes_metadata


def task(*, done: bool) -> Any:
    return SimpleNamespace(done=lambda: done)


def client(*, refreshes: bool = True, fetches: bool = True) -> Any:
    return SimpleNamespace(
        _client=SimpleNamespace(_sync_task=task(done=not refreshes)),
        _fetcher=SimpleNamespace(_fetch_task=task(done=not fetches)),
        _coordinator=SimpleNamespace(_coordination_task=task(done=False), _do_heartbeat=None),
    )


def test_a_client_reads_while_both_tasks_run_and_before_they_are_started() -> None:
    assert reads(client())
    assert reads(None)
    assert reads(SimpleNamespace(_client=SimpleNamespace(_sync_task=None), _fetcher=None))
    assert not reads(client(fetches=False))
    assert not reads(client(refreshes=False))
    assert refreshes_metadata(client(fetches=False))


def test_membership_ends_with_the_task_that_refreshes_metadata() -> None:
    for refreshes in (True, False):
        membership = GroupMembership(10.0, Clock())
        membership.observe(client(refreshes=refreshes))
        assert membership.ended is not refreshes
