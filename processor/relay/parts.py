"""What a partition's worker is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from processor.clock import Clock
from processor.core.partition import PartitionPipeline
from processor.ports.log import OffsetsReader, RecordsReader, TokensConsumer
from processor.relay.controls import RelayControls
from processor.telemetry.metrics import Metrics
from topics.codec import Decoder


class PartitionLanes(Protocol):
    """What the worker needs of the lanes: carried out by `processor.relay.lanes.Lanes`."""

    def wake(self) -> None: ...
    def close(self) -> None: ...
    def stop(self) -> None: ...


LanesOf = Callable[[PartitionPipeline, Callable[[], bool], Callable[[], None]], PartitionLanes]
"""(pipeline, may_publish, progressed) -> lanes"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerParts:
    consumer: TokensConsumer
    committed: OffsetsReader
    responses: RecordsReader
    lanes_of: LanesOf
    decoder: Decoder
    metrics: Metrics
    clock: Clock
    random: Random
    responses_topic: str
    dead_letters_topic: str
    dead_letter_bytes: int
    controls: RelayControls
