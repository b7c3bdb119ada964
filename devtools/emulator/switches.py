"""The fault switches: adds, lists and clears rules, and applies immediate faults."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from devtools.emulator import faults
from devtools.emulator.links import Links


class FaultSwitches:
    """`down` takes the port down for some seconds, `up` brings it back."""

    def __init__(self, links: Links, down: Callable[[float], None], up: Callable[[], None]) -> None:
        self._links = links
        self._down = down
        self._up = up

    def add(self, given: faults.Rule | Mapping[str, Any]) -> None:
        """A rule, or rules by kind: `{"nack": {"share": 0.3, "code": 42911}}`. Raises ValueError.

        Must be called on the server's loop. Immediate faults are done when this returns.
        """
        rules = [given] if isinstance(given, faults.Rule) else faults.parse(dict(given))
        for rule in rules:
            self._apply(rule)
        if asyncio.get_running_loop().is_running():
            self._links.reschedule()

    def clear(self) -> None:
        """Clears all faults. Their past effects remain."""
        self._links.protocol.faults.clear()
        self._up()

    def listed(self) -> list[dict[str, Any]]:
        return self._links.protocol.faults.listed()

    def _apply(self, rule: faults.Rule) -> None:
        protocol, now = self._links.protocol, self._links.now()
        if isinstance(rule, faults.Down):
            self._links.abort_all()
            self._down(rule.seconds)
        elif isinstance(rule, faults.Injection) and faults.is_immediate(rule):
            self._links.perform(protocol.inject(rule, faults.Armed(rule, now), now))
        else:
            protocol.faults.add(rule, now)
