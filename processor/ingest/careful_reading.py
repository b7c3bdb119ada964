"""What one worker reads with care and what it refuses unread, across the takeovers of its partition: see `caution`."""

from collections.abc import Sequence

import structlog

from processor.core.response import Raw
from processor.ingest.caution import Caution, caution, poison_of, without
from processor.ingest.commit_metadata import Trying
from processor.ingest.takeover import Beginning

log = structlog.get_logger(__name__)


class CarefulReading:
    """`is_on` from a takeover that calls for care until `ends`. Meanwhile records wait here, and are fed step by step."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._caution: Caution | None = None
        self._after_error: Caution | None = None
        """After an error of this owner: how its next takeover reads."""
        self._poison: dict[int, str] = {}
        """Offsets of records that are refused unread, with why."""
        self.trying: Trying | None = None
        """What the next commit states as being tried."""

    def begin(self, begin: Beginning, end: int) -> None:
        """A takeover reads from `begin`; the log ends at `end`."""
        metadata = begin.metadata
        self._poison |= poison_of(metadata)
        self._caution = self._after_error or caution(metadata, begin.attempts, begin.offset, end)
        self.trying = metadata.trying if self._caution is not None else None

    @property
    def is_on(self) -> bool:
        return self._caution is not None

    @property
    def holds(self) -> bool:
        """Whether records wait to be fed."""
        return self._caution is not None and self._caution.holds

    @property
    def position(self) -> int:
        """The next offset to be fetched, as of what was added; -1 before that."""
        return -1 if self._caution is None else self._caution.position

    @property
    def is_through(self) -> bool:
        """Whether all that called for care was fed."""
        care = self._caution
        return care is not None and not care.holds and care.position >= care.until

    def add(self, records: Sequence[Raw], position: int) -> None:
        assert self._caution is not None
        self._caution.add(records, position)

    def take(self) -> list[Raw]:
        """The records to feed next, once a commit states that they are being tried."""
        if self._caution is None or not (records := self._caution.take()):
            return []
        self.trying = self._caution.marker(records)
        return records

    def stop(self) -> None:
        """Read on as usual."""
        self._caution = self._after_error = self.trying = None

    def screened(self, records: Sequence[Raw]) -> Sequence[Raw]:
        """The records, with what is poison refused."""
        return without(records, self._poison) if self._poison else records

    def failed(self, topic: str, records: Sequence[Raw], error: Exception) -> bool:
        """Whether a new takeover can get past the error that feeding the records raised.

        It can't where there are no records, or where the first was refused already. A record that was fed alone is what raised
        the error, and is refused from now on; of several, each is fed alone after the takeover.
        """
        if not records or records[0].offset in self._poison:
            return False
        first, end, cause = records[0].offset, records[-1].offset + 1, f"{type(error).__name__}: {error}"
        log.error(
            "records_failed", topic=topic, partition=self._number, offset=first, end=end, cause=cause, exc_info=error
        )
        if len(records) == 1:
            self._poison[first] = f"reading it raised {cause}"
        self._after_error = Caution(1, end)
        return True
