"""Planted bugs: texts of the product, or of the simulation's Kafka and store, replaced by wrong ones, to show that
the judges find them.

Each has the number of seeds, from 0, within which it is found. That is a guarantee about the judges and the faults,
not about luck: the same seeds give the same runs. `simulation.planted` runs one in a process of its own, whose
imports read the replaced text.
If a text is no longer found, the product has changed: write the same bug into the new source.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plant:
    """`edits` are (text, replacement) in the source of `module`; every occurrence of a text is replaced."""

    name: str
    within: int
    module: str
    edits: tuple[tuple[str, str], ...]
    scenario: str | None = None
    """The frozen scenario that shows it, in as many worlds as `within`; None where seeds do."""
    with_cancels: bool = False
    """Whether cancels are drawn for every plan."""
    seed: int | None = None
    """A seed that finds it, where finding it may take hundreds: `make test` runs this one alone, `make test-all` those from 0."""


_PIPELINE = "processor.core.partition"
_WORKER = "processor.relay.worker"
_LANES = "processor.relay.lanes"
_POOL = "processor.relay.pool"

_COMMIT_POINT = (
    "        return self._write_queue.commit_point(batch, offsets, self._open.values(), self._intake.position)\n"
)
_HOLDS = "self._parts.consumer.membership.holds()\n\n    # Taking over"
_SENDS = """        first_sent = self._clock.monotonic()
        failed: tuple[Retry, PersistentRefusal] | None = None
"""
_TAKES_UP = """        finished = self._write_queue.finished
        self.pass_over(response_id)
        if record is None:
            finished.restore_deleted(response_id, offset, now)
"""
_BEGINS = "        self._committed_offset = position\n"
_LOOP_OF_DELIVER = """        first_sent = self._clock.monotonic()
        while {condition}:
            try:
                await slot.publish(frame, 0)
            except PublishRetry:
                await self._clearance(frame.channel, slot)
{retry}            else:
{acknowledged}                return
        failed: tuple[Retry, PersistentRefusal] | None = None
"""
_REGROUP = """                from msgspec.structs import replace
                from processor.core.framer import build, put_back
                lane = self._pipeline._outflow._lanes[frame.channel]
                if lane.in_flight.piece is None:
                    put_back(lane.in_flight)
                    lane.in_flight = build(lane.in_flight.response, self._pipeline.limits.frame_bytes)
                    lane.in_flight.frame = replace(lane.in_flight.frame, id=frame.id)
                    frame = lane.in_flight.frame
"""
_UNDETERMINED = """            if error.kind is not RefusalKind.UNDETERMINED:
                self._refused(error)
            raise
"""
_STORES_THEN_CONFIRMS = """            await self._store_batch(batch)
            if stream is not None and stream is self._stream:
                for (partition, generation), offset in newest_offsets(batch).items():
                    stream.confirm(partition, offset, generation)
"""
_CONFIRMS_THEN_STORES = """            if stream is not None and stream is self._stream:
                for (partition, generation), offset in newest_offsets(batch).items():
                    stream.confirm(partition, offset, generation)
            await self._store_batch(batch)
"""
_FENCES = "            self._epoch = await self._network.ask_long(lambda: self._brokers.init_producer(self._id))\n"
_SUSPECTS = "        self.poison |= poison_of(begin.metadata)\n"
_FORGETS = '        finished.forget(float("-inf") if away else caught_up_at, ttl, self._committed_offset)\n'

PLANTS = (
    Plant(
        "commits one too early",
        5,
        _PIPELINE,
        (
            (
                _COMMIT_POINT,
                _COMMIT_POINT.replace("return", "point =")
                + "        return CommitPoint(min(point.offset + 1, self._intake.position), point.restore)\n",
            ),
        ),
    ),
    Plant(
        "goes on after a spoilt fetch",
        80,
        "processor.relay.relay",
        (("                self._consumer.seek(number, worker.position)\n", "                pass\n"),),
    ),
    Plant(
        "snapshots ahead of acknowledgements",
        20,
        _LANES,
        (
            (
                _SENDS,
                "        self._acknowledged(frame, self._clock.monotonic())\n"
                + _LOOP_OF_DELIVER.format(condition="True", retry="", acknowledged=""),
            ),
        ),
    ),
    Plant("forgets the epoch", 300, "processor.ably.ably", (("self._epoch += 1", "self._epoch += 0"),)),
    Plant(
        "takes silence for an answer",
        250,
        _POOL,
        ((_UNDETERMINED, _UNDETERMINED.replace("            raise\n", "                raise\n")),),
    ),
    Plant(
        "retries under a new id",
        200,
        _POOL,
        (
            (
                "from dataclasses import dataclass\n",
                "from dataclasses import dataclass\nfrom msgspec.structs import replace\n",
            ),
            ("await link.publish(frame, ", 'await link.publish(replace(frame, id=f"{frame.id}#{now}"), '),
        ),
    ),
    Plant(
        "loses dead letters", 5, _WORKER, (("self._encoding.of(batch, ", "self._encoding.of(Batch(batch.saves, ()), "),)
    ),
    Plant(
        "calls every end clean",
        100,
        _WORKER,
        (
            (
                "        deadline = self._clock.monotonic() + within\n",
                "        deadline = self._clock.monotonic()\n",
            ),
            ("        landed = not self.pipeline.in_flight\n", "        landed = True\n"),
        ),
    ),
    Plant(
        "skips the fence",
        400,
        "simulation.clients",
        (
            (
                _FENCES,
                (
                    "            from simulation.log import Producing\n"
                    "            producing = self._brokers.producers.setdefault(self._id, Producing())\n"
                    "            producing.epoch = self._epoch = max(0, producing.epoch)\n"
                ),
            ),
        ),
        seed=140,
    ),
    Plant(
        "names frames by their first number",
        50,
        "processor.core.framer",
        (
            ("{first.seq}-{last.seq_end}/{offset}", "{first.seq}"),
            ("{seq}-{seq_end}/0", "{seq}"),
        ),
    ),
    Plant(
        "drops the restore of young finals",
        100,
        _PIPELINE,
        (
            (
                _COMMIT_POINT,
                _COMMIT_POINT.replace("return", "point =")
                + "        of_open = [each.record_offset for each in self._open.values() if each.record_offset is not None]\n"
                "        return CommitPoint(point.offset, min(of_open, default=self._write_queue.responses_end))\n",
            ),
        ),
    ),
    Plant(
        "forgets decisions at takeover",
        600,
        "processor.core.response",
        (('decided = relay.get("decided") or {}', "decided = {}"),),
        seed=83,
    ),
    Plant(
        "publishes a gap before it is durable",
        50,
        "processor.core.response_intake",
        (("Gap(self.next_seq, last, durable=False)", "Gap(self.next_seq, last, durable=True)"),),
    ),
    Plant(
        "never writes", 20, _PIPELINE, (("        return self._write_queue.wants_write\n", "        return False\n"),)
    ),
    Plant(
        "publishes after the lease",
        150,
        _WORKER,
        ((_HOLDS, _HOLDS.replace("self._parts.consumer.membership.holds()", "True")),),
    ),
    Plant(
        "ignores the lease's margin",
        400,
        _WORKER,
        ((_HOLDS, _HOLDS.replace(".holds()", ".silence() < 5.0")),),
        seed=88,
    ),
    Plant(
        "lets timers run while paused",
        250,
        "processor.core.timers",
        (
            (
                "        if self._reading is None or position < self._reading[1]:\n            return []\n",
                "        fired, self._overdue = self._overdue, []\n        return fired\n",
            ),
        ),
    ),
    Plant(
        "regroups under an old id",
        150,
        _LANES,
        (
            (
                _SENDS,
                _LOOP_OF_DELIVER.format(
                    condition='frame.name in {"token", "part"}',
                    retry=_REGROUP,
                    acknowledged="                self._acknowledged(frame, self._clock.monotonic())\n"
                    "                self._progressed()\n",
                ),
            ),
        ),
    ),
    Plant("confirms before it stores", 50, "processor.archive.app", ((_STORES_THEN_CONFIRMS, _CONFIRMS_THEN_STORES),)),
    Plant(
        "replaces the finished",
        1000,
        "simulation.archive",
        (
            (
                "        return not finished and outdoes(\n",
                "        return (new.record.finished, new.position.offset) > (finished, old.position.offset) or outdoes(\n",
            ),
        ),
        seed=8,
    ),
    Plant(
        "reads the finished first",
        1000,
        "simulation.archive",
        (
            (
                "        running = self._read(finished=False)\n",
                "        page = Page(tuple(self._read(finished=True)), None)\n",
            ),
            (
                "        page = merge_hydration(running, Page(tuple(self._read(finished=True)), None))\n",
                "        page = merge_hydration(self._read(finished=False), page)\n",
            ),
        ),
    ),
    Plant(
        "forgets ends of a log that lost its own",
        1000,
        _PIPELINE,
        (
            (
                _BEGINS,
                "        if lost:\n"
                "            from processor.core.finished import FinishedMemory\n"
                "            self._write_queue.finished = FinishedMemory()\n" + _BEGINS,
            ),
        ),
        seed=500,
    ),
    Plant(
        "forgets deletions",
        1000,
        _PIPELINE,
        ((_TAKES_UP, _TAKES_UP.replace("restore_deleted(response_id, offset, now)", "reopen(response_id)")),),
        seed=54,
    ),
    Plant(
        "takes deleted text for new",
        1000,
        _PIPELINE,
        (
            (
                _TAKES_UP,
                _TAKES_UP + "            from processor.core.finished import DELETED_SEQ\n"
                "            deleted = finished._entries[response_id]\n"
                "            deleted.seq, deleted.last_offset = DELETED_SEQ - 1, -1\n",
            ),
        ),
        seed=167,
    ),
    Plant(
        "passes over what looks old",
        1000,
        _PIPELINE,
        (
            (
                "        self._intake.consume(raws, position, now)\n",
                (
                    "        raws = [raw for raw in raws if (raw.timestamp or 0) > 0]\n"
                    "        self._intake.consume(raws, position, now)\n"
                ),
            ),
        ),
        seed=6,
    ),
    Plant(
        "measures the lease by the wrong clock",
        1000,
        _WORKER,
        ((_HOLDS, _HOLDS.replace(".holds()", ".silence() < 4.0")),),
        seed=425,
    ),
    Plant(
        "blames the next record for ends of owners",
        100,
        "processor.relay.careful_reading",
        (
            (
                _SUSPECTS,
                _SUSPECTS + "        if begin.attempts >= 2:\n"
                '            self.poison[begin.offset] = "owners ended before it"\n',
            ),
        ),
    ),
    Plant(
        "never replaces a client that has ended",
        100,
        "processor.core.group_watch",
        (("        return ended or now - self._answering_since > self._patience\n", "        return False\n"),),
    ),
    # Bugs that a frozen scenario was kept for: it still shows them.
    Plant(
        "relieves as if nothing were published",
        40,
        "processor.core.intake",
        (("        if self.position < self.reread_before:\n", "        if False:\n"),),
        scenario="early_tokens_given_up_after_a_takeover_1",
    ),
    Plant(
        "gives up by what its own fetches left waiting",
        40,
        "processor.core.relief",
        (
            (
                "return waiting_bytes > 2 * most or (waiting_bytes > most and self._since_start_bytes() > most)",
                "return waiting_bytes > self._limits.whole_low_water",
            ),
            (
                "return waiting_bytes + other_bytes > most and self._since_start_bytes() + other_bytes > most",
                "return False",
            ),
        ),
        scenario="early_tokens_given_up_after_a_stale_history",
    ),
    Plant(
        "forgets by the clock",
        40,
        _PIPELINE,
        (
            (
                _FORGETS,
                (
                    "        from processor.core.ended import EndedIds\n"
                    "        finished.forget(now, ttl, self._committed_offset)\n"
                    "        finished._ended = EndedIds(0)\n"
                    "        return\n"
                ),
            ),
        ),
        scenario="an_id_used_again_while_paused",
    ),
    Plant(
        "forgets what came after an end",
        40,
        "processor.core.finished",
        (("            ended.known_offset = max(ended.known_offset, offset)\n", "            pass\n"),),
        scenario="an_id_used_again_before_a_late_takeover",
    ),
)
