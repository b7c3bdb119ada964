"""More open responses than may be, in any interleaving and with crashes: what ends early is still what its readers saw."""

from random import Random
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.core.limits import Limits
from support.examples import examples
from support.workloads import read
from support.world import World

common = settings(max_examples=examples(300), derandomize=True)


def interleaved(random: Random, count: int) -> tuple[list[bytes], list[str]]:
    """Runs of tokens of some responses at a time, with starts of others among them."""
    streams: dict[str, list[dict[str, Any]]] = {}
    for number in range(count):
        key = f"r{number}"
        channel = f"chat:{number % 3}"
        tokens = [
            {"event": "token", "responseId": key, "seq": seq, "text": f"{seq} "}
            for seq in range(1, random.randint(2, 14))
        ]
        first = {"event": "start", "responseId": key, "seq": 0, "channel": channel}
        streams[key] = [first, *tokens, {"event": "stop", "responseId": key, "seq": len(tokens) + 1}]
    keys = list(streams)
    log: list[bytes] = []
    while any(streams.values()):
        stream = random.choice([each for each in streams.values() if each])
        for _ in range(random.randint(1, 3)):
            log += [orjson.dumps(stream.pop(0))] if stream else []
    return log, keys


@common
@given(st.integers(0, 2**32), st.integers(2, 5), st.booleans(), st.booleans())
def test_what_is_abandoned_reads_as_it_is_recorded(seed: int, most: int, history: bool, crashes: bool) -> None:
    random = Random(seed)
    log, keys = interleaved(random, random.randint(most + 1, 2 * most))
    limits = Limits(gap_timeout=2, idle_timeout=60, snapshot_interval=1, open_responses=most)
    world = World(list(log), random, limits, ask_history=history)
    for _ in range(120):
        if crashes:
            world.step()
            if random.random() < 0.05:
                world.crash()
        else:
            world.step_without_crash()
    world.finish()
    records = world.records()
    for key in keys:
        texts, wrong = read(world.published, key)
        assert not wrong, (key, wrong)
        record = records[key]
        assert record.finished
        assert {part.part: part.text for part in record.parts} == texts
        assert record.reason in {"stop", "abandoned"}
        assert record.gaps == ()
    assert world.committed == len(world.log)
    assert not world.pipeline.status().open_responses
