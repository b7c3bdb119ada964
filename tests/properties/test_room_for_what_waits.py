"""Records that wait for other records never keep a partition paused, since those may be in its unread part."""

from random import Random

import orjson

from processor.core.limits import Limits
from support.world import World


def record(response_id: str, seq: int, text: str) -> bytes:
    return orjson.dumps({"event": "token", "responseId": response_id, "seq": seq, "text": text})


def start(response_id: str) -> bytes:
    return orjson.dumps({"event": "start", "responseId": response_id, "seq": 0, "channel": "chat:0"})


def test_a_half_pair_and_early_tokens_together_do_not_pause_a_partition_for_ever() -> None:
    unpaired = b'{"event":"token","responseId":"r0","seq":1,"text":"x\\ud83d"}'
    early = [record("r1", seq, "e") for seq in range(2, 6)]
    rest = [record("r2", seq, "t" * 50) for seq in range(1, 10)]
    log = [start("r0"), start("r1"), start("r2"), unpaired, *early, *rest]
    world = World(list(log), Random(3), Limits(gap_timeout=2, idle_timeout=20, snapshot_interval=1, buffered=2_000))
    world.faulty = False
    world.pipeline.consume(world.log, len(world.log), world.now)
    world.position = len(world.log)
    assert world.pipeline.paused
    while (frame := world.pipeline.next_frame("chat:0", world.now)) is not None:
        world.pipeline.done(frame, world.now)  # type: ignore[arg-type]  # nothing asks for history here
    world.write_now()
    while (frame := world.pipeline.next_frame("chat:0", world.now)) is not None:
        world.pipeline.done(frame, world.now)  # type: ignore[arg-type]
    assert not world.pipeline.paused


def published_of(world: World) -> list[str]:
    """Publishes whatever may go now."""
    texts = []
    while (frame := world.pipeline.next_frame("chat:0", world.now)) is not None:
        texts.append(frame.data or "")  # type: ignore[union-attr]  # nothing asks for history here
        world.pipeline.done(frame, world.now)  # type: ignore[arg-type]
    return texts


def test_of_two_halves_given_up_at_once_neither_is_published_before_that_is_durable() -> None:
    unpaired = [
        b'{"event":"token","responseId":"r0","seq":1,"text":"x\\ud83d"}',
        b'{"event":"token","responseId":"r0","seq":3,"text":"y\\ud83d"}',
    ]
    log = [start("r0"), *unpaired, record("r0", 5, "z" * 600)]
    world = World(list(log), Random(3), Limits(gap_timeout=2, idle_timeout=20, snapshot_interval=1, buffered=800))
    world.faulty = False
    world.pipeline.consume(world.log, len(world.log), world.now)
    world.position = len(world.log)
    assert all("x" not in text for text in published_of(world))
    world.write_now()
    assert "".join(text for text in published_of(world) if "{" not in text) == "x\ufffdy\ufffd" + "z" * 600


def test_a_half_that_memory_gives_up_ends_its_response_and_is_not_published_before_that_is_durable() -> None:
    unpaired = b'{"event":"token","responseId":"r0","seq":1,"text":"' + b"x" * 600 + b'\\ud83d"}'
    world = World(
        [start("r0"), unpaired], Random(3), Limits(gap_timeout=2, idle_timeout=20, snapshot_interval=1, buffered=400)
    )
    world.faulty = False
    world.pipeline.consume(world.log, len(world.log), world.now)
    world.position = len(world.log)
    assert all("x" not in text for text in published_of(world))
    world.write_now()
    texts = published_of(world)
    assert texts[0] == "x" * 600 + "\ufffd"
    assert '"reason":"too_large"' in texts[-1]
