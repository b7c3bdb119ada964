"""What happens in a run, drawn from its seed: the responses that are produced, the faults that are injected, the
settings.

A plan is plain values, so that a failing one can be made smaller by leaving things out.
"""

import json
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from processor.core.limits import Limits

PARTITIONS = 3
FAULTS_END = 20.0
GAP_TIMEOUT = 2.0
TEXTS = ("", "a", "Hel", "lo ", "naïve ", "日本", "👩‍👩‍👧", "\U0001f600", "line\n", '"q"\\', "\u0000x", "word " * 40)
OTHER_PARTS = (("reasoning", "reasoning"), ("call_1", "tool_call"), ("call_2", "tool_call"))


@dataclass(frozen=True, slots=True)
class Produce:
    """One record for the log, at a time. `truth` is its meaning; None for an exact copy of an earlier one."""

    at: float
    partition: int
    value: bytes | None
    key: bytes | None
    truth: "Truth"
    group: int = 0
    """Not 0: the producer's transaction it belongs to."""
    timestamp: int | None = None
    """The record's own, if not the time at which it is produced."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What the producer meant. `wrong` is the reason why it is not a valid record; `fate` has the perturbations
    applied to it.
    """

    response_id: str = ""
    event: str = ""
    seq: int | None = None
    part: str = ""
    text: str = ""
    wrong: str | None = None


def truth_of(event: dict[str, Any]) -> Truth:
    part, text = event.get("part", "text"), event.get("text", "")
    return Truth(event["responseId"], event["event"], event.get("seq"), part, text)


@dataclass(frozen=True, slots=True)
class Transaction:
    at: float
    commit: bool


@dataclass(frozen=True, slots=True)
class ResponsePlan:
    response_id: str
    channel: str
    records: tuple[Produce, ...]
    perturbed: frozenset[str]
    lost: frozenset[int]
    """Numbers that never come, or come late."""


@dataclass(frozen=True, slots=True)
class Fault:
    at: float
    kind: str
    length: float = 0.0
    target: float = 0.0
    """In [0, 1): which of the relays there are by then."""
    level: float = 0.0


@dataclass(frozen=True, slots=True)
class Cancel:
    at: float
    response_id: str
    channel: str


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    limits: Limits
    relays: int
    responses: tuple[ResponsePlan, ...]
    wrong_records: tuple[Produce, ...]
    faults: tuple[Fault, ...]
    transactions: dict[int, Transaction] = field(default_factory=dict)
    forbidden: frozenset[str] = frozenset()
    narrow: frozenset[str] = frozenset()
    """Channels that take small messages only."""
    archives: int = 1
    faults_end: float = FAULTS_END
    cancels: tuple[Cancel, ...] = ()

    @property
    def calm_from(self) -> float:
        """The time of the last fault: later than `faults_end` if one was drawn for after it."""
        return max([self.faults_end, *(fault.at for fault in self.faults)])

    @property
    def faults_over(self) -> float:
        """The time at which the last fault has ended: what it cut off takes up its work some seconds later."""
        return max([self.calm_from, *(fault.at + fault.length for fault in self.faults)])

    @property
    def outlives_ids(self) -> bool:
        """Whether the realtime service is away for longer than it remembers ids, or nearly so."""
        return any(fault.kind == "ably_outage" and fault.length > 90.0 for fault in self.faults)

    def without(self, *, faults: frozenset[int], responses: frozenset[int]) -> "Plan":
        return replace(
            self,
            faults=tuple(fault for index, fault in enumerate(self.faults) if index not in faults),
            responses=tuple(each for index, each in enumerate(self.responses) if index not in responses),
        )


def make_plan(seed: int) -> Plan:
    random = Random(f"plan {seed}")
    limits = Limits(
        snapshot_interval=random.choice((0.3, 1.0, 3.0)),
        gap_timeout=GAP_TIMEOUT,
        idle_timeout=9.0,
        finished_ttl=random.choice((15.0, 60.0)),
        buffered=random.choice((4_000, 30_000, 1_000_000)),
        transcript=random.choice((200, 1_000_000)),
        response=150_000,
    )
    channels = [(f"chat:{number}", random.randrange(PARTITIONS)) for number in range(random.randint(1, 5))]
    responses = [_response(random, index, *random.choice(channels)) for index in range(random.randint(1, 9))]
    wrong = tuple(_wrong(random) for _ in range(random.choice((0, 0, 1, 4))))
    transactions: dict[int, Transaction] = {}
    responses = [_in_transactions(random, each, transactions) for each in responses]
    names = [name for name, _ in channels]
    faults = _faults(random)
    wide = Random(f"wide {seed}")
    faults = tuple(sorted((*faults, *_wide_faults(wide)), key=lambda fault: fault.at))
    if wide.random() < 0.5 and any(fault.kind == "ably_outage" for fault in faults):
        calm = MILD - {"rebalance", "relay_added"} | {
            kind for kind in WIDE_KINDS if kind.startswith(("archive", "store"))
        }
        faults = tuple(fault for fault in faults if fault.kind in calm)
    return Plan(
        seed=seed,
        limits=limits,
        relays=random.randint(1, 3),
        responses=tuple(responses),
        wrong_records=wrong,
        faults=faults,
        transactions=transactions,
        forbidden=frozenset(random.sample(names, 1) if random.random() < 0.08 else ()),
        narrow=frozenset(random.sample(names, 1) if random.random() < 0.08 else ()),
        archives=wide.choice((1, 1, 2)),
        faults_end=max([FAULTS_END, *(fault.at + fault.length + 2 for fault in faults if fault.kind == "ably_outage")]),
    )


# Responses


def _response(random: Random, index: int, channel: str, partition: int) -> ResponsePlan:
    response_id = f"resp-{index}"
    unnumbered = random.random() < 0.15
    perturbed = {"unnumbered"} if unnumbered else _perturbations(random)
    tokens = _tokens(random, perturbed)
    events: list[dict[str, Any]] = [
        {"event": "start", "responseId": response_id, "channel": channel, "metadata": {"n": index}},
        *({"event": "token", "responseId": response_id, "text": text, **part} for part, text in tokens),
        {"event": "stop", "responseId": response_id, "reason": random.choice(("stop", "length", "cancelled"))},
    ]
    if random.random() < 0.3:
        perturbed.add("error_stop")
        events[-1].update(reason="error", error={"code": "model", "message": "broke"})
    at, pace = random.uniform(0.0, FAULTS_END * 0.7), random.choice((0.01, 0.1, 0.6))
    key = random.choice((channel, response_id)).encode()
    records: list[Produce] = []
    lost: set[int] = set()
    for seq, event in enumerate(events):
        if not unnumbered:
            event["seq"] = seq
        record = Produce(at, partition, json.dumps(event).encode(), key, truth_of(event))
        records += _perturb(random, record, seq, len(events) - 1, perturbed, lost)
        at += random.expovariate(1 / pace)
    if "id_reused" in perturbed:
        other = {**events[0], "metadata": {"other": True}}
        moment = random.uniform(records[0].at, at + 3)
        records.append(Produce(moment, partition, json.dumps(other).encode(), key, truth_of(other)))
    return ResponsePlan(response_id, channel, tuple(records), frozenset(perturbed), frozenset(lost))


def _perturbations(random: Random) -> set[str]:
    kinds = {
        "duplicate": 0.3,
        "reordered": 0.3,
        "token_lost": 0.12,
        "token_late": 0.06,
        "stop_missing": 0.08,
        "start_lost": 0.04,
        "id_reused": 0.05,
    }
    drawn = {kind for kind, chance in kinds.items() if random.random() < chance}
    return drawn - {"id_reused"} if "start_lost" in drawn else drawn


def _tokens(random: Random, perturbed: set[str]) -> list[tuple[dict[str, str], str]]:
    parts = [{}, {}, *({"part": part, "kind": kind} for part, kind in OTHER_PARTS[: random.choice((0, 0, 1, 3))])]
    tokens: list[tuple[dict[str, str], str]] = []
    part: dict[str, str] = {}
    for _ in range(random.choice((0, 3, 12, 30))):
        if random.random() < 0.25:
            part = random.choice(parts)
        tokens.append((part, random.choice(TEXTS)))
        if random.random() < 0.03:
            perturbed.add("split_pair")
            tokens += [(part, "x\ud83d"), (random.choice((part, {})), random.choice(("\ude00y", "z")))]
    if random.random() < 0.04:
        perturbed.add("oversize_token")
        tokens.append((part, "0123456789é" * random.choice((6_000, 7_000))))
    if random.random() < 0.02:
        perturbed.add("oversize_response")
        tokens += [(part, "b" * 60_000)] * 3
    return tokens


def _perturb(
    random: Random, record: Produce, seq: int, stop: int, perturbed: set[str], lost: set[int]
) -> list[Produce]:
    if (seq == 0 and "start_lost" in perturbed) or (seq == stop and "stop_missing" in perturbed):
        return []
    if 0 < seq < stop and "token_lost" in perturbed and random.random() < 0.15:
        lost.add(seq)
        return []
    if 0 < seq < stop and "token_late" in perturbed and random.random() < 0.1:
        lost.add(seq)
        return [replace(record, at=record.at + random.uniform(3.0, 7.0))]
    if "reordered" in perturbed and random.random() < 0.3:
        record = replace(record, at=record.at + random.uniform(0.0, 0.6))
    if "duplicate" in perturbed and random.random() < 0.15:
        return [record, replace(record, at=record.at + random.choice((0.0, 0.2, 4.0)))]
    return [record]


def _in_transactions(random: Random, plan: ResponsePlan, transactions: dict[int, Transaction]) -> ResponsePlan:
    """Some responses come from a producer that uses transactions, some of which it aborts and repeats."""
    if random.random() > 0.12 or plan.perturbed & {"reordered", "duplicate", "token_late"}:
        return plan
    records: list[Produce] = []
    rest = sorted(plan.records, key=lambda each: each.at)
    while rest:
        size = random.randint(1, 6)
        chunk = rest[:size]
        rest = rest[len(chunk) :]
        end = chunk[-1].at + random.choice((0.1, 0.5, 5.0))
        if random.random() < 0.2:
            number = len(transactions) + 1
            transactions[number] = Transaction(chunk[0].at, commit=False)
            records += [replace(each, at=chunk[0].at, group=number) for each in chunk]
        number = len(transactions) + 1
        transactions[number] = Transaction(end, commit=True)
        records += [replace(each, group=number) for each in chunk]
    return replace(plan, records=tuple(records), perturbed=plan.perturbed | {"producer_transaction"})


def _wrong(random: Random) -> Produce:
    at, partition = random.uniform(0, FAULTS_END), random.randrange(PARTITIONS)
    start = {"event": "start", "responseId": "wrong", "channel": "chat:0"}
    value, key, reason = random.choice(
        (
            (None, b"k", "not_json"),
            (b"{nonsense", b"k", "not_json"),
            (b'{"event":"token"}', b"k", "invalid"),
            (json.dumps({**start, "v": 2}).encode(), b"k", "version"),
            (json.dumps(start).encode(), None, "no_key"),
            (json.dumps({**start, "channel": "other:1"}).encode(), b"k", "channel_forbidden"),
            (json.dumps({**start, "metadata": {"x": "y" * 17_000}}).encode(), b"k", "too_large"),
            (b'{"event":"token","responseId":"never","text":"x"}', b"k", "no_start"),
        )
    )
    return Produce(at, partition, value, key, Truth(wrong=reason))


# Faults

KINDS = {
    "crash": 3.0,
    "stall": 3.0,
    "long_stall": 1.5,
    "coordinator_cut": 2.0,
    "brokers_cut": 2.0,
    "clock_jump": 1.0,
    "rebalance": 2.0,
    "relay_added": 1.0,
    "relay_stopped": 1.5,
    "kafka_loss": 1.5,
    "ably_down": 1.0,
    "ably_disconnect": 4.0,
    "ably_suspended": 1.0,
    "ably_lose_ack": 1.5,
    "ably_late_ack": 1.0,
    "ably_nack": 1.5,
    "ably_rate": 1.0,
    "history_missing": 1.0,
    "history_stale": 1.0,
    "history_unavailable": 1.0,
}
LENGTHS = {"stall": (0.1, 3.0), "long_stall": (5.0, 12.0), "coordinator_cut": (1.0, 9.0), "brokers_cut": (0.5, 8.0)}


def _faults(random: Random) -> tuple[Fault, ...]:
    mild = random.random() < 0.3
    kinds = {kind: weight for kind, weight in KINDS.items() if not mild or kind in MILD}
    chosen = random.choices(list(kinds), list(kinds.values()), k=random.choice((0, 1, 3, 6, 10)))
    faults = [
        Fault(
            at=random.uniform(0.5, FAULTS_END),
            kind=kind,
            length=random.uniform(*LENGTHS.get(kind, (1.0, 8.0))),
            target=random.random(),
            level=random.random(),
        )
        for kind in chosen
    ]
    return tuple(sorted(faults, key=lambda fault: fault.at))


MILD = frozenset({"clock_jump", "rebalance", "relay_added", "ably_disconnect", "ably_nack", "ably_rate", "ably_outage"})
"""What ends no owner uncleanly: what is published must be perfect."""
WIDE_KINDS = {
    "kafka_gone": 2.0,
    "kafka_late": 1.5,
    "ably_slow": 1.5,
    "archive_crash": 2.0,
    "archive_stall": 1.0,
    "archive_added": 0.5,
    "store_down": 1.0,
    "store_answer_lost": 1.0,
}
WIDE_LENGTHS = {"kafka_gone": (1.0, 12.0), "archive_stall": (1.0, 12.0), "kafka_late": (3.0, 10.0)}


def _wide_faults(random: Random) -> list[Fault]:
    """Faults of the whole surroundings: all brokers, a long outage of the realtime service, the archive and its store."""
    kinds = random.choices(list(WIDE_KINDS), list(WIDE_KINDS.values()), k=random.choice((0, 0, 1, 2)))
    faults = [
        Fault(
            at=random.uniform(0.5, FAULTS_END),
            kind=kind,
            length=random.uniform(*WIDE_LENGTHS.get(kind, (1.0, 8.0))),
            target=random.random(),
            level=random.random(),
        )
        for kind in kinds
    ]
    slow = [fault for fault in faults if fault.kind == "ably_slow"]
    faults += [replace(each, kind="coordinator_cut", length=random.uniform(5.0, 9.0)) for each in slow]
    if random.random() < 0.12:
        at, length = random.uniform(2.0, 16.0), random.uniform(*random.choice(((11.0, 20.0), (105.0, 150.0))))
        faults.append(Fault(at, "ably_outage", length))
        if random.random() < 0.4:
            kind = random.choice(("history_missing", "history_stale", "history_unavailable"))
            faults.append(Fault(at, kind, length + random.uniform(0.0, 10.0)))
    return faults
