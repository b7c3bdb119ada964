"""Kafka's timestamp is -1 where a producer gave none: no time in a response's record is below 0."""

from random import Random

import msgspec
import orjson
import pytest

from processor.core.limits import Limits
from support.world import World
from topics.codec import decode_response

EVENTS = ({"event": "start", "channel": "c"}, {"event": "token", "text": "x"}, {"event": "stop"})


@pytest.mark.parametrize("length", [2, 3])
def test_a_record_has_no_time_before_the_epoch(length: int) -> None:
    values: list[bytes | None] = [
        orjson.dumps({"responseId": "r0", "seq": seq, **event}) for seq, event in enumerate(EVENTS[:length])
    ]
    world = World(values, Random(1), Limits(gap_timeout=1, idle_timeout=1e6, snapshot_interval=1))
    world.faulty = False
    world.log = [type(each)(each.offset, each.value, timestamp=-1) for each in world.log]
    world.finish(10)
    final = world.responses[-1][1]
    assert final is not None
    record = msgspec.to_builtins(decode_response(final))
    times = [value for name, value in record.items() if name.lower().endswith("at") and value is not None]
    assert len(times) >= length + 1
    assert min(times) >= 0
