"""A record with the number of the relay's own stop is not a repeat: it was never published, so it is a dead letter."""

from random import Random

import orjson
import pytest

from processor.core.framer import Frame
from processor.core.limits import Limits
from support.world import World
from topics.records import Reason


def record(seq: int, **fields: object) -> bytes:
    return orjson.dumps({"event": "token", "responseId": "r0", "seq": seq, **fields})


START = orjson.dumps({"event": "start", "responseId": "r0", "seq": 0, "channel": "chat:0"})
OTHER_START = orjson.dumps({"event": "start", "responseId": "r0", "seq": 0, "channel": "chat:0", "metadata": {"b": 1}})


def world_of(*values: bytes) -> World:
    world = World(list(values), Random(1), Limits(gap_timeout=2, idle_timeout=60, snapshot_interval=1))
    world.faulty = False
    return world


@pytest.mark.parametrize("crash", [False, True])
def test_the_first_token_after_an_abandonment_is_a_dead_letter(crash: bool) -> None:
    world = world_of(START, record(1, text="a"))
    world.finish(200)
    if crash:
        world.crash()
    world.log.append(type(world.log[0])(2, record(2, text="b")))
    world.finish(10)
    assert world.dead == [(Reason.LATE, 2)]


def test_the_next_token_of_a_response_that_ends_for_a_reused_id_is_a_dead_letter() -> None:
    world = world_of(START, record(1, text="a"), OTHER_START, record(2, text="b"), record(1, text="a"))
    world.finish(10)
    assert sorted(world.dead, key=lambda each: each[1]) == [(Reason.RESPONSE_ID_REUSED, 2), (Reason.LATE, 3)]


def test_texts_out_of_memory_are_asked_for_before_the_last_batch_of_a_drain() -> None:
    world = world_of(START, record(1, text="a" * 100), record(2, text="b"))
    world.limits = Limits(gap_timeout=1e6, idle_timeout=1e6, snapshot_interval=1, transcript=10)
    world.start()
    world.log, rest = world.log[:2], world.log[2:]
    world.finish(10)
    world.log += rest
    world.pipeline.consume(rest, 3, world.now)
    frame = world.pipeline.next_frame("chat:0", world.now)
    assert isinstance(frame, Frame)
    world.pipeline.done(frame, world.now)
    world.pipeline.snapshot_all()
    assert world.pipeline.lacks_texts
    world.read_back()
    assert not world.pipeline.lacks_texts
    assert [save.covered_seq for save in world.pipeline.collect(0).saves] == [2]
