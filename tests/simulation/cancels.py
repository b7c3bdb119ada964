"""Cancels: when they are drawn, how they reach relays, and what relays notify producers of."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import NoReturn

import msgspec

from processor.clock import Clock
from processor.errors import KafkaUnavailable
from processor.relay.controls import LOOKBACK
from simulation.log import Brokers, Log, LogRecord
from simulation.network import Network
from simulation.plan import Cancel, Plan, Produce, ResponsePlan, truth_of
from topics.controls import ControlRecord, decode_control, encode_control
from topics.limits import Invalid

CANCEL_TIMEOUT = 3.0
TOO_EARLY = (65.0, 160.0)
"""Seconds before the start, of a cancel that has no effect."""
TWICE = 4.0
"""Seconds after the first cancel until which a second one comes."""
BEFORE_START = ((0.1, 5.0), (5.0, 30.0))
"""The same of one that counts. Those before the world began are read by relays that start."""
FIT = {"duplicate", "reordered", "split_pair", "unnumbered"}
ELSEWHERE = "chat:elsewhere"
CONNECTS = 2.0
"""Seconds at most until a relay reads controls; it may read tokens before."""
GOES_ON = 14.0
"""Seconds after the end of the last fault and after the cancel for which a producer that ignores its cancel goes on."""

# What is drawn


def draw_cancels(random: Random, plan: Plan) -> Plan:
    """Of some responses, at any moment. Their producers obey or ignore it, or it is for another channel, or too early."""
    if any(fault.kind == "clock_jump" for fault in plan.faults):
        return plan  # the time between a cancel and its start is then undetermined
    plan = replace(plan, limits=replace(plan.limits, cancel_timeout=CANCEL_TIMEOUT))
    fit = [index for index, each in enumerate(plan.responses) if _is_fit(plan, each)]
    for index in random.sample(fit, min(len(fit), random.choice((1, 2, 3)))):
        response, cancels = _cancelled(random, plan, plan.responses[index])
        responses = (*plan.responses[:index], response, *plan.responses[index + 1 :])
        plan = replace(plan, responses=responses, cancels=(*plan.cancels, *cancels))
    return plan


def _is_fit(plan: Plan, response: ResponsePlan) -> bool:
    refused = response.channel in plan.forbidden | plan.narrow
    return response.perturbed <= FIT and not refused and not response.lost


def _cancelled(random: Random, plan: Plan, response: ResponsePlan) -> tuple[ResponsePlan, list[Cancel]]:
    first, last = min(each.at for each in response.records), max(each.at for each in response.records)
    kind = random.choice(("obeyed", "ignored", "ignored", "elsewhere", "after", "early"))
    at = random.uniform(first, last)
    tags = {f"cancel_{kind}"}
    if kind == "after":
        at = last + random.uniform(0.1, 3.0)
    elif kind == "early":
        at = first - random.uniform(*TOO_EARLY)
    elif random.random() < 0.3:
        at = first - random.uniform(*random.choice(BEFORE_START))
        tags.add("cancel_before_start")
    channel = ELSEWHERE if kind == "elsewhere" else response.channel
    cancels = [Cancel(at, response.response_id, channel)]
    if random.random() < 0.3:
        cancels.append(Cancel(at + random.uniform(0.0, TWICE), response.response_id, channel))
        tags.add("cancel_twice")
    if kind in {"obeyed", "ignored"} and random.random() < 0.2:
        cancels.insert(0, Cancel(first - random.uniform(*TOO_EARLY), response.response_id, channel))
        tags.add("cancel_early_too")
    if kind == "obeyed":
        response = _stopped(response, at + random.uniform(0.01, 1.0))
    elif kind in {"ignored", "elsewhere", "early"}:
        response = _going_on(response, max(plan.faults_over, at) + GOES_ON)
    response = _with_gap(random, response, at)
    if kind == "ignored":
        response = _with_gap(random, response, max(at, first) + CANCEL_TIMEOUT - random.uniform(0.0, 1.0))
    return replace(response, perturbed=response.perturbed | tags), cancels


def _stopped(response: ResponsePlan, at: float) -> ResponsePlan:
    """The producer has its cancel: it writes nothing more but the stop."""
    events = _events(response)
    kept = max((index for index, (record, _) in enumerate(events) if record.at <= at), default=0)
    if kept == len(events) - 1:
        return response
    numbers = {event.get("seq", index) for index, (_, event) in enumerate(events[: kept + 1])}
    records = [each for each in response.records if _number(each, events) in numbers]
    stop = {"event": "stop", "responseId": response.response_id, "reason": "cancelled"}
    moment = max(at, *(each.at for each, _ in events[: kept + 1])) + 0.01  # copies may come later
    return replace(response, records=(*records, _record(events[0][0], stop, kept + 1, moment, response)))


def _going_on(response: ResponsePlan, until: float) -> ResponsePlan:
    """It goes on until long after the last fault, and stops then."""
    events = _events(response)
    stop = events[-1]
    records = [each for each in response.records if each.truth.event != "stop"]
    seq, at = len(events) - 1, max(each.at for each in records)
    while at < until:
        at += 1.0
        event = {"event": "token", "responseId": response.response_id, "text": f"{seq} "}
        records.append(_record(stop[0], event, seq, at, response))
        seq += 1
    end = {"event": "stop", "responseId": response.response_id, "reason": "stop"}
    records.append(_record(stop[0], end, seq, at + 0.1, response))
    return replace(response, records=tuple(records))


def _with_gap(random: Random, response: ResponsePlan, at: float) -> ResponsePlan:
    """Of some responses a token never comes, so that its successor waits for it at this moment."""
    if "unnumbered" in response.perturbed or random.random() < 0.6:
        return response
    events = _events(response)
    waits = [seq for seq, (record, event) in enumerate(events) if record.at <= at and event["event"] == "token"]
    if not waits or waits[-1] < 2 or events[waits[-1] - 1][1]["event"] != "token":
        return response
    lost = waits[-1] - 1
    records = tuple(record for record in response.records if record.truth.seq != lost)
    return replace(response, records=records, lost=response.lost | {lost})


def _record(like: Produce, event: Mapping[str, object], seq: int, at: float, response: ResponsePlan) -> Produce:
    if "unnumbered" not in response.perturbed:
        event = {**event, "seq": seq}
    return replace(like, at=at, value=json.dumps(event).encode(), truth=truth_of(dict(event)))


def _events(response: ResponsePlan) -> list[tuple[Produce, dict[str, object]]]:
    """The first copy of each, in the order the producer meant."""
    found: dict[bytes | None, tuple[Produce, dict[str, object]]] = {}
    if "unnumbered" in response.perturbed:
        return [(each, json.loads(each.value or b"null")) for each in response.records]
    for each in response.records:
        found.setdefault(each.value, (each, json.loads(each.value or b"null")))
    return sorted(found.values(), key=lambda pair: pair[0].truth.seq or 0)


def _number(record: Produce, events: list[tuple[Produce, dict[str, object]]]) -> int:
    if record.truth.seq is not None:
        return record.truth.seq
    return next(index for index, (each, _) in enumerate(events) if each is record)


# How they travel


class SimControlsSource:
    """Reads the controls of the world's brokers. Its chances are its own, so that runs without cancels do not hang on it."""

    def __init__(
        self,
        brokers: Brokers,
        network: Network,
        clock: Clock,
        random: Random,
        take: Callable[[ControlRecord, float], None],
        lookback: float = LOOKBACK,
    ) -> None:
        self._brokers = brokers
        self._network = network
        self._clock = clock
        self._random = random
        self._take = take
        self._lookback = lookback
        self.trouble: str | None = "not connected yet"

    async def run(self) -> NoReturn:
        log = self._brokers.controls
        await asyncio.sleep(self._random.uniform(0.0, CONNECTS))
        position, backlog = self._first(log), len(log.entries)
        while True:
            while is_away(self._network, self._brokers):
                self.trouble = "no broker answers"
                await asyncio.sleep(0.5)
            self.trouble = None
            for record in log.read(position, len(log.entries)):
                self._take_record(record, is_backlog=record.offset < backlog)
            position = len(log.entries)
            await log.grown.wait()
            await asyncio.sleep(self._random.uniform(0.001, 0.1))

    def _first(self, log: Log) -> int:
        """Returns the offset of the first record that is not older than the lookback, or the end."""
        since, end = (self._clock.wall() - self._lookback) * 1000, len(log.entries)
        return next((record.offset for record in log.read(0, end) if record.timestamp >= since), end)

    def _take_record(self, record: LogRecord, *, is_backlog: bool) -> None:
        control = decode_control(record.value)
        if isinstance(control, Invalid):
            return
        if control.ts is None:
            control = msgspec.structs.replace(control, ts=record.timestamp)
        age = self._clock.wall() - record.timestamp / 1000
        self._take(control, max(0.0, age) if is_backlog else 0.0)


class SimControlsSink:
    """Where a relay writes what it ended by itself."""

    def __init__(self, brokers: Brokers, network: Network, random: Random) -> None:
        self._brokers = brokers
        self._network = network
        self._random = random

    async def connect(self) -> None:
        if is_away(self._network, self._brokers):
            raise KafkaUnavailable("no broker answered")

    async def close(self) -> None:
        pass

    async def write(self, record: ControlRecord) -> None:
        await asyncio.sleep(self._random.uniform(0.001, 0.01))
        await self.connect()
        write_control(self._brokers, record)


def is_away(network: Network, brokers: Brokers) -> bool:
    return network.brokers_cut or brokers.gone


def write_control(brokers: Brokers, record: ControlRecord, ago_ms: int = 0) -> None:
    """`ago_ms` is above 0 if it was written before the world began."""
    at = brokers.wall_ms() - ago_ms
    brokers.controls.append(encode_control(record), record.response_id.encode(), at, None, ())
