"""Every public member of the pipeline belongs to one side of the shell."""

from processor.core.limits import Limits
from processor.core.partition import PartitionPipeline
from processor.core.pipeline import PipelineDurability, PipelineInput, PipelineOutput
from topics.codec import Decoder

GROUPS = (PipelineInput, PipelineOutput, PipelineDurability)
OTHERS = {"limits", "open_responses", "status", "take_counts"}


def members(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def test_a_member_is_in_one_group() -> None:
    names = [name for group in GROUPS for name in members(group)]
    assert len(names) == len(set(names))
    assert set(names) == members(PartitionPipeline) - OTHERS


def test_the_pipeline_is_each_of_its_groups() -> None:
    pipeline = PartitionPipeline(Decoder(), Limits())
    asked: PipelineInput = pipeline
    sent: PipelineOutput = pipeline
    written: PipelineDurability = pipeline
    assert (asked.position, sent.in_flight, written.wants_write) == (0, 0, False)
    assert pipeline.status().open_responses == 0
