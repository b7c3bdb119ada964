"""How a response may end, by what its producer did."""

from typing import Any

from simulation.known import Durable, demand
from simulation.plan import Plan
from simulation.produced import Produced


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
    ended = bool(record["relay"].get("ended"))
    demand(not durable.relay_made or ended, f"{name}: it is not durable that the relay made its stop")
    demand(
        not durable.forced or durable.relay_made or unanswered_stop,
        f"{name} ended as cancelled by the relay, and its producer had stopped",
    )


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
