"""A gateway whose topics lose their ends, are created again or are cut at their beginning knows every response that is
in them afterwards.

Kafka's answers do not show that a log lost records if it has grown past the reader's position when the reader asks
next. So the reader asks once between a loss and the next record.
"""

import asyncio
from collections.abc import Sequence
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from processor.clock import Clock
from processor.gateway.feed import Feed
from processor.gateway.hub import Hub, HubLimits
from processor.kafka.connection import KafkaConnection
from processor.kafka.log_follower import LogFollower
from support.broker import LONG_POLL, TOPIC, Broker, BrokerLog
from support.examples import examples
from support.gateway_log import record_value, start, token
from support.virtual_time import run_in_virtual_time

MIB = 1024 * 1024
ASKED = 2 * LONG_POLL
"""Seconds within which a reader that is not waiting for a retry asks again."""
SETTLED = 15.0
"""Longer than the longest pause before a retry."""

WRITE, LOSE_END, CREATE_AGAIN, DELETE, WAIT = "write", "lose the end", "create again", "delete the beginning", "wait"
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("frames", "responses")),
        st.sampled_from((WRITE, WRITE, WRITE, LOSE_END, CREATE_AGAIN, DELETE, WAIT)),
        st.integers(0, 5),
    ),
    max_size=25,
)


class GatewayWithLogs:
    """A feed between two logs and a hub. Responses have numbers, in the order in which they are written."""

    def __init__(self) -> None:
        self.brokers = {"frames": Broker(), "responses": Broker()}
        self.hub = Hub(HubLimits(MIB, MIB, retention_ms=10**15), lambda _ts, _readers: None)
        frames, responses = (
            LogFollower(lambda: KafkaConnection("nowhere"), TOPIC, make=broker.consumer)
            for broker in self.brokers.values()
        )
        self.feed = Feed(
            self.hub,
            frames,
            responses,
            partition_for=lambda _channel, _count: 0,
            clock=Clock(),
            random=Random(1),
            cleaned=lambda: None,
        )
        self.held: dict[str, list[tuple[int, str]]] = {"frames": [], "responses": []}
        """By topic: the offset and the id of each response in the log."""
        self._count = 0

    def log(self, name: str) -> BrokerLog:
        return self.brokers[name].logs[0]

    async def take(self, name: str, step: str, number: int) -> None:
        log = self.log(name)
        starts = [first for first, _, _ in log.batches] + [log.end]
        at = starts[number % len(starts)]
        match step:
            case "write":
                self._write(name)
            case "lose the end":
                log.lose_from(at)
            case "create again":
                log.lose_all()
            case "delete the beginning":
                log.delete_before(at)
            case "wait":
                await asyncio.sleep(number / 100)
        self.held[name] = [each for each in self.held[name] if log.start <= each[0] < log.end]
        if step in (LOSE_END, CREATE_AGAIN):
            await asyncio.sleep(ASKED)

    def _write(self, name: str) -> None:
        self._count += 1
        response_id, log = f"r{self._count}", self.log(name)
        self.held[name].append((log.end, response_id))
        if name == "frames":
            log.write(start(response_id), token(1, 0, "a", response_id))
        else:
            log.write(record_value(response_id, "a", seq=1), key=response_id.encode())

    def unknown(self) -> list[str]:
        known = self.hub.transcripts
        ids = [response_id for held in self.held.values() for _, response_id in held]
        return [each for each in ids if known.transcript(each) is None]


async def play(steps: Sequence[tuple[str, str, int]]) -> None:
    gateway = GatewayWithLogs()
    running = asyncio.ensure_future(gateway.feed.run())
    for step in steps:
        await gateway.take(*step)
    await asyncio.sleep(SETTLED)
    running.cancel()
    await asyncio.wait({running})
    assert gateway.unknown() == []
    assert gateway.feed.trouble() is None


@given(STEPS)
@example(
    [
        ("frames", WRITE, 0),
        ("responses", WRITE, 0),
        ("frames", LOSE_END, 1),  # nothing is lost: it is read meanwhile
        ("frames", CREATE_AGAIN, 0),
        ("frames", WRITE, 0),
    ]
)
@example([("responses", WRITE, 0), ("responses", WAIT, 0), ("responses", CREATE_AGAIN, 0), ("frames", CREATE_AGAIN, 0)])
@settings(max_examples=examples(300), derandomize=True, deadline=None)
def test_every_response_in_the_logs_becomes_known(steps: list[tuple[str, str, int]]) -> None:
    run_in_virtual_time(lambda _: play(steps))
