"""Carries out the faults of a plan."""

import asyncio
from typing import TYPE_CHECKING

from simulation.archive import ArchiveProcess
from simulation.known import Violation
from simulation.plan import PARTITIONS, Fault
from simulation.process import Process
from simulation.realtime import ID_WINDOW, Trouble

if TYPE_CHECKING:
    from simulation.run import World

UNCLEAN = frozenset(
    {
        "crash",
        "stall",
        "long_stall",
        "suspended",
        "coordinator_cut",
        "brokers_cut",
        "kafka_loss",
        "kafka_late",
        "relay_stopped",
        "log_lost_end",
    }
)
"""What may end an owner in the middle of a publish; then a repeat as published can't be ruled out."""


class Faults:
    def __init__(self, world: "World") -> None:
        self._world = world
        self._healed = False

    def schedule(self) -> None:
        for fault in self._world.plan.faults:
            self._world.loop.outside(fault.at, self._inject, fault)

    def _inject(self, fault: Fault) -> None:
        world = self._world
        world.coverage.fault(fault.kind)
        if fault.kind in UNCLEAN or (fault.kind.startswith("history") and world.plan.outlives_ids):
            world.excuse()
        alive = world.alive
        process = alive[int(fault.target * len(alive))] if alive else None
        if fault.kind.startswith(("ably", "history")):
            self._trouble(fault, process)
        elif fault.kind.startswith(("archive", "store")):
            self._archive(fault)
        elif fault.kind == "kafka_gone":
            self._lose_brokers(fault.length)
        elif fault.kind == "log_lost_end":
            self._lose_end(fault)
        elif fault.kind == "deletion":
            self._delete(fault, 100)
        elif fault.kind == "hydration":
            world.loop.spawn(self._hydrate(world.loop.now + fault.length))
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
            case "suspended":
                world.loop.suspend(process.node)
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
            case "kafka_late":
                network.late = 0.05 + 0.4 * fault.level
                world.loop.outside(fault.length, setattr, network, "late", 0.0)
            case "client_failed":
                process.fail_client()
            case "relay_stopped":
                world.loop.spawn(process.stop(), process.node)
                world.loop.outside(fault.length, world.add_relay)

    def _lose_end(self, fault: Fault) -> None:
        """The brokers crash, and what a partition's log had not on disk is gone when they are back."""
        world, number = self._world, int(fault.target * PARTITIONS)
        self._lose_brokers(fault.length)
        log = world.brokers.tokens[number]
        longest = log.lose_end(1 + int(fault.level**2 * 12))
        world.judge.produced.lose_end(number, len(log.entries), longest)
        world.judge.log_lost_end(number, len(log.entries))

    def _delete(self, fault: Fault, patience: int) -> None:
        """As the API does: once the store has an end, a tombstone in the log, then out of the store."""
        world, store = self._world, self._world.store
        late = {each.response_id for each in world.plan.responses if "late_copy" in each.perturbed}
        ended = [key for key, each in store.entries.items() if each.record and each.record.finished and key not in late]
        if not ended or world.brokers.gone:
            if patience:
                world.loop.outside(0.1, self._delete, fault, patience - 1)
            return
        response_id = sorted(ended)[int(fault.target * len(ended))]
        number = store.entries[response_id].position.partition
        world.brokers.responses[number].append(None, response_id.encode(), world.clock.wall_ms(), None, ())
        world.judge.deleted(response_id)
        store.remove(response_id)
        world.coverage.fault("deleted")

    async def _hydrate(self, until: float) -> None:
        """A reader asks for all there is, over and over: what was stored before is among it."""
        world, store = self._world, self._world.store
        while world.loop.now < until:
            before = set(store.entries)
            missed = before - await store.hydrate() - store.deleted
            if missed:
                world.loop.fail(Violation(f"hydration misses {sorted(missed)}"))
            await asyncio.sleep(world.hydration_random.uniform(0.01, 0.2))

    def _lose_brokers(self, length: float) -> None:
        world = self._world
        groups = (world.group, world.archive_group)
        world.brokers.leave()
        for group in groups:
            group.suspend()

        def come_back() -> None:
            world.brokers.come_back()
            for group in groups if not world.brokers.gone else ():
                group.resume()

        world.loop.outside(length, come_back)

    def _archive(self, fault: Fault) -> None:
        world, store = self._world, self._world.store
        alive = [each for each in world.archives if each.node.alive]
        if not alive:
            return  # the next one is on its way
        process = alive[int(fault.target * len(alive))]
        match fault.kind:
            case "archive_crash" | "archive_stall":
                self._inject_into_archive(fault, process, 200)
            case "archive_added":
                world.add_archive()
            case "store_down":
                store.down = True
                world.loop.outside(fault.length, setattr, store, "down", False)
            case "store_answer_lost":
                store.lose_answer = 0.5
                world.loop.outside(fault.length, setattr, store, "lose_answer", 0.0)

    def _inject_into_archive(self, fault: Fault, process: ArchiveProcess, patience: int) -> None:
        """Injects the fault as soon as a batch of the process is half stored, or once `patience` is used up."""
        world = self._world
        if self._healed:
            return  # it waited for its moment beyond the last of the faults
        if patience and process.node not in world.store.busy:
            world.loop.outside(0.01, self._inject_into_archive, fault, process, patience - 1)
        elif fault.kind == "archive_crash":
            process.node.alive = False
            world.loop.outside(fault.length / 4, world.add_archive)
        else:
            process.node.frozen = True
            world.loop.outside(fault.length, world.loop.thaw, process.node)

    def _begin_outage(self, length: float) -> None:
        """First the answers stop, then the connections end."""
        world, trouble = self._world, self._world.service.trouble
        if length > ID_WINDOW:
            world.coverage.fault("outage_outlives_ids")
        trouble.lose_ack = 1.0

        def go() -> None:
            trouble.lose_ack, trouble.outage = 0.0, True
            world.loop.outside(length, setattr, trouble, "outage", False)
            self._disconnect_all()

        world.loop.outside(0.5, go)

    def _disconnect_all(self) -> None:
        for client in list(self._world.service.clients):
            self._world.loop.call_soon(client.disconnect, False, context=client.context)

    def _trouble(self, fault: Fault, process: Process | None) -> None:
        world, trouble = self._world, self._world.service.trouble
        if fault.kind in {"ably_disconnect", "ably_suspended"}:
            for client in list(world.service.clients):
                if process is not None and client.sender == process.node.name:
                    world.loop.call_soon(client.disconnect_busy, fault.kind == "ably_suspended", context=client.context)
            return
        if fault.kind == "ably_outage":
            self._begin_outage(fault.length)
            return
        name, value, rest = {
            "ably_down": ("down", True, False),
            "ably_slow": ("slow", 0.1 + 0.7 * fault.level, 0.0),
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
            self._disconnect_all()

    def heal(self) -> None:
        """Ends every fault and injects no more. Processes that are stopping go on: a dead process never ends its stop."""
        world = self._world
        self._healed = True
        world.service.trouble = Trouble()
        for process in world.processes:
            process.network.brokers_cut = process.network.coordinator_cut = False
            process.network.loss = process.network.late = 0.0
            if process.node.frozen:
                world.loop.thaw(process.node)
        if not world.alive:
            world.add_relay()
        world.store.heal()
        for archive in world.archives:
            if archive.node.frozen:
                world.loop.thaw(archive.node)
        if not any(archive.node.alive for archive in world.archives):
            world.add_archive()
