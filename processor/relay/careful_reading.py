"""Carries out `processor.relay.caution` for one worker: consumes suspected records alone, and remembers which are
refused unread.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random

from processor.clock import Clock
from processor.core.items import end_of
from processor.core.response import Raw
from processor.relay.caution import PROMPT_SECONDS, QUIET_SECONDS, Caution, caution, poison_of, without
from processor.relay.commit_metadata import CommitMetadata, Trying
from processor.relay.takeover import Beginning


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerActions:
    """What the worker does for it, and what it asks of the worker."""

    consume: Callable[[Sequence[Raw], int], Sequence[Raw]]
    """Returns the records for which there is no room yet."""
    consume_as_usual: Callable[[Sequence[Raw], int], None]
    """Consumes records. Those for which there is no room are fetched again."""
    write: Callable[[], Awaitable[None]]
    commit_trying: Callable[[], Awaitable[None]]
    """Makes durable what is tried, and nothing else."""
    running: Callable[[], bool]
    may_publish: Callable[[], bool]
    may_consume: Callable[[], bool]
    """Whether records wait here, and the pipeline has room for them."""


class CarefulReading:
    """What is suspected in a partition. It outlives a takeover after an error of this process."""

    def __init__(self, owner: OwnerActions, clock: Clock, random: Random) -> None:
        self._owner = owner
        self._clock = clock
        self._random = random
        self.trying: Trying | None = None
        """The records that are fed now, where an end of the owner would count against them."""
        self.poison: dict[int, str] = {}
        """Offsets of records that are refused unread, with why. Durable until the committed offset is beyond them."""
        self._care: Caution | None = None
        self._care_after_error: Caution | None = None
        """After an error here: how to read on."""
        self._raised: tuple[int, type[Exception]] | None = None
        """Where feeding one record alone raised an error last, and which."""

    @property
    def position(self) -> int:
        """The next offset to be fetched, or -1 where everything is read as usual."""
        return -1 if self._care is None else self._care.position

    @property
    def holds(self) -> bool:
        """Whether records wait to be fed with care."""
        return self._care is not None and self._care.holds

    @property
    def due(self) -> bool:
        """Whether `advance` has something to do."""
        care = self._care
        return care is not None and (self._owner.may_consume() or (care.over and not care.holds))

    def take_up(self, begin: Beginning, end: int) -> None:
        """Takes up what the predecessor left in the commit's metadata."""
        trying = begin.metadata.trying
        self.poison |= poison_of(begin.metadata)
        self._care = self._care_after_error or caution(begin.metadata, begin.attempts, begin.offset, end)
        # What raised an error here has not ended this owner.
        self.trying = trying if self._care is not None and self._care_after_error is None else None

    def keep(self, records: Sequence[Raw], position: int) -> bool:
        """Keeps records that are to be fed with care. Returns False where everything is read as usual."""
        if self._care is None:
            return False
        self._care.add(records, position)
        return True

    def without_poison(self, records: Sequence[Raw]) -> Sequence[Raw]:
        return without(records, self.poison) if self.poison else records

    def note_error(self, records: Sequence[Raw], error: Exception, *, taken_in: bool) -> None:
        """Has the records fed alone after the takeover that follows.

        Refuses a record that raised the same error twice, each time alone and after a takeover. Raises an error that
        comes again although the record was taken in, which ends this owner.
        """
        first = records[0].offset
        if len(records) == 1:
            if self._raised == (first, type(error)):
                if taken_in:
                    raise error
                self.poison[first] = f"reading it raised {type(error).__name__}: {error}"
            self._raised = first, type(error)
        self._care_after_error = Caution(1, end_of(records))

    async def advance(self) -> None:
        """Feeds the next of what waits, once it is durable that it is tried; then writes that this owner lives."""
        care = self._care
        if care is None:
            return
        records = care.next_records() if not care.over else []
        suspected = care.suspects(records) if records else False
        if records:
            await self._announce(care, records, suspected=suspected)
            if not self._owner.running():
                return
            end = end_of(records)
            if left := self._owner.consume(records, end):
                end = left[0].offset
                care.put_back(left)
            await asyncio.sleep(0)
            self.trying = None
            care.survived(end)
            if suspected:
                await self._owner.commit_trying()
        if self._owner.running() and care.over:
            await self._read_as_usual(care)
        elif records and not self._owner.may_consume():
            await self._owner.write()

    async def _read_as_usual(self, care: Caution) -> None:
        """Ends the careful reading. The remaining records are consumed once it is durable that the owner survived."""
        if care.holds:
            await self._owner.commit_trying()
            if not self._owner.running():
                return
        self._care = self._care_after_error = None
        self._owner.consume_as_usual(care.rest(), care.position)
        await self._owner.write()

    async def _announce(self, care: Caution, records: Sequence[Raw], *, suspected: bool) -> None:
        """Makes durable what is tried. An end counts against a suspect only where nothing else was amiss: see `caution`."""
        self.trying = known = care.marker(records)
        await self._owner.write()
        if not suspected or records[0].offset in self.poison:
            return
        shortest, longest = QUIET_SECONDS
        await asyncio.sleep(shortest + (longest - shortest) * self._random.random())
        if not self._owner.running() or not self._owner.may_publish():
            return
        began = self._clock.monotonic()
        self.trying = known.raised()
        await self._owner.commit_trying()
        if self._clock.monotonic() - began > PROMPT_SECONDS or not self._owner.may_publish():
            self.trying = known
            await self._owner.commit_trying()

    def committed(self, offset: int) -> None:
        """Forgets the refused records before the committed offset."""
        self.poison = {at: why for at, why in self.poison.items() if at >= offset}

    def metadata(self, offset: int, restore: int, attempts: int, *, clean: bool, orderly: bool) -> CommitMetadata:
        """An orderly end is not caused by a record: of what is suspected, it keeps what this owner has not fed."""
        trying = self.trying
        if orderly:
            trying = None if self._care is None else self._care.suspect
        poison = sorted(at for at in self.poison if at >= offset)
        return CommitMetadata(restore, clean, attempts, trying, tuple(poison))
