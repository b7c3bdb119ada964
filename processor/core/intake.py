"""Applies consumed records to the responses of a partition: opens, continues, holds, ends and dead-letters."""

from collections.abc import Sequence
from typing import Final

from processor.core.advancer import Advancer
from processor.core.cancels import ResponseCancels
from processor.core.chunks import ANY_FORMAT, Actions, ChunkFormat, Chunks, never_plain
from processor.core.counts import Counts
from processor.core.early import EarlyRecords
from processor.core.finished import judge_after_end
from processor.core.following import Following
from processor.core.items import Refused, digest_of, time_of
from processor.core.limits import MAX_EARLY_TOKENS, RESPONSE_COST, Limits
from processor.core.outflow import Outflow
from processor.core.relief import Relief
from processor.core.response import Phase, Raw, Response, cost
from processor.core.sequencer import Verdict, is_start, judge
from processor.core.timers import Kind, Timers
from processor.core.write_queue import WriteQueue
from topics.codec import MAX_NESTING, Decoder, Invalid, TokenRecord
from topics.controls import ControlsMemory
from topics.json_text import is_utf8
from topics.openai import Format
from topics.plain import PlainToken
from topics.records import TEXT_PART, EndReason, Event, Reason

_TOKEN: Final = str(Event.TOKEN)


class Intake:
    """The open responses of a partition, derived from its log. Classifies each record, and decides what has ended."""

    __slots__ = (
        "_batch_number",
        "_decode",
        "_followed",
        "_missing_is_published",
        "_outflow",
        "_plain",
        "_timers",
        "_write_queue",
        "advancer",
        "cancels",
        "chunks",
        "counts",
        "early",
        "limits",
        "open",
        "position",
        "relief",
        "reread_before",
        "unknown_before",
    )

    def __init__(
        self,
        decoder: Decoder,
        limits: Limits,
        write_queue: WriteQueue,
        outflow: Outflow,
        timers: Timers,
        cancels: ControlsMemory,
        chunk_format: ChunkFormat = ANY_FORMAT,
    ) -> None:
        self._decode = decoder.decode
        self._plain = decoder.plain if chunk_format.tokens_format is not Format.OPENAI else never_plain
        self._followed: dict[str, Following] = {}
        self._write_queue = write_queue
        self._outflow = outflow
        self._timers = timers
        self._batch_number = 0
        self._missing_is_published = False
        self.limits = limits
        self.open: dict[str, Response] = {}
        relief = self.relief = Relief(limits, self.open, outflow)
        self.counts = Counts()
        self.early = EarlyRecords(limits, write_queue, timers, self.relief.startless)
        self.cancels = ResponseCancels(limits, timers, cancels)
        self.advancer = Advancer(
            limits, write_queue, outflow, timers, self.open, self._followed, self.early, relief.unpaired, self.counts
        )
        self.position = 0
        """The next offset to read."""
        self.unknown_before = 0
        """Offsets below this may have been published by a predecessor that ended uncleanly."""
        self.reread_before = 0
        """Offsets below this may have been read by a predecessor. At most `unknown_before`: see `relief`."""
        actions = Actions(
            open=self._open_response,
            start=self._start,
            accept=self.advancer.accept,
            advance=self.advancer.advance,
            end=self.advancer.end,
            charge=self.advancer.charge,
            note=lambda response, raw: response.note_number(self._batch_number, raw.offset, raw.offset),
            counts=self.counts,
        )
        self.chunks = Chunks(chunk_format, limits, write_queue, outflow, timers, self.open, actions)

    def begin(self, position: int, unknown_before: int) -> None:
        """Starts at `position`. Records below `unknown_before` may have been read and published already."""
        self.position = position
        self.unknown_before = self.reread_before = unknown_before

    def consume(self, raws: Sequence[Raw], position: int, now: float) -> None:
        """Consumes records, in offset order. `position` is the next offset that will be fetched.

        Stops when it becomes overfull: the records from `self.position` on are not consumed.
        """
        if raws and self.overfull:
            return
        self._batch_number += 1
        self.counts.consumed += len(raws)
        plain, followed = self._plain, self._followed
        for raw in raws:
            value: bytes = raw.value  # type: ignore[assignment]  # None is a TypeError below, and so costs nothing
            try:
                token = plain(value)
            except Exception:  # noqa: BLE001 - mostly NOT_PLAIN; whatever else a value makes the decoder raise is a dead letter
                self._take_odd(raw, now)
                if self.overfull:
                    break
                continue
            following = followed.get(token.response_id) or self._follow(token, raw)
            if following is None:
                self._take_odd(raw, now)
                if self.overfull:
                    break
                continue
            size = len(value)
            room = following.room - size
            if (
                token.seq == following.expected
                and token.part == following.part
                and token.kind == following.kind
                and token.part_info is None
                and raw.key is not None
                and room >= 0
                and size <= MAX_NESTING
                and (value.isascii() or is_utf8(value))
            ):
                following.room = room
                if token.seq is not None:
                    following.expected = token.seq + 1
                run = following.run
                run.texts.append(token.text)
                run.stamps.append(time_of(None, raw) if token.ts is None else token.ts)
                run.records.append(raw)
            else:
                self._take_odd(raw, now)
                if self.overfull:
                    break
        else:
            self.position = max(position, raws[-1].offset + 1 if raws else self.position)
            raws = ()
        for following in followed.values():
            self._unfollow(following, now)
        followed.clear()
        if raws:
            self.position = raw.offset + 1
        # Also after plain tokens, which can be the first records read beyond it.
        if self.position > self.reread_before and self.relief.startless.bytes:
            self._give_up_startless(reread=False)
        if len(self.open) > self.relief.most_open:
            self._bound_open(now)
        self._relieve(now)

    def _bound_open(self, now: float) -> None:
        for idle in self.relief.too_many(unknown=self.position < self.unknown_before):
            self.advancer.abandon(idle, now)

    def _follow(self, token: PlainToken, raw: Raw) -> Following | None:
        """Follows the token's response for the rest of the batch, if this is the plain token that it waits for."""
        response = self.open.get(token.response_id)
        if response is None or not response.takes_plain_tokens:
            return None
        if response.unnumbered:
            if token.seq is not None or raw.offset <= response.acked_offset:
                return None
        elif token.seq != response.next_seq:
            return None
        name: str | None = TEXT_PART
        if token.part is not None or token.kind is not None:
            record = self._decoded(raw)
            name = record.part if isinstance(record, TokenRecord) else None
        part = response.part(name or "")
        if part is None:
            return None
        following = self._followed[response.id] = Following(response, token, part, self.limits.response)
        return following

    def _unfollow(self, following: Following, now: float) -> None:
        count, held = following.end(self._batch_number, now)
        self.counts.tokens += count
        self._outflow.queued_bytes += held
        self._outflow.enqueue(following.response)

    def _decoded(self, raw: Raw) -> TokenRecord | Invalid:
        try:
            return self._decode(raw.value)
        except Exception as error:  # noqa: BLE001 - one value must never end a partition's owner
            return Invalid(Reason.POISON, f"decoding it raised {type(error).__name__}: {error}")

    def _take_odd(self, raw: Raw, now: float) -> None:
        """Consumes a record that is not the plain token its response waits for."""
        if isinstance(raw, Refused):
            self._write_queue.dead_letter(raw.original, raw.reason, raw.detail)
            return
        chunk = self.chunks.recognized(raw)
        if chunk is None:
            record = self._decoded(raw)
            chunk = self.chunks.recognized_after_all(raw) if isinstance(record, Invalid) else None
        if chunk is not None:
            self.chunks.consume(chunk, raw, now)
            self._give_up_startless(reread=raw.offset < self.reread_before)
            return
        if isinstance(record, TokenRecord) and (following := self._followed.pop(record.response_id, None)) is not None:
            self._unfollow(following, now)
        self._take(record, raw, now)

    def _take(self, record: TokenRecord | Invalid, raw: Raw, now: float) -> None:
        if isinstance(record, Invalid):
            self._write_queue.dead_letter(raw, record.reason, record.detail)
            if record.refused_start is not None:
                self._write_queue.refuse_start(*record.refused_start)
            return
        if raw.key is None:
            self._write_queue.dead_letter(raw, Reason.NO_KEY, "the record has no key; use the channel")
            return
        response = self.open.get(record.response_id)
        if response is not None:
            response.note_read(raw.offset, now)
            if is_start(record):
                self._start(response, record, raw, now)
            else:
                self._continue(response, record, raw, now)
        elif (finished := self._write_queue.finished.meet(record.response_id, raw.offset)) is not None:
            replayed = self._write_queue.finished.replayed_before
            self.advancer.settle(judge_after_end(finished, record, raw, digest_of(raw), replayed), raw)
        else:
            self._meet(record, raw, now)
        self._give_up_startless(reread=raw.offset < self.reread_before)

    def _meet(self, record: TokenRecord, raw: Raw, now: float) -> None:
        """Handles the first record of an unknown response."""
        if not is_start(record) and record.seq is None:
            self._write_queue.dead_letter(raw, Reason.NO_START, "the response never started")
            return
        response = self._open_response(record.response_id, raw, now)
        if is_start(record):
            self._start(response, record, raw, now)
        else:
            self._hold(response, record, raw, now)

    def _open_response(self, response_id: str, raw: Raw, now: float) -> Response:
        """Returns a newly opened response, or the one whose start is awaited."""
        response = self.open.get(response_id)
        if response is None:
            response = self.open[response_id] = Response(response_id, now)
            response.note_read(raw.offset, now)
            response.ask_history_before(self.unknown_before)
        return response

    def _start(self, response: Response, record: TokenRecord, raw: Raw, now: float) -> None:
        digest = digest_of(raw)
        if response.phase is not Phase.AWAITING_START:
            if digest == response.start_digest:
                self.counts.duplicates += 1
                return
            self._write_queue.dead_letter(raw, Reason.RESPONSE_ID_REUSED, "another start of an open response")
            if response.phase is Phase.OPEN:
                self.advancer.end(response, EndReason.RESPONSE_ID_REUSED)
            return
        self.early.adopt(response)
        response.begin(record, raw, digest, now)
        response.note_number(self._batch_number, raw.offset, 0 if response.decoding is None else raw.offset)
        self.advancer.charge(response, cost(raw) + RESPONSE_COST)
        self._outflow.adopt(response)
        self.arm_idle(response, now)
        self.cancels.recall(response, now)
        self.counts.started += 1
        if response.unnumbered:
            self.early.discard(response, Reason.INVALID, "sequence numbers in a response that leaves them out")
        self.advancer.advance(response, now)

    def _continue(self, response: Response, record: TokenRecord, raw: Raw, now: float) -> None:
        verdict = judge(response, record, raw)
        if verdict is Verdict.ACCEPTED:
            assert record.seq is not None
            response.note_number(self._batch_number, raw.offset, record.seq)
            self.advancer.accept(response, record, raw)
            self.advancer.advance(response, now)
        elif verdict is Verdict.HELD:
            self._hold(response, record, raw, now)
        else:
            self.advancer.settle(verdict, raw)

    def _hold(self, response: Response, record: TokenRecord, raw: Raw, now: float) -> None:
        self.counts.held += 1
        assert record.seq is not None
        self.early.hold(response, record.seq, record, raw)
        response.note_number(self._batch_number, raw.offset, record.seq)
        self.early.watch_gap(response, now)
        if len(response.early) <= MAX_EARLY_TOKENS:
            return
        if response.phase is Phase.AWAITING_START:
            self.advancer.give_up_startless(response, next(iter(response.early)))
        else:
            self.advancer.give_up(response, now)

    # What waits for other records

    def _relieve(self, now: float) -> None:
        """Gives up what exceeds memory: see `relief`."""
        if self.position < self.reread_before:
            if not self.relief.waits_beyond_predecessors(self._waiting_started_bytes):
                return
            self.reread_before = self.position
        while (found := self.relief.response(self.held_bytes)) is not None:
            if found.early:
                self.advancer.give_up(found, now)
            else:
                self.advancer.end(found, EndReason.TOO_LARGE)

    def _give_up_startless(self, *, reread: bool) -> None:
        while (startless := self.relief.startless_record(reread=reread)) is not None:
            self.advancer.give_up_startless(*startless)

    def release_offset(self, committed_offset: int, now: float) -> None:
        """Gives up what holds back the committed offset because it waits for records.

        Of responses that a predecessor may have published, gives up only those whose published part is known.
        """
        self._missing_is_published = False
        pinning = self.relief.pinning(committed_offset)
        if pinning is None:
            return
        if pinning.channel and self.position < self.unknown_before and not pinning.nothing_unknown:
            if not pinning.asked_history:
                self._outflow.ask(pinning)
            self._missing_is_published = pinning.asked_history
        elif pinning.early:
            self.advancer.give_up(pinning, now)
        else:
            self.advancer.end(pinning, EndReason.ABANDONED)

    @property
    def missing_is_published(self) -> bool:
        """Whether the record that the committed offset waits for is in the log from the position to `unknown_before`."""
        return self._missing_is_published and self.position < self.unknown_before

    @property
    def held_bytes(self) -> int:
        """The cost of the early records that are held, and of the responses without a start."""
        return self.early.bytes + self.relief.startless.response_bytes

    @property
    def waiting_bytes(self) -> int:
        """The cost of everything that is held until other records arrive."""
        return self.held_bytes + self.relief.unpaired.bytes()

    @property
    def _waiting_started_bytes(self) -> int:
        """The part of `waiting_bytes` that belongs to responses that have started."""
        return self.waiting_bytes - self.relief.startless.bytes

    @property
    def overfull(self) -> bool:
        """Whether too much is undetermined to consume a record: see `relief`."""
        most = self.limits.whole_buffered
        if self._outflow.queued_bytes + self.early.bytes + self._write_queue.held_bytes <= most:
            return False
        undecided = sum(response.queued_bytes for response in self._write_queue.undecided())
        return self.relief.overfull(self._waiting_started_bytes, undecided + self._write_queue.held_bytes)

    def arm_idle(self, response: Response, since: float) -> None:
        """Arms the timer that abandons the response if no record of it arrives within the idle timeout from `since`."""
        self._timers.arm(since + self.limits.idle_timeout, Kind.IDLE, response)

    def forget(self, response: Response) -> None:
        """Releases the early records of a response that has ended."""
        self.open.pop(response.id, None)
        self._timers.forget(response)
        self.early.release_all(response)
