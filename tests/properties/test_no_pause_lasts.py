"""As long as time goes on and Kafka and the channels answer, no partition stays paused, whatever the log lacks and whichever bound is reached."""

import json
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from processor.core.limits import Limits
from support.examples import examples
from support.world import World

common = settings(max_examples=examples(300), derandomize=True)
TEXTS = ("x", "half \ud83d", "\ude00", "y" * 300)
ROUNDS = 400
"""More steps than all timers and all records of a log take; a partition that is paused without end takes more than
any number.
"""


def response(random: Random, key: str) -> list[dict[str, Any]]:
    tokens = random.choice((0, 1, 2, 8))
    events: list[dict[str, Any]] = [{"event": "start", "channel": f"chat:{random.randrange(3)}"}]
    events += [{"event": "token", "text": random.choice(TEXTS)} for _ in range(tokens)]
    events += [{"event": "stop"}] if random.random() < 0.8 else []
    numbered = [{**event, "responseId": key, "seq": seq} for seq, event in enumerate(events)]
    lossy = random.random() < 0.4
    return [event for event in numbered if not lossy or random.random() < 0.7]


def lacking(random: Random) -> list[bytes | None]:
    """A log of many short responses, some of which lack records permanently."""
    streams = [response(random, f"r{number}") for number in range(random.randint(5, 60))]
    waiting = streams[:]
    log: list[bytes | None] = []
    while waiting := [each for each in waiting if each]:
        stream = random.choice(waiting[:3])
        log.append(json.dumps(stream.pop(0)).encode())
    return log


@common
@given(
    st.integers(0, 2**32),
    st.sampled_from((3, 10, 1_000)),
    st.sampled_from((3_000, 30_000, 1_000_000)),
    st.sampled_from((2, 1_000)),
    st.booleans(),
)
def test_no_partition_stays_paused(seed: int, ended: int, buffered: int, most: int, history: bool) -> None:
    random = Random(seed)
    limits = Limits(
        snapshot_interval=1,
        gap_timeout=2,
        idle_timeout=10,
        finished_ttl=random.choice((0.5, 5.0)),
        buffered=buffered,
        finals=random.choice((1, 5)),
        ended=ended,
        open_responses=most,
    )
    world = World(lacking(random), random, limits, ask_history=history, shares=random.choice(((1,), (1, 3))))
    for _ in range(random.choice((0, 100))):
        world.step()
        if random.random() < 0.05:
            world.crash()
    for _ in range(ROUNDS):
        world.now += 0.5
        world.consume()
        world.pump()
        while world.inflight:
            frame = world.inflight.pop(0)
            world.land(frame)
            world.pipeline.done(frame, world.now)
            world.pump()
        world.read_back()
        world.write_now()
    assert world.position == len(world.log), f"{world.pipeline!r} is paused: {world.pipeline.paused}"
    assert world.committed == len(world.log)
    assert not world.pipeline.paused
    assert not world.pipeline.status().open_responses
    assert world.pipeline.status().buffered_bytes == 0
