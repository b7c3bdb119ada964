"""How a response may end, by what its producer did."""

from simulation.known import Durable, demand
from simulation.plan import Plan


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
