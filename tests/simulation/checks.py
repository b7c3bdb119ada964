"""The judges: what must hold at every committed transaction and every published frame, and at the end.

They share no code with the relay. What was produced is known from the log as the brokers hold it, and from what the
producers meant by each record; what was published, from the service; what is durable, from the committed
transactions.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from devtools.judge.frames import check
from processor.reader.frames import Message, sha256_of, utf16_length
from simulation.coverage import Coverage
from simulation.fates import check_cancel, check_final, check_moment, check_notices, outrun
from simulation.known import RELAY_ENDS, Durable, Shown, Violation, demand
from simulation.log import Brokers, Log, LogRecord, Transaction
from simulation.plan import Plan, Truth
from simulation.produced import Produced, joined
from simulation.realtime import Service
from simulation.store_judge import StoreJudge
from topics.records import EndReason, Reason

METADATA_BYTES = 4096
FRAME_BYTES = 65_536
TIGHT = 1_000_000
"""Where less may wait, early tokens alone may fill the room; then the oldest gap is given up at once."""


class Judge:
    def __init__(
        self, plan: Plan, brokers: Brokers, service: Service, coverage: Coverage, now: Callable[[], float]
    ) -> None:
        self._now = now
        self._plan = plan
        self._brokers = brokers
        self._service = service
        self._coverage = coverage
        self.produced = Produced(brokers)
        self.ended_at: dict[str, float] = {}
        """When the final record of a response was committed."""
        self._stopped_at: dict[str, float] = {}
        self._copied_late = {each.response_id for each in plan.responses if "late_copy" in each.perturbed}
        self._ignoring = {each.response_id for each in plan.responses if "cancel_ignored" in each.perturbed}
        self._unnumbered = {each.response_id for each in plan.responses if "unnumbered" in each.perturbed}
        self.second_lives: dict[str, Durable] = {}
        """Of responses whose start came again when they were remembered no more. What they are is the first life's."""
        self._of_second_lives: list[Message] = []
        self._deleted: set[str] = set()
        self._may_go_back: dict[int, int] = {}
        """Partitions that lost their end: where it is now."""
        self.durable: dict[str, Durable] = {}
        self.shown: dict[str, Shown] = defaultdict(Shown)
        self.dead: dict[tuple[int, int], set[str]] = defaultdict(set)
        """Reasons by (partition, offset)."""
        self.dead_values: set[bytes | None] = set()
        self._verified: dict[int, int] = defaultdict(int)
        self.archive = StoreJudge(brokers, self.durable, self._deleted)
        brokers.watch = self.committed
        service.watch = self.published

    # What the world does

    def log_lost_end(self, number: int, end: int) -> None:
        self._may_go_back[number] = end
        self._verified[number] = min(end, self._verified[number])

    def deleted(self, response_id: str) -> None:
        self._deleted.add(response_id)

    def may_begin(self, response_id: str) -> bool:
        """Whether a response that ended may begin a second time: its start came again, and it is long remembered no more."""
        stopped_at = self._stopped_at.get(response_id)
        long_ago = stopped_at is not None and self._now() - stopped_at >= self._plan.limits.finished_ttl
        return response_id in self._copied_late and long_ago

    # Every frame

    def published(self, channel: str, message: Message, sender: str) -> None:
        headers = message.headers
        response_id, seq = headers["responseId"], int(headers["seq"])
        seq_end = int(headers.get("seqEnd", seq))
        shown = self.shown[response_id]
        where = f"{sender} on {channel}: {message.id}"
        if response_id in self.second_lives or (message.name == "start" and self.may_begin(response_id)):
            self._of_second_lives.append(message)
            return
        demand(seq <= shown.through + 1, f"a hole before {where}: {shown.through} published")
        data = message.data if isinstance(message.data, str) else ""
        demand(len(data.encode()) + len(message.id or "") < FRAME_BYTES, f"too large: {where}")
        if message.name in {"token", "part"}:
            part, offset = headers.get("part", "text"), int(headers["offset"])
            whole = offset <= shown.units.get(part, 0) or self._counts_anew(response_id)
            demand(whole, f"a hole in the text before {where}")
            shown.units[part] = max(shown.units.get(part, 0), offset + utf16_length(data))
        elif message.name == "gap":
            self._check_decided_gap(response_id, seq, seq_end, where)
            shown.gaps.add((seq, seq_end))
        elif message.name == "stop":
            self._check_stop(response_id, seq, message.data, where)
            same = (
                shown.stop in (None, message.data) or self._counts_anew(response_id) or self._left_no_trace(response_id)
            )
            demand(same, f"another stop: {where}")
            shown.stop = message.data
            self._stopped_at.setdefault(response_id, self._now())
        shown.through = max(shown.through, seq_end)

    def _relay_made(self, response_id: str, reason: str | None) -> bool:
        """Whether the relay made a stop whose reason a producer may give: this one ignores its cancel, and gives another."""
        return reason == "cancelled" and response_id in self._ignoring

    def _check_decided_gap(self, response_id: str, first: int, last: int, where: str) -> None:
        durable = self.durable.get(response_id)
        known = durable is not None and (
            (first, last) in durable.decided_gaps or [first, last] in durable.record["gaps"]
        )
        demand(known, f"a gap published before it was durable: {where}")

    def _check_stop(self, response_id: str, seq: int, data: Any, where: str) -> None:
        if data["reason"] not in RELAY_ENDS and not self._relay_made(response_id, data["reason"]):
            return
        durable = self.durable.get(response_id)
        end = durable.decided_end if durable is not None else None
        demand(end is not None, f"an end published before it was durable: {where}")
        demand(end == {"reason": data["reason"], "seq": seq}, f"not the end that was decided: {where}, {end}")

    # Every transaction

    def committed(self, transaction: Transaction) -> None:
        for log, offset in transaction.written:
            entry = log.entries[offset].record
            assert entry is not None
            if log.topic == "responses":
                self._take_record(log, entry)
            elif log.topic == "dead-letters":
                headers = {name: value or b"" for name, value in entry.headers}
                reason = headers["tokenstream-reason"].decode()
                at = (int(headers["tokenstream-partition"]), int(headers["tokenstream-offset"]))
                demand(reason != Reason.POISON, f"no record here ends an owner, and {at} is given up as poison")
                self._check_deleted(at, entry, reason)
                self.dead[at].add(reason)
                self.dead_values.add(entry.value)
                self._coverage.state(Reason(reason))
        for number, (offset, metadata) in transaction.offsets.items():
            self._check_offset(number, offset, metadata)

    def _take_record(self, log: Log, entry: LogRecord) -> None:
        record = json.loads(entry.value or b"{}")
        response_id = record["responseId"]
        where = f"responses[{log.number}] at {entry.offset} of {response_id}"
        before = self.durable.get(response_id)
        if before is not None and before.finished and before.record == record:
            return  # written again: it was not known whether it was committed
        lives = self.durable
        if before is not None and before.finished:
            demand(self.may_begin(response_id), f"a record after the final one: {where}")
            self._coverage.fault("began_a_second_time")
            lives = self.second_lives
            before = lives.get(response_id)
        if before is not None:
            self._check_growth(before.record, record, where)
        relay_made = self._relay_made(response_id, record["reason"])
        durable = Durable(
            record,
            set(before.decided_gaps) if before else set(),
            before.decided_end if before else None,
            relay_made,
        )
        if relay_made:
            self._coverage.fault("cancel_forced")
            demand(record["error"] is None, f"a cancelled response has an error: {where}")
        if check_moment(self._plan, durable, self._now()):
            self._coverage.fault("cancel_gives_up_gap")
        self._check_decisions(durable, record, where)
        self._check_shown(record, where)
        demand(len(entry.value or b"") <= self._plan.limits.response + 1024, f"over MAX_RESPONSE_BYTES: {where}")
        lives[response_id] = durable
        if durable.finished:
            self.ended_at.setdefault(response_id, self._now())
            self._coverage.end(record["reason"])

    def _check_deleted(self, at: tuple[int, int], letter: LogRecord, reason: str) -> None:
        """What is read again of a deleted response is a repeat: its text goes nowhere any more."""
        truth = self.produced.truths.get(at)
        if truth is None or truth.response_id not in self._deleted or letter.value in self.dead_values:
            return
        number, offset = at
        record = next(self._brokers.tokens[number].read(offset, offset + 1))
        self.produced.count(self._brokers.tokens[number], self._brokers.tokens[number].end)
        is_repeat = not self.produced.is_damaged(number, offset) and self._holds(record, truth)
        demand(not is_repeat, f"of {truth.response_id}, which is deleted, {at} becomes a dead letter: {reason}")

    @staticmethod
    def _check_growth(before: dict[str, Any], record: dict[str, Any], where: str) -> None:
        demand(record["seq"] >= before["seq"], f"seq went back: {where}")
        demand(record["gaps"][: len(before["gaps"])] == before["gaps"], f"gaps changed: {where}")
        texts = {part["part"]: part["text"] for part in record["parts"]}
        for part in before["parts"]:
            demand(texts.get(part["part"], "").startswith(part["text"]), f"text changed: {where} {part['part']}")

    @staticmethod
    def _check_decisions(durable: Durable, record: dict[str, Any], where: str) -> None:
        decided = record["relay"].get("decided", {})
        gaps = {(first, last) for first, last in (*decided.get("gaps", ()), *record["gaps"])}
        if record["reason"] != EndReason.UNPUBLISHABLE:
            demand(durable.decided_gaps <= gaps, f"a decided gap was forgotten: {where}, {durable.decided_gaps - gaps}")
            if durable.decided_end is not None:
                kept = decided.get("end") == durable.decided_end
                ended = durable.finished and record["reason"] == durable.decided_end["reason"]
                demand(kept or ended, f"a decided end was forgotten: {where}")
        durable.decided_gaps |= gaps
        durable.decided_end = decided.get("end") or durable.decided_end

    def _check_shown(self, record: dict[str, Any], where: str) -> None:
        """A record holds what was acknowledged, and so published."""
        shown = self.shown[record["responseId"]]
        counts_anew = self._counts_anew(record["responseId"])
        if not counts_anew and (record["status"] == "streaming" or record["reason"] != EndReason.UNPUBLISHABLE):
            demand(record["seq"] <= shown.through, f"ahead of what is published: {where}, {shown.through}")
        for part in record["parts"]:
            published = counts_anew or part["length"] <= shown.units.get(part["part"], 0)
            demand(published, f"text ahead of what is published: {where}")
            demand(part["length"] == utf16_length(part["text"]), f"the length of a part is wrong: {where}")

    def _counts_anew(self, response_id: str) -> bool:
        """Returns True if its records have no numbers, and its log lost some.

        A relay that reads the log again counts other records as the published ones, and no committed offset can show
        it.
        """
        return response_id in self.produced.damaged and response_id in self._unnumbered

    def _left_no_trace(self, response_id: str) -> bool:
        """Returns True if its log lost records, and a history may have lacked what was published of them."""
        histories = any(fault.kind.startswith("history") for fault in self._plan.faults)
        return histories and response_id in self.produced.damaged

    # Offsets

    def _check_offset(self, number: int, offset: int, metadata: str) -> None:
        before = self._brokers.committed.get(number, (0, ""))[0]
        where = f"commit of partition {number} to {offset}"
        if offset < before and before > self._may_go_back.get(number, before):
            self._coverage.fault("went_back_in_a_shorter_log")
            before, self._verified[number] = 0, 0
            del self._may_go_back[number]
        demand(offset >= before, f"went back from {before}: {where}")
        demand(len(metadata) <= METADATA_BYTES, f"metadata too long: {where}")
        log = self._brokers.tokens[number]
        end = max(log.end, self.produced.longest.get(number, 0))
        demand(offset <= end, f"past the end {end}: {where}")
        self.produced.count(log, offset)
        for record in log.read(self._verified[number], offset):
            if not self._is_covered(number, record):
                durable = self.durable.get(self.produced.truths[number, record.offset].response_id)
                raise Violation(f"{where} leaves {record.offset} uncovered: {record.value!r:.200}, {durable!r:.600}")
        self._verified[number] = offset

    def _is_covered(self, number: int, record: LogRecord) -> bool:
        if (number, record.offset) in self.dead or record.value in self.dead_values:
            return True  # the second copy of a dead letter is a repeat
        truth = self.produced.truths[number, record.offset]
        if record.headers and truth.event == "stop" and self._has_ended(truth.response_id):
            return True  # a chunk without text is ignored where the relay has ended its response
        nobody_knows = self.produced.is_damaged(number, record.offset)
        return nobody_knows or truth.response_id in self._deleted or self._holds(record, truth)

    def _has_ended(self, response_id: str) -> bool:
        durable = self.durable.get(response_id)
        return durable is not None and durable.record["status"] != "streaming"

    def _holds(self, record: LogRecord, truth: Truth) -> bool:
        """Whether the response's newest committed record has what this one brings."""
        durable = self.durable.get(truth.response_id)
        if truth.wrong is not None or durable is None:
            return False
        seq = self.produced.seq_of(record.offset, truth)
        if truth.event == "start" and durable.record["relay"]["start"] != _digest(record.value):
            return False
        return 0 <= seq <= durable.last and seq not in durable.gaps

    # The end

    def settled(self) -> str | None:
        """What is not finished yet; None when all is."""
        for log in self._brokers.tokens:
            committed = self._brokers.committed.get(log.number, (0, ""))[0]
            if log.end < len(log.entries) or any(log.read(committed, log.end)):
                return f"partition {log.number} is committed to {committed} of {log.end} ({len(log.entries)})"
        lives = (*self.durable.items(), *self.second_lives.items())
        unfinished = next((f"{key} is not finished" for key, each in lives if not each.finished), None)
        return unfinished or self.archive.unarchived()

    def final(self, *, perfect: bool) -> None:
        """After everything has ended: what readers see is what was produced, and the records agree."""
        by_channel: dict[str, dict[str, dict[str, str]]] = defaultdict(dict)
        for response in self._plan.responses:
            records = list(self.produced.of(response.response_id))
            if not records or response.response_id in self.produced.damaged:
                continue
            durable = self.durable.get(response.response_id)
            if durable is None:
                letters = [record.value in self.dead_values for _, record, _ in records]
                demand(all(letters), f"{response.response_id} has no record, and not all of it is in the dead letters")
                demand("start_lost" in response.perturbed, f"{response.response_id} started, and has no record")
                continue
            texts = self._expected(response.response_id, durable)
            check_final(response.response_id, durable.record, texts)
            self._check_fate(response.perturbed, response.lost, durable)
            if durable.record["reason"] != EndReason.UNPUBLISHABLE:
                by_channel[durable.record["channel"]][response.response_id] = texts
        for number, record, truth in self.produced.all():
            reasons = self.dead.get((number, record.offset), set())
            demand(
                truth.wrong is None or truth.wrong in reasons or self.produced.is_damaged(number, record.offset),
                f"{number}/{record.offset} is {truth.wrong}, and in the dead letters {reasons}",
            )
        self.archive.check()
        if perfect:
            self._check_notices()
        for channel, produced in by_channel.items():
            self._check_channel(channel, produced, perfect=perfect)

    def _expected(self, response_id: str, durable: Durable) -> dict[str, str]:
        """The texts of all tokens that the final record covers, as they were meant."""
        tokens: dict[int, Truth] = {}
        last = durable.last
        for _, record, truth in self.produced.of(response_id):
            seq = self.produced.seq_of(record.offset, truth)
            if truth.event == "token" and 0 <= seq <= last and seq not in durable.gaps:
                tokens.setdefault(seq, truth)
        covered = {*tokens, *durable.gaps, 0}
        by_relay = durable.relay_made or durable.forced
        stopped = not by_relay and durable.record["reason"] not in {*RELAY_ENDS, EndReason.UNPUBLISHABLE}
        missing = set(range(last if stopped else last + 1)) - covered
        demand(not missing, f"{response_id}: {sorted(missing)} are neither produced nor in a gap")
        return joined(sorted(tokens.items()))

    def _check_fate(self, perturbed: frozenset[str], lost: frozenset[int], durable: Durable) -> None:
        record = durable.record
        narrow_room = self._plan.limits.buffered < TIGHT  # then a response that waits for half a pair may be ended
        tight = (narrow_room or "oversize_response" in perturbed) and "reordered" in perturbed
        allowed = {
            EndReason.ABANDONED: "stop_missing" in perturbed or bool(tight),
            EndReason.TOO_LARGE: "oversize_response" in perturbed or (narrow_room and "split_pair" in perturbed),
            EndReason.RESPONSE_ID_REUSED: "id_reused" in perturbed,
            EndReason.UNPUBLISHABLE: record["channel"] in self._plan.forbidden | self._plan.narrow,
        }
        name = record["responseId"]
        check_cancel(self._plan, perturbed, durable, unanswered_stop=bool(tight) and self._has_no_stop(name))
        demand(allowed.get(record["reason"], True), f"{name} ended {record['reason']} for no reason")
        # Given up for want of room, or at the relay's end while a later record was there: their records are dead letters.
        early = durable.gaps - lost - outrun(durable, self.produced)
        demand(not early or tight, f"{name} has gaps {record['gaps']}, lost were {sorted(lost)}")
        demand(
            record["reason"] == EndReason.UNPUBLISHABLE or self.shown[name].gaps == set(map(tuple, record["gaps"])),
            f"{name}: other gaps published",
        )

    def _has_no_stop(self, response_id: str) -> bool:
        """Whether its producer's stop came before its start, and found no room to wait for it."""
        stops = [record for _, record, truth in self.produced.of(response_id) if truth.event == "stop"]
        return all(record.value in self.dead_values for record in stops)

    def _check_notices(self) -> None:
        """Checks that producers are notified of what the relay ended by itself."""
        told = {
            (record.key or b"").decode()
            for record in self._brokers.controls.read(0, len(self._brokers.controls.entries))
            if b'"unwanted"' in (record.value or b"")
        }
        for _ in told:
            self._coverage.fault("notice")
        away = any(fault.kind.startswith(("kafka", "brokers")) for fault in self._plan.faults)
        check_notices(told - self.second_lives.keys(), self.durable, complete=not away)

    def _check_channel(self, channel: str, produced: dict[str, dict[str, str]], *, perfect: bool) -> None:
        second = set(map(id, self._of_second_lives))
        messages = [each.message for each in self._service.channel(channel).log if id(each.message) not in second]
        ours = [message for message in messages if message.headers["responseId"] in produced]
        report = check(ours, produced)
        demand(not report.wrong, f"{channel}: {report.wrong} {report.details[:5]}")
        demand(not perfect or report.perfect, f"{channel}, with nothing that could excuse it: {report.details[:5]}")
        for message in ours:
            if message.name == "stop":
                texts = {part: text for part, text in produced[message.headers["responseId"]].items() if text}
                told = {part["part"]: part["sha256"] for part in message.data["parts"] if part["length"]}
                demand(
                    told == {part: sha256_of(text) for part, text in texts.items()}, f"a hash is wrong: {message.id}"
                )


def _digest(value: bytes | None) -> str:
    return hashlib.sha256(value or b"").hexdigest()[:32]
