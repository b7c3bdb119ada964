"""Counts how often each fault was injected and each state was reached."""

from collections import Counter
from enum import Enum

from processor.core.response import Phase
from processor.core.sequencer import Verdict
from processor.relay.worker import WorkerState
from topics.records import EndReason, Reason

FAULTS = (
    "crash",
    "stall",
    "long_stall",
    "coordinator_cut",
    "brokers_cut",
    "clock_jump",
    "rebalance",
    "relay_added",
    "relay_stopped",
    "kafka_request_lost",
    "kafka_answer_lost",
    "ably_down",
    "ably_disconnect",
    "ably_suspended",
    "ack_lost",
    "ack_late",
    "ack_stale",
    "ack_forgotten",
    "id_dropped",
    "nack_42911",
    "nack_42913",
    "nack_50000",
    "nack_40009",
    "nack_40160",
    "history_missing",
    "history_stale",
    "history_unavailable",
    "history_asked",
    "token_lost",
    "token_late",
    "duplicate",
    "reordered",
    "stop_missing",
    "start_lost",
    "id_reused",
    "invalid_record",
    "split_pair",
    "unnumbered",
    "chunks",
    "oversize_token",
    "oversize_response",
    "producer_transaction",
    "producer_aborted",
    "trailing_marker",
    "text_evicted",
    "paused",
    "paused_longer_than_idle",
    "lease_over",
    "writer_fenced",
    "fetch_spoilt",
    "kafka_gone",
    "kafka_late",
    "kafka_request_late",
    "ably_slow",
    "ably_outage",
    "outage_outlives_ids",
    "retry_after_the_id_window",
    "archive_crash",
    "archive_stall",
    "archive_added",
    "archive_record_outdone",
    "archive_read_again",
    "archive_confirmed_too_late",
    "store_down",
    "store_answer_lost",
    "late_copy",
    "began_a_second_time",
    "archive_kept_the_finished",
    "odd_times",
    "log_lost_end",
    "went_back_in_a_shorter_log",
    "suspended",
    "client_failed",
    "client_renewed",
    "deletion",
    "deleted",
    "cancel_obeyed",
    "cancel_ignored",
    "cancel_elsewhere",
    "cancel_after",
    "cancel_before_start",
    "cancel_early",
    "cancel_early_too",
    "cancel_twice",
    "cancel_in_gap",
    "cancel_gives_up_gap",
    "cancel_in_takeover",
    "cancel_forced",
    "notice",
    "hydration",
)
ENOUGH = 1_000
"""Seeds in which all of it is reached."""
MANY = 4_000
"""Seeds of `make test-all`."""
NEVER_REACHED = frozenset({Reason.STORE_REFUSED, Reason.POISON})
"""The archive's, which does not run here; and what ends processes, which would end this one."""


class Coverage:
    """Counts by kind and name. `missing` is what ought to have been reached."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def fault(self, name: str) -> None:
        self.counts[f"fault {name}"] += 1

    def state(self, value: Enum) -> None:
        self.counts[f"{type(value).__name__} {value.name}"] += 1

    def end(self, reason: str) -> None:
        self.counts[f"end {reason}"] += 1

    def add(self, other: "Coverage") -> None:
        self.counts.update(other.counts)

    def missing(self) -> list[str]:
        return [name for name in wanted() if not self.counts[name]]

    def table(self) -> str:
        return "\n".join(f"{self.counts[name]:>10}  {name}" for name in wanted())


def wanted() -> list[str]:
    states: tuple[Enum, ...] = (*Phase, *WorkerState, *Verdict, *(each for each in Reason if each not in NEVER_REACHED))
    names = [*(f"fault {name}" for name in FAULTS), *(f"end {reason}" for reason in EndReason)]
    return [*names, *(f"{type(each).__name__} {each.name}" for each in states)]
