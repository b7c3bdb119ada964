"""Writing control records while Kafka fails."""

import pytest
from aiokafka.errors import KafkaConnectionError

from processor.errors import KafkaUnavailable
from processor.kafka.connection import KafkaConnection
from processor.kafka.controls import KafkaControls
from topics.controls import ControlEvent, ControlRecord


class FailingProducer:
    """A client whose connection breaks, and breaks again while it stops."""

    def __init__(self, **_options: object) -> None: ...

    async def start(self) -> None: ...
    async def partitions_for(self, _topic: str) -> None: ...

    async def send_and_wait(self, *_given: object, **_more: object) -> None:
        raise KafkaConnectionError

    async def stop(self) -> None:
        raise OSError("broken pipe")


async def test_a_producer_that_can_not_even_stop_is_no_other_error() -> None:
    controls = KafkaControls(lambda: KafkaConnection("nowhere"), controls_topic="c", client=FailingProducer)
    with pytest.raises(KafkaUnavailable):
        await controls.write(ControlRecord(ControlEvent.CANCEL, "r1", "chat:1"))
