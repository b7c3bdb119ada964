"""Carries out the faults of a plan."""

from typing import TYPE_CHECKING

from simulation.plan import Fault
from simulation.process import Process
from simulation.realtime import Trouble

if TYPE_CHECKING:
    from simulation.run import World

UNCLEAN = frozenset({"crash", "stall", "long_stall", "coordinator_cut", "brokers_cut", "kafka_loss", "relay_stopped"})
"""What may end an owner in the middle of a publish; then a repeat as published can't be ruled out."""


class Faults:
    def __init__(self, world: "World") -> None:
        self._world = world

    def schedule(self) -> None:
        for fault in self._world.plan.faults:
            self._world.loop.outside(fault.at, self._strike, fault)

    def _strike(self, fault: Fault) -> None:
        world = self._world
        world.coverage.fault(fault.kind)
        if fault.kind in UNCLEAN:
            world.excuse()
        alive = world.alive
        process = alive[int(fault.target * len(alive))] if alive else None
        if fault.kind.startswith(("ably", "history")):
            self._trouble(fault, process)
        elif fault.kind == "clock_jump":
            world.wall_offset += (fault.level - 0.5) * 7200
        elif fault.kind == "relay_added":
            world.add_relay()
        elif fault.kind == "rebalance":
            world.group.rebalance()
        elif process is not None:
            self._hit(fault, process)

    def _hit(self, fault: Fault, process: Process) -> None:
        world, network = self._world, process.network
        match fault.kind:
            case "crash":
                process.node.alive = False
                world.loop.outside(fault.length / 4, world.add_relay)
            case "stall" | "long_stall":
                process.node.frozen = True
                world.loop.outside(fault.length, world.loop.thaw, process.node)
            case "coordinator_cut":
                network.coordinator_cut = True
                world.loop.outside(fault.length, setattr, network, "coordinator_cut", False)
            case "brokers_cut":
                network.brokers_cut = network.coordinator_cut = True
                world.loop.outside(fault.length, setattr, network, "brokers_cut", False)
                world.loop.outside(fault.length, setattr, network, "coordinator_cut", False)
            case "kafka_loss":
                network.loss = 0.02 + 0.2 * fault.level
                world.loop.outside(fault.length, setattr, network, "loss", 0.0)
            case "relay_stopped":
                world.loop.spawn(process.stop(), process.node)
                world.loop.outside(fault.length, world.add_relay)

    def _trouble(self, fault: Fault, process: Process | None) -> None:
        world, trouble = self._world, self._world.service.trouble
        if fault.kind in {"ably_disconnect", "ably_suspended"}:
            for client in list(world.service.clients):
                if process is not None and client.sender == process.node.name:
                    world.loop.call_soon(client.disconnect_busy, fault.kind == "ably_suspended", context=client.context)
            return
        name, value, rest = {
            "ably_down": ("down", True, False),
            "ably_lose_ack": ("lose_ack", 0.3 * fault.level, 0.0),
            "ably_late_ack": ("late_ack", 0.5 * fault.level, 0.0),
            "ably_nack": ("nack", 0.8 * fault.level, 0.0),
            "ably_rate": ("rate", 2 + int(20 * fault.level), 0),
            "history_missing": ("history", "missing", "whole"),
            "history_stale": ("history", "stale", "whole"),
            "history_unavailable": ("history", "unavailable", "whole"),
        }[fault.kind]
        setattr(trouble, name, value)
        world.loop.outside(fault.length, setattr, trouble, name, rest)
        if fault.kind == "ably_down":
            for client in list(world.service.clients):
                world.loop.call_soon(client.disconnect, False, context=client.context)

    def heal(self) -> None:
        """Everything works again from now on."""
        world = self._world
        world.service.trouble = Trouble()
        for process in world.processes:
            process.network.brokers_cut = process.network.coordinator_cut = False
            process.network.loss = 0.0
            if process.node.frozen:
                world.loop.thaw(process.node)
        if not world.alive:
            world.add_relay()
