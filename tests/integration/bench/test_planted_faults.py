"""Faults planted under a run that is faultless otherwise: someone publishes in the relay's name, and none of it is forgiven."""

import base64
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from devtools.bench.load import Load
from devtools.bench.results import Unsound
from devtools.bench.run import UNPACED, Run, running
from devtools.deployment import LocalDeployment, names_after, on_broker
from devtools.kafka import LocalKafka
from support.waiting import eventually

LOAD_TOKENS = 30
WITHIN = 60.0


@pytest.fixture
async def stage(kafka: LocalKafka, tmp_path: Path, topics_prefix: str) -> AsyncIterator[LocalDeployment]:
    async with on_broker(kafka, tmp_path, names_after(topics_prefix), partitions=2, settings=UNPACED) as one:
        relay = one.new()
        await relay.start()
        await relay.ready()
        yield one


async def delivered(run: Run) -> None:
    await run.produce()
    assert await run.finished(WITHIN)


async def publish(run: Run, name: str, data: Any, headers: Mapping[str, str]) -> None:
    """A message in the relay's name, on the channel of response 0, by REST; until the observer has it."""
    stage, load = run.stage, run.load
    before = (await run.progress())["frames"]
    authorization = {"Authorization": f"Basic {base64.b64encode(stage.key.encode()).decode()}"}
    message = {
        "name": name,
        "data": data,
        "clientId": "tokenstream",
        "extras": {"headers": {"responseId": load.response_id(0), **headers}},
    }
    address = f"http://{stage.endpoint}/channels/{load.channel(0)}/messages"
    async with stage.http.post(address, json=message, headers=authorization) as answer:
        assert answer.status == 201, await answer.text()

    async def has_come() -> bool:
        return bool((await run.progress())["frames"] > before)

    await eventually(has_come, deadline=WITHIN)


async def test_a_run_with_nothing_planted_has_figures(stage: LocalDeployment) -> None:
    load = Load(name="sound", responses=3, tokens=LOAD_TOKENS)
    async with running(stage, load, timed=True) as run:
        await delivered(run)
        figures = await run.judge()
    assert figures.tokens == load.count()
    assert figures.latency is not None
    assert figures.latency.count == load.count()


async def test_a_repeated_frame_leaves_no_figures(stage: LocalDeployment) -> None:
    load = Load(name="repeated", responses=3, tokens=LOAD_TOKENS)
    async with running(stage, load) as run:
        await delivered(run)
        first = load.texts(0)[0]
        await publish(run, "token", first, {"seq": "1", "seqEnd": "1", "offset": "0"})
        with pytest.raises(Unsound, match="repeated as published: 1"):
            await run.judge()


async def test_text_after_the_stop_leaves_no_figures(stage: LocalDeployment) -> None:
    load = Load(name="late", responses=3, tokens=LOAD_TOKENS)
    async with running(stage, load) as run:
        await delivered(run)
        seq, offset = str(len(load.texts(0)) + 2), str(len("".join(load.texts(0)).encode("utf-16-le")) // 2)
        await publish(run, "token", "late", {"seq": seq, "seqEnd": seq, "offset": offset})
        with pytest.raises(Unsound, match="out of order: 1"):
            await run.judge()


async def test_a_frame_that_overtakes_the_start_leaves_no_figures(stage: LocalDeployment) -> None:
    load = Load(name="overtaken", responses=3, tokens=LOAD_TOKENS)
    async with running(stage, load) as run:
        await publish(run, "token", load.texts(0)[0], {"seq": "1", "seqEnd": "1", "offset": "0"})
        await delivered(run)
        with pytest.raises(Unsound, match="out of order: 1, repeated as published: 1"):
            await run.judge()


async def test_what_is_not_produced_at_all_leaves_no_figures(stage: LocalDeployment) -> None:
    load = Load(name="missing", responses=3, tokens=LOAD_TOKENS)
    async with running(stage, load) as run:
        assert not await run.finished(0.5)
        with pytest.raises(Unsound, match="unfinished: 3"):
            await run.judge()
