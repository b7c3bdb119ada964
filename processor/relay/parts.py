"""The parts of a partition's worker."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Protocol

from processor.clock import Clock
from processor.core.chunks import ANY_FORMAT, ChunkFormat
from processor.core.limits import Limits
from processor.core.partition import PartitionPipeline
from processor.ports.log import OffsetsReader, RecordsReader, TokensConsumer, WriterFactory
from processor.relay.controls import RelayControls
from processor.telemetry.metrics import Metrics
from topics.codec import Decoder

if TYPE_CHECKING:
    from processor.relay.worker import PartitionWorker


class PartitionLanes(Protocol):
    """What the worker needs of the lanes: carried out by `processor.relay.lanes.Lanes`."""

    def wake(self) -> None: ...
    def close(self) -> None: ...
    def stop(self) -> None: ...


class PartitionMeasures(Protocol):
    """Where the relay shows what its partitions hold: carried out by `processor.relay.measures.Measures`."""

    def show(self, workers: "Mapping[int, PartitionWorker]", paused: int, now: float) -> None:
        """Called a few times a second with the workers of the owned partitions, and how many are paused."""
        ...

    def forget(self, number: int) -> None:
        """The partition is given up."""
        ...


LanesOf = Callable[[PartitionPipeline, Callable[[], bool], Callable[[], None]], PartitionLanes]
"""(pipeline, may_publish, progressed) -> lanes"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerParts:
    consumer: TokensConsumer
    committed: OffsetsReader
    responses: RecordsReader
    writer_of: WriterFactory
    lanes_of: LanesOf
    decoder: Decoder
    metrics: Metrics
    clock: Clock
    random: Random
    measures: PartitionMeasures
    responses_topic: str
    dead_letters_topic: str
    dead_letter_bytes: int
    controls: RelayControls
    chunk_format: ChunkFormat = ANY_FORMAT


def pipeline_of(parts: WorkerParts, limits: Limits) -> PartitionPipeline:
    return PartitionPipeline(parts.decoder, limits, parts.chunk_format, parts.controls.memory)
