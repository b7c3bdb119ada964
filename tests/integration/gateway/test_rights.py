"""A relay without the right to write frames, on a real Kafka with access rules."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from devtools.deployment import MAX_RESPONSE_BYTES
from devtools.kafka import LocalKafka
from processor.clock import Clock
from processor.core.framer import Frame
from processor.direct.provider import direct_provider
from processor.errors import PublishRetry, RefusalKind
from processor.kafka.connection import KafkaConnection
from processor.kafka.topics_admin import TopicsWanted, apply
from processor.ports.realtime import Link, LinkState
from processor.service.service import in_background
from support.secured import AUTHORIZED
from support.waiting import eventually
from topics.specs import TopicNames

MakeKafka = Callable[..., Awaitable[LocalKafka]]
FRAMES = "tokenstream.frames"
FRAME = Frame(
    channel="c",
    response_id="r",
    name="start",
    id="r/start/0-0/0",
    data=None,
    json=True,
    headers={"responseId": "r", "seq": "0"},
)


async def grant(broker: LocalKafka, operation: str, topic: str = FRAMES) -> None:
    await broker.run_tool(
        "org.apache.kafka.tools.AclCommand",
        *("--bootstrap-server", broker.bootstrap, "--add", "--allow-principal", "User:relay"),
        *("--operation", operation, "--topic", topic),
    )


async def test_a_right_that_is_missing_is_named_and_taken_up_when_it_is_granted(bare_kafka: MakeKafka) -> None:
    broker = await bare_kafka(extra_listeners={"CLIENT": "SASL_PLAINTEXT"}, extra_properties=AUTHORIZED)
    await apply(
        KafkaConnection(broker.bootstrap), TopicsWanted(TopicNames(frames=FRAMES), MAX_RESPONSE_BYTES), partitions=1
    )
    relay = KafkaConnection(
        broker.listeners["CLIENT"], security_protocol="SASL_PLAINTEXT", username="relay", password="r"
    )
    link = direct_provider(lambda: relay, FRAMES, Clock(), Random(1), lambda: None).new_link(lambda: None)
    async with in_background(link.run()):
        await eventually(lambda: link.refusal is not None, deadline=30)
        assert FRAMES in str(link.refusal)
        # Whoever may write to some topic gets a producer's number.
        await asyncio.gather(grant(broker, "Describe"), grant(broker, "Write", "another"))
        await eventually(lambda: link.state is LinkState.CONNECTED, deadline=30)
        with pytest.raises(PublishRetry) as refused:
            await link.publish(FRAME, 10.0)
        assert refused.value.kind is RefusalKind.CREDENTIALS
        assert FRAMES in str(link.refusal)
        await grant(broker, "Write")
        await eventually(lambda: published(link), deadline=30)
        assert link.refusal is None


async def published(link: Link) -> bool:
    await link.connected()
    try:
        await link.publish(FRAME, 10.0)
    except PublishRetry:
        return False
    return True
