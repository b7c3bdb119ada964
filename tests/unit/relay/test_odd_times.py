"""One token with an impossible time does not spoil the metrics of all others."""

import asyncio
from typing import Any

import pytest

from processor.clock import Clock
from processor.core.framer import Frame
from processor.core.limits import Limits
from processor.core.partition import PartitionPipeline
from processor.relay.lanes import LaneParts, Lanes
from processor.telemetry.metrics import Metrics
from topics.codec import Decoder


def observed(ts: int) -> float:
    """The sum of delivery times after a frame whose oldest token has this time."""
    metrics, nothing = Metrics(), Any
    parts: Any = LaneParts(realtime=nothing, metrics=metrics, clock=Clock(), random=nothing, duplicate_window=0.0)  # type: ignore[arg-type]
    tasks: asyncio.TaskGroup = nothing  # type: ignore[assignment]
    lanes = Lanes(parts, PartitionPipeline(Decoder(), Limits()), lambda: True, lambda: None, tasks)
    headers = {"seq": "1"}
    frame = Frame(
        channel="c",
        response_id="r",
        name="token",
        id="r",
        data="x",
        json=False,
        headers=headers,
        tokens=1,
        oldest_ts=ts,
        oldest_offset=1,
    )
    lanes._observe(frame, 0.0, 0.0)
    return metrics.delivery_seconds.sum


@pytest.mark.parametrize("ts", [0, 2**53 - 1, 1_763_860_000_031_000])
def test_an_impossible_ts_is_not_measured(ts: int) -> None:
    assert observed(ts) == 0.0


def test_a_token_of_an_hour_ago_is_measured() -> None:
    assert 3_600 <= observed(int((Clock().wall() - 3_600) * 1_000)) < 3_700
