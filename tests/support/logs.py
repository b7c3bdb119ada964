"""What a process logs because its machine is loaded, and not because something failed."""

from typing import Any


def is_of_the_load(event: dict[str, Any]) -> bool:
    """True for stalls of the event loop, and for health checks that took too long to answer."""
    late = event["event"] == "dependency_failing" and str(event["why"]).startswith("no answer within")
    return late or event["event"] in ("event_loop_stalled", "event_loop_resumed")
