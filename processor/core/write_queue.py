"""Queues what must become durable, and computes the offset that may be committed with it.

A batch has final records, snapshots, decisions and dead letters.
It is written in one transaction together with the offset of `commit_point`.
One batch is under way at a time; a batch that failed is written again unchanged.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec

from processor.core.decoding import Share
from processor.core.durable import record_of
from processor.core.finished import FinishedMemory
from processor.core.limits import RECORD_OVERHEAD, REMEMBERED_ENDS, REMEMBERED_FINALS, REWRITE_DISTANCE
from processor.core.response import End, Phase, Raw, Response, cost
from topics.records import EndReason, Reason, ResponseRecord


class DeadLetter(msgspec.Struct, frozen=True):
    raw: Raw
    reason: Reason
    detail: str = ""


class Unwanted(msgspec.Struct, frozen=True):
    """Notice that the relay ended a response by itself, so that its producer need not continue."""

    response_id: str
    channel: str
    reason: str


UNWANTED_ENDS: Final = frozenset({EndReason.ABANDONED, EndReason.TOO_LARGE, EndReason.UNPUBLISHABLE})
"""Reasons of ends made by the relay that producers are notified of."""


class Save(msgspec.Struct, frozen=True):
    """One record to write, and what it makes durable."""

    response: Response
    record: ResponseRecord
    covered_seq: int
    gaps: tuple[tuple[int, int], ...]
    end: End | None
    mark: int
    """The covered position, in the unit of the response's runs."""
    closed: bool = False
    """Whether it has the decision that the response ended by the gap timeout."""


class Batch(msgspec.Struct, frozen=True):
    saves: tuple[Save, ...]
    dead_letters: tuple[DeadLetter, ...]
    unwanted: tuple[Unwanted, ...] = ()


class Parked(msgspec.Struct):
    """A response whose text must be read back before it can be written, and the collection that it returns to."""

    response: Response
    waiting: dict[str, Response]
    asked: bool = False


class CommitPoint(msgspec.Struct, frozen=True):
    """`offset`: the next tokens offset that a successor reads. `restore`: the `responses` offset that it reads from."""

    offset: int
    restore: int


class WriteQueue:
    __slots__ = (
        "_batch",
        "_dead_letters",
        "_decided",
        "_due",
        "_held",
        "_notified",
        "_parked",
        "_unsaved",
        "_unwanted",
        "finished",
        "held_bytes",
        "responses_end",
    )

    def __init__(self, finals: int = REMEMBERED_FINALS, ended: int = REMEMBERED_ENDS) -> None:
        self._dead_letters: list[DeadLetter] = []
        self._unsaved: dict[str, Response] = {}
        self._unwanted: list[Unwanted] = []
        self._notified: set[str] = set()
        """Responses whose end was decided here and whose producers were notified."""
        self._decided: dict[str, Response] = {}
        self._due: dict[str, Response] = {}
        self._parked: dict[str, Parked] = {}
        self._batch: Batch | None = None
        self._held: dict[str, int] = {}
        self.finished = FinishedMemory(finals, ended)
        self.held_bytes = 0
        """The cost of ended responses and dead letters that are in no committed record yet."""
        self.responses_end = 0
        """The offset after the newest known record of the responses partition."""

    def dead_letter(self, raw: Raw, reason: Reason, detail: str = "") -> None:
        """Queues a dead letter. A share is replaced by its record."""
        if type(raw) is Share:
            if raw.original is None:
                return
            raw = raw.original
        self._dead_letters.append(DeadLetter(raw, reason, detail))
        self.held_bytes += cost(raw)

    def refuse_start(self, response_id: str, channel: str) -> None:
        """Queues a notice for a response whose start names a forbidden channel. No part of the response is relayed."""
        self._unwanted.append(Unwanted(response_id, channel, str(Reason.CHANNEL_FORBIDDEN)))

    def finish(self, response: Response, now: float) -> None:
        """Queues the final record of a response that ended."""
        response.enter(Phase.FINISHED)
        self._decided.pop(response.id, None)
        self._due.pop(response.id, None)
        if response.id in self._parked:
            self._parked[response.id].waiting = self._unsaved
        else:
            self._unsaved[response.id] = response
        self._held[response.id] = sum(part.held for part in response.parts) + RECORD_OVERHEAD
        self.held_bytes += self._held[response.id]
        self.finished.remember(response, now)

    def decide(self, response: Response) -> None:
        self._decided[response.id] = response

    def undecided(self) -> Collection[Response]:
        """The responses with decisions that may be in no committed record."""
        found = dict(self._decided)
        found.update({parked.response.id: parked.response for parked in self._parked.values()})
        if self._batch is not None:
            saves = self._batch.saves
            found.update({save.response.id: save.response for save in saves if save.gaps or save.end or save.closed})
        return found.values()

    def snapshot_due(self, response: Response) -> None:
        if response.phase in {Phase.OPEN, Phase.ENDING} and response.unsaved:
            self._due[response.id] = response

    @property
    def wants_write(self) -> bool:
        """Whether something can be written now."""
        if self._batch is not None:
            return False
        return bool(self._dead_letters or self._due or self._unsaved) or any(
            response.acked_seq >= 0 for response in self._decided.values()
        )

    def collect(self, wall_ms: int) -> Batch:
        """Returns everything that waits as one batch. The batch may be empty, to commit offsets alone."""
        assert self._batch is None, "one batch at a time"
        saves: list[Save] = []
        for waiting in (self._unsaved, self._decided, self._due):
            for response in list(waiting.values()):
                if waiting is self._decided and response.acked_seq < 0:
                    continue  # nothing can follow before its start is acknowledged: the decision can wait for that
                del waiting[response.id]
                if waiting is not self._due:
                    self._due.pop(response.id, None)
                if self._lacks_text(response):
                    self._parked.setdefault(response.id, Parked(response, waiting))
                else:
                    saves.append(self._save(response, wall_ms))
                    if waiting is not self._due:
                        self._notify_unwanted(response)
        self._batch = Batch(tuple(saves), tuple(self._dead_letters), tuple(self._unwanted))
        self._dead_letters, self._unwanted = [], []
        return self._batch

    def _notify_unwanted(self, response: Response) -> None:
        """Adds one notice per response: with the decision, or with the final record if a predecessor decided and may
        not have notified.
        """
        notified = response.id in self._notified
        if response.phase is Phase.FINISHED:
            self._notified.discard(response.id)
            reason = (
                str(Reason.UNPUBLISHABLE) if response.refused else response.reason if response.ended_by_relay else None
            )
        else:
            reason = None if response.decided_end is None else response.decided_end.reason
        if reason in UNWANTED_ENDS and (not notified or response.refused):
            self._unwanted.append(Unwanted(response.id, response.channel, reason))
            if response.phase is not Phase.FINISHED:
                self._notified.add(response.id)

    def park(self) -> None:
        """Parks the responses whose texts the next batch would lack, so that the texts are requested at once."""
        for waiting in (self._unsaved, self._decided, self._due):
            for response in [each for each in waiting.values() if self._lacks_text(each)]:
                del waiting[response.id]
                self._parked.setdefault(response.id, Parked(response, waiting))

    @property
    def parked(self) -> bool:
        return bool(self._parked)

    @staticmethod
    def _lacks_text(response: Response) -> bool:
        return any(part.evicted for part in response.parts)

    @staticmethod
    def _save(response: Response, wall_ms: int) -> Save:
        response.save()
        return Save(
            response,
            record_of(response, wall_ms),
            response.acked_seq,
            tuple(response.decided_gaps),
            response.decided_end,
            response.saved_mark,
            response.decoding is not None and response.decoding.closed is not None,
        )

    def commit_point(
        self, batch: Batch, offsets: Sequence[int], open_responses: Iterable[Response], position: int
    ) -> CommitPoint:
        """Returns the offset from which a successor must read, once `batch` is committed.

        `offsets` are the `responses` offsets of the batch's saves, in order.
        The result is never past a record that is in no committed record or dead letter.
        """
        covered = {save.response.id: save.mark for save in batch.saves}
        for save, offset in zip(batch.saves, offsets, strict=True):
            save.response.written_at(offset)
            if save.record.finished:
                self.finished.committed(save.response.id, offset)
            self.responses_end = max(self.responses_end, offset + 1)
        lowest, restore = position, self.responses_end
        finals = {save.response.id for save in batch.saves if save.record.finished}
        ended = [parked.response for parked in self._parked.values() if parked.response.phase is Phase.FINISHED]
        candidates = (*open_responses, *self._unsaved.values(), *ended)
        opened = len(candidates)
        for response in candidates:
            if response.id in finals:
                continue
            mark = covered.get(response.id, response.covered_mark)
            first = response.runs.first_uncovered(mark)
            if first is not None and first < lowest:
                lowest = first
            if response.record_offset is not None and response.record_offset < restore:
                restore = response.record_offset
                self._rewrite_distant(response, opened)
        if self._dead_letters:
            lowest = min(lowest, *(letter.raw.offset for letter in self._dead_letters))
        remembered = self.finished.first_record_offset()
        return CommitPoint(lowest, restore if remembered is None else min(restore, remembered))

    def _rewrite_distant(self, response: Response, opened: int) -> None:
        distance = self.responses_end - (response.record_offset or 0)
        # Twice the open ones: rewriting them all must not make them distant again.
        if distance > max(REWRITE_DISTANCE, 2 * opened) and response.phase in {Phase.OPEN, Phase.ENDING}:
            self._due[response.id] = response

    # Texts out of memory

    def may_evict(self, response: Response) -> bool:
        """Returns True if the response's newest record is committed and no change of it waits to be written."""
        waits = response.id in self._due or response.id in self._decided or response.id in self._parked
        return response.record_offset is not None and not waits and self._batch is None

    def take_texts_wanted(self) -> list[tuple[str, int]]:
        wanted = [parked for parked in self._parked.values() if not parked.asked]
        for parked in wanted:
            parked.asked = True
        return [(parked.response.id, parked.response.record_offset or 0) for parked in wanted]

    def unpark(self, response_id: str) -> Response | None:
        parked = self._parked.pop(response_id, None)
        if parked is None:
            return None
        parked.waiting[response_id] = parked.response
        return parked.response

    def committed(self, batch: Batch) -> list[Response]:
        """Notes that the batch is durable. Returns the responses whose decisions may now be published."""
        assert batch is self._batch, "only the batch under way can be committed"
        self._batch = None
        self.held_bytes -= sum(cost(letter.raw) for letter in batch.dead_letters)
        freed: list[Response] = []
        for save in batch.saves:
            response = save.response
            if save.record.finished:
                self.held_bytes -= self._held.pop(response.id, 0)
                response.let_go()
                continue
            response.cover(save.covered_seq, save.mark)
            if response.make_durable(save.gaps, end=save.end is not None or save.closed):
                freed.append(response)
        return freed
