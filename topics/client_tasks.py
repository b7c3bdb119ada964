"""Whether aiokafka's own tasks of a consumer still run. One that an error ended is never started again, and nothing raises."""

from typing import Any


def refreshes_metadata(consumer: Any) -> bool:
    """False if the client asks for no metadata any more, so that it never learns of another leader."""
    return not _has_ended(getattr(consumer, "_client", None), "_sync_task")


def reads(consumer: Any) -> bool:
    """False if nothing is fetched any more, or will not be after the next change of a leader."""
    return refreshes_metadata(consumer) and not _has_ended(getattr(consumer, "_fetcher", None), "_fetch_task")


def _has_ended(owner: Any, name: str) -> bool:
    task = getattr(owner, name, None)
    return task is not None and bool(task.done())
