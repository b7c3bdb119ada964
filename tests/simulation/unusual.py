"""What seldom happens, added to a plan by chances of its own: late copies, odd times, lost ends of logs, deletions,
suspensions, failed clients.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from simulation.cancels import draw_cancels
from simulation.plan import FAULTS_END, PARTITIONS, Fault, Plan, Produce, ResponsePlan, truth_of

MICROSECONDS = 1_763_860_000_000_000
LARGEST = 2**53 - 1
TIMES = (None, 0, MICROSECONDS, LARGEST)
"""In a record's value: none, and what a producer of another habit writes."""
STAMPS = (None, -1, 0, MICROSECONDS, LARGEST)
"""Of the record itself; -1 is what Kafka has where a producer gave none."""
ORDINARY = {"duplicate", "reordered", "error_stop", "split_pair"}


def add_unusual(plan: Plan) -> Plan:
    random = Random(f"unusual {plan.seed}")
    for chance, change in CHANGES:
        if random.random() < chance:
            plan = change(random, plan)
    return plan


def _with_faults(plan: Plan, *faults: Fault) -> Plan:
    return replace(plan, faults=tuple(sorted((*plan.faults, *faults), key=lambda fault: fault.at)))


def _somewhen(random: Random) -> float:
    return random.uniform(1.0, FAULTS_END)


def _copy_late(random: Random, plan: Plan) -> Plan:
    """A start comes again when its response, long ended, is remembered no more; mostly to another owner than it ended with."""
    fit = [index for index, each in enumerate(plan.responses) if _may_be_copied(plan, each)]
    if not fit:
        return plan
    index, limits = random.choice(fit), replace(plan.limits, finished_ttl=15.0)
    response = plan.responses[index]
    start = next(record for record in response.records if record.truth.event == "start")
    last = max(record.at for record in response.records)
    at = last + limits.finished_ttl * 1.2 + random.uniform(5.0, 12.0)
    copied = replace(
        response,
        records=(*response.records, replace(start, at=at)),
        perturbed=response.perturbed | {"late_copy"},
    )
    responses = (*plan.responses[:index], copied, *plan.responses[index + 1 :])
    plan = replace(plan, limits=limits, responses=responses, faults_end=max(plan.faults_end, at + 2))
    return _with_faults(plan, Fault(at - 3.0, "rebalance")) if random.random() < 0.8 else plan


def _may_be_copied(plan: Plan, response: ResponsePlan) -> bool:
    refused = response.channel in plan.forbidden | plan.narrow
    return response.perturbed <= ORDINARY and not refused and any(each.truth.seq == 0 for each in response.records)


def _keep_odd_times(random: Random, plan: Plan) -> Plan:
    return replace(plan, responses=tuple(_with_odd_times(random, each) for each in plan.responses))


def _with_odd_times(random: Random, response: ResponsePlan) -> ResponsePlan:
    """Copies of a record stay copies of it; what Kafka notes beside it may differ."""
    times: dict[bytes | None, Any] = {}
    records: list[Produce] = []
    for record in response.records:
        event = json.loads(record.value or b"null")
        if (time := times.setdefault(record.value, random.choice(TIMES))) is not None:
            event["ts"] = time
        stamp = random.choice(STAMPS)
        records.append(replace(record, value=json.dumps(event).encode(), truth=truth_of(event), timestamp=stamp))
    return replace(response, records=tuple(records), perturbed=response.perturbed | {"odd_times"})


def _lose_end(random: Random, plan: Plan) -> Plan:
    """Mostly in the middle of a response; one without numbers, where there is one, can't go on after it."""
    at, number = _somewhen(random), random.randrange(PARTITIONS)
    whole = [each for each in plan.responses if len(each.records) > 2]
    unnumbered = [each for each in whole if "unnumbered" in each.perturbed]
    if fit := unnumbered or whole:
        records = random.choice(fit).records
        at, number = random.uniform(records[1].at, records[-1].at) + 0.2, records[0].partition
    fault = Fault(at, "log_lost_end", random.uniform(0.5, 4.0), (number + 0.5) / PARTITIONS, random.random())
    return replace(_with_faults(plan, fault), faults_end=max(plan.faults_end, at + fault.length + 1))


def _suspend(random: Random, plan: Plan) -> Plan:
    return _with_faults(
        plan, *(Fault(_somewhen(random), "suspended", length, random.random()) for length in _lengths(random))
    )


def _fail_client(random: Random, plan: Plan) -> Plan:
    """The relay has to notice, give its partitions back, and join with a new client."""
    return _with_faults(plan, *(Fault(_somewhen(random), "client_failed", target=random.random()) for _ in range(2)))


def _lengths(random: Random) -> list[float]:
    return [random.choice((random.uniform(0.5, 4.0), random.uniform(5.0, 15.0))) for _ in range(random.randint(1, 2))]


def _delete(random: Random, plan: Plan) -> Plan:
    """The sooner a takeover follows, the more of it is read again."""
    at = _somewhen(random)
    crashes = [
        Fault(at + random.uniform(0.0, 2.0), "crash", 2.0, random.random()) for _ in range(random.choice((0, 1, 3)))
    ]
    return _with_faults(plan, Fault(at, "deletion", target=random.random()), *crashes)


def _hydrate(random: Random, plan: Plan) -> Plan:
    return _with_faults(plan, Fault(random.uniform(0.5, 5.0), "hydration", 20.0))


def _end_otherwise(random: Random, plan: Plan) -> Plan:
    return replace(plan, responses=tuple(_with_reason(random, each) for each in plan.responses))


def _with_reason(random: Random, response: ResponsePlan) -> ResponsePlan:
    reason = random.choice(("tool_calls", "content_filter"))
    events = [json.loads(record.value or b"null") for record in response.records]
    for event in events:
        if event["event"] == "stop" and event["reason"] != "error":
            event["reason"] = reason
    records = zip(response.records, events, strict=True)
    return replace(
        response, records=tuple(replace(record, value=json.dumps(event).encode()) for record, event in records)
    )


CHANGES: tuple[tuple[float, Callable[[Random, Plan], Plan]], ...] = (
    (0.08, _copy_late),
    (0.10, _keep_odd_times),
    (0.10, _lose_end),
    (0.08, _suspend),
    (0.10, _delete),
    (0.15, _hydrate),
    (0.05, _end_otherwise),
    (0.15, draw_cancels),
    (0.08, _fail_client),
)
