"""What the pipeline of a partition promises to each part of the shell. `processor.core.partition` keeps it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from processor.core.framer import Frame
from processor.core.outflow import AskHistory
from processor.core.response import Cancel, Published, Raw
from processor.core.write_queue import Batch, CommitPoint
from topics.controls import ControlRecord
from topics.records import ResponseRecord


class PipelineInput(Protocol):
    """The side that consumes records and time."""

    @property
    def paused(self) -> bool:
        """Whether to stop fetching: True above the budget, until half of it is free."""

    @property
    def position(self) -> int:
        """The next offset to be read."""

    @property
    def live_responses(self) -> int:
        """The number of open responses that have started and not reached their end. Costs one step per open response."""

    @property
    def wants_end_offset(self) -> bool:
        """Whether timers or finished responses wait for the partition's end offset, which `end_offset` reports."""

    def restore(
        self, entries: Iterable[tuple[int, str, ResponseRecord | None]], responses_end: int, now: float
    ) -> None:
        """Restores what a predecessor made durable, together with what `take_up` received before.

        `entries` are (offset, responseId, record or None for a tombstone) of the responses partition, in order, from
        the `restore` of the committed metadata to `responses_end`. A later entry of a response replaces an earlier
        one.
        """

    def take_up(self, offset: int, response_id: str, record: ResponseRecord | None, now: float) -> None:
        """Restores one entry, as `restore` does. Memory is bounded for any number of entries."""

    def pass_over(self, response_id: str) -> None:
        """Skips an unreadable entry: the response is unknown."""

    def begin(self, position: int, end_offset: int, *, clean: bool, lost: bool = False) -> None:
        """Starts to consume from `position`. After an unclean end, responses found below `end_offset` may be
        published already.

        `lost`: the committed offset is not in the log. Responses with numbers detect their gaps; responses without
        numbers cannot, and fail.
        """

    def consume(self, raws: Sequence[Raw], position: int, now: float) -> Sequence[Raw]:
        """Consumes records, in offset order. `position` is the next offset that will be fetched.

        Returns the records for which there is no room. Pass them again when the partition is no longer paused.
        """

    def cancel(self, control: ControlRecord, cancel: Cancel) -> None:
        """Applies a cancel that is new to the process and in its memory.

        Without a stop within `cancel_timeout` after the first cancel the response ends as `cancelled`.
        """

    def tick(self, now: float) -> None:
        """Does what is due by now."""

    def next_wake(self) -> float | None:
        """Returns the latest time at which `tick` must be called."""

    def end_offset(self, read_at: float, offset: int, now: float) -> None:
        """Reports the partition's end offset (at the consumer's isolation level), from a request sent at `read_at`."""

    def unreachable(self, now: float) -> None:
        """Reports that Kafka did not answer. Producers may hold records that it could not accept, so every wait for
        them starts again.
        """

    def allow_open(self, most: int) -> None:
        """Sets the bound of live responses. The idlest ones beyond `most` are abandoned with the next fetch."""


class PipelineOutput(Protocol):
    """The side that publishes."""

    @property
    def in_flight(self) -> int:
        """The number of frames sent and not answered."""

    @property
    def knows_what_is_published(self) -> bool:
        """Whether everything that an unclean predecessor may have published is known. Only then may an end count as
        clean.
        """

    def take_woken(self) -> list[str]:
        """Returns the channels that have something to send since the last call."""

    def waits(self, channel: str) -> bool:
        """Returns True if `next_frame` may have something for the channel."""

    def next_frame(self, channel: str, now: float) -> Frame | AskHistory | None:
        """Returns the channel's next frame, which is now in flight, or a request for its history, or None if nothing
        waits.
        """

    def urgent(self, channel: str) -> bool:
        """Returns True if the channel's next frame must not wait for the rate limiter."""

    def history(self, channel: str, findings: Mapping[str, Published], now: float) -> None:
        """Reports the published frames of a channel's history, by response; empty if the history is unavailable."""

    def done(self, frame: Frame, now: float) -> None:
        """Reports the frame as acknowledged."""

    def too_large(self, frame: Frame, code: int, now: float) -> None:
        """Reports the frame as too large. It is cut smaller; if that is impossible, the response fails."""

    def refused(self, frame: Frame, code: int, message: str, now: float) -> None:
        """Reports a permanent refusal by the channel: its responses fail, and their remaining records go to the dead
        letters.
        """

    def read_at(self, offset: int) -> float | None:
        """Returns when the record at `offset` was read (monotonic seconds); None if another owner read it."""

    def oldest_unsent_at(self) -> float | None:
        """Returns when the oldest unacknowledged token was read. Costs one step per open response."""


class PipelineDurability(Protocol):
    """The side that writes."""

    @property
    def wants_write(self) -> bool:
        """Whether something can be written now. False while a batch is not committed."""

    @property
    def lacks_texts(self) -> bool:
        """Whether something to be written waits for a text to be read back."""

    def snapshot_all(self) -> None:
        """Schedules every changed open response for the next batch."""

    def collect(self, wall_ms: int) -> Batch:
        """Returns everything that waits as one batch, with `wall_ms` as its time. It may be empty, to commit offsets alone.

        The next batch is collected after `committed`.
        """

    def commit_point(self, batch: Batch, offsets: Sequence[int]) -> CommitPoint:
        """Returns the offset from which a successor must read, once the batch is committed.

        `offsets` are the `responses` offsets of the batch's records, in order.
        """

    def committed(self, batch: Batch, point: CommitPoint, now: float) -> None:
        """Reports that the batch and its offset are committed."""

    def texts_wanted(self) -> list[tuple[str, int]]:
        """Returns (responseId, `responses` offset) of records whose text must be read back before the next record can
        be written.
        """

    def read_back(self, record: ResponseRecord) -> None:
        """Supplies the record at an offset that `texts_wanted` named."""
