"""Deletes a response from the log and from the store, in an order that leaves no copy behind."""

from processor.ports.store import Deletion, ResponseStore, Summary, Tombstones


async def delete_everywhere(
    store: ResponseStore, tombstones: Tombstones, stored: Summary, *, open_before: int
) -> Deletion:
    """Writes the tombstone, then removes the response from the store; what fails in between, the archive does.

    An open response is deleted only where the store wrote its record before `open_before` (ms) and has not replaced
    it since.
    Otherwise returns OPEN, with nothing written. That is checked once Kafka is connected, immediately before the
    tombstone: after the tombstone nothing keeps the response. Raises KafkaUnavailable, TombstoneUndetermined and
    StoreUnavailable.
    """
    if not stored.finished:
        if stored.stored_at >= open_before:
            return Deletion.OPEN
        await tombstones.connect()
        current = await store.summary(stored.response_id)
        if current is None:
            return Deletion.MISSING
        if (current.position, current.stored_at) != (stored.position, stored.stored_at):
            return Deletion.OPEN
    await tombstones.write(stored.response_id, stored.position.partition)
    return await store.delete(stored.response_id, even_open=True)
