"""How a response may end, by what its producer did."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from simulation.known import Durable, demand
from simulation.plan import Plan
from simulation.produced import Produced
from topics.controls import REMEMBERED_SECONDS


def check_cancel(plan: Plan, perturbed: frozenset[str], durable: Durable, *, unanswered_stop: bool) -> None:
    """A cancelled response whose producer goes on ends as cancelled, by the relay; no other one does.

    `unanswered_stop`: its producer's stop came before its start, and found no room to wait for it.
    """
    record, excuses = durable.record, {"too_large", "unpublishable", "abandoned"}
    name, reason = record["responseId"], record["reason"]
    # After a long outage starts are read late, and so may stops be before the timeout is over.
    if any(fault.kind == "ably_outage" for fault in plan.faults):
        excuses |= {"stop"}
    if "cancel_ignored" in perturbed and reason not in excuses:
        demand(reason == "cancelled", f"{name} was cancelled, and ended {reason}")
    if "cancel_elsewhere" in perturbed and reason not in excuses:
        demand(reason == "stop", f"{name} was cancelled for another channel alone, and ended {reason}")
    if "cancel_early" in perturbed and reason not in excuses:
        demand(reason == "stop", f"{name} was cancelled too long before its start, and ended {reason}")
    ended = bool(record["relay"].get("ended"))
    demand(not durable.relay_made or ended, f"{name}: it is not durable that the relay made its stop")
    demand(
        not durable.forced or durable.relay_made or unanswered_stop,
        f"{name} ended as cancelled by the relay, and its producer had stopped",
    )


def check_moment(plan: Plan, durable: Durable, now: float) -> bool:
    """No response is decided to be cancelled before its producer had the time for a stop.

    Returns whether it is decided in this record, with the gap that it had then.
    """
    decided = durable.record["relay"].get("decided", {})
    if durable.decided_end is not None or decided.get("end", {}).get("reason") != "cancelled":
        return False
    name, channel = durable.record["responseId"], durable.record["channel"]
    (response,) = [each for each in plan.responses if each.response_id == name]
    start = min(each.at for each in response.records if each.truth.event == "start")
    asked = [each.at for each in plan.cancels if (each.response_id, each.channel) == (name, channel)]
    since = max(start, min((at for at in asked if start - at <= REMEMBERED_SECONDS), default=float("inf")))
    in_time = now > since + plan.limits.cancel_timeout - 0.01
    demand(in_time, f"{name} is decided to be cancelled, {now - since:.3f} s after its cancel")
    return any((first, last) not in durable.decided_gaps for first, last in decided.get("gaps", ()))


def check_notices(told: AbstractSet[str], ends: Mapping[str, Durable], *, complete: bool) -> None:
    """Producers are notified of what the relay ended by itself, and of nothing else."""
    for response_id, durable in ends.items():
        reason = durable.record["reason"]
        if reason in {"abandoned", "too_large", "unpublishable"}:
            demand(response_id in told or not complete, f"nobody was told that {response_id} ended {reason}")
        else:
            demand(response_id not in told, f"{response_id}, which ended {reason}, is told to be unwanted")


def check_final(response_id: str, record: dict[str, Any], texts: dict[str, str]) -> None:
    held = {part["part"]: part["text"] for part in record["parts"]}
    for part in held.keys() | texts.keys():
        demand(
            held.get(part, "") == texts.get(part, ""),
            f"{response_id} {part}: the record has {held.get(part, '')[-60:]!r}, produced {texts.get(part, '')[-60:]!r}",
        )


def outrun(durable: Durable, produced: Produced) -> set[int]:
    """The missing numbers whose records came after the newest that an end made by the relay covers."""
    if not (durable.forced or durable.relay_made):
        return set()
    first: dict[int, int] = {}
    for _, record, truth in produced.of(durable.record["responseId"]):
        first.setdefault(produced.seq_of(record.offset, truth), record.offset)
    newest = first.get(durable.last, 0)
    return {seq for seq in durable.gaps if first.get(seq, newest + 1) > newest}
