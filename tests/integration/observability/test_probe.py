"""The probe against the real thing: Kafka, a relay, an archive and a store; and against one of them missing."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from conftest import MakeTopics
from devtools.children import without_settings
from devtools.kafka import LocalKafka
from devtools.lab import Lab, laboratory
from devtools.stores import opened
from processor.api.access import Access
from processor.api.app import ApiParts
from processor.config.loading import load_settings
from processor.probe.probe import Plan, Probe, Result
from processor.service.probe_role import build_probe
from processor.telemetry.metrics import Metrics
from support.lab import ROOT
from support.waiting import eventually

pytestmark = pytest.mark.timeout(180)
CHANNEL = "probe:main"


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"tokenstream_{name}", labels) or 0.0


@asynccontextmanager
async def probing(lab: Lab, store_url: str, plan: Plan, **changes: str) -> AsyncIterator[tuple[Probe, Metrics]]:
    settings = load_settings(lab.environment(STORE_URL=store_url, **changes), None)
    metrics = Metrics()
    async with opened(store_url) as store:
        api = ApiParts(store, Access(open=True))
        yield build_probe(settings, CHANNEL, api, metrics, Random(1), plan), metrics


async def test_a_process_with_all_roles_probes_itself_and_leaves_nothing_in_the_store(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics(partitions=1)) as lab:
        process = await lab.relay(role="run", PROBE_CHANNEL=CHANNEL, STORE_URL=f"sqlite:///{tmp_path}/s.db")

        async def probed() -> bool:
            shown = await process.text("/metrics")
            return 'tokenstream_probe_responses_total{result="ok"} 1.0' in shown

        await eventually(probed, deadline=60, every=0.3)
        assert await process.metric("tokenstream_probe_responses_total") == 1
        assert await process.metric("tokenstream_probe_tokens_total") == 20
        assert await process.metric("tokenstream_probe_seconds_count") == 20
        assert await process.metric("tokenstream_probe_store_seconds_count") == 1
        for fault in ("lost", "repeated", "out_of_order"):
            assert await process.metric(f"tokenstream_probe_{fault}_total") == 0
        assert await process.metric("tokenstream_probe_last_ok_timestamp_seconds") > 0
        kept = json.loads(await process.text(f"/v1/channels/{CHANNEL}/responses"))
        assert kept["items"] == []
        assert "probe" not in await process.text("/readyz")


async def test_without_a_relay_it_reports_after_its_deadline_that_nothing_came(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    async with (
        laboratory(kafka.bootstrap, await make_topics(partitions=1)) as lab,
        probing(lab, f"sqlite:///{tmp_path}/s.db", Plan(tokens=5, pause=0.01, deadline=2.0)) as (probe, metrics),
    ):
        assert await probe.once() is Result.INCOMPLETE
        assert value(metrics, "probe_responses_total", result="incomplete") == 1
        assert value(metrics, "probe_tokens_total") == value(metrics, "probe_lost_total") == 0
        assert value(metrics, "probe_last_ok_timestamp_seconds") == 0


async def test_without_an_archive_it_reports_that_nothing_is_stored(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    async with (
        laboratory(kafka.bootstrap, await make_topics(partitions=1)) as lab,
        probing(lab, f"sqlite:///{tmp_path}/s.db", Plan(tokens=5, pause=0.01, deadline=8.0)) as (probe, metrics),
    ):
        await lab.relay()
        assert await probe.once() is Result.NOT_STORED
        assert value(metrics, "probe_tokens_total") == 5


@pytest.mark.parametrize(
    "changes", [{"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, {"ABLY_ENDPOINT": "127.0.0.1:1"}], ids=["kafka", "realtime"]
)
async def test_what_could_not_be_sent_or_followed_is_neither_late_nor_lost(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path, changes: dict[str, str]
) -> None:
    async with (
        laboratory(kafka.bootstrap, await make_topics(partitions=1)) as lab,
        probing(lab, f"sqlite:///{tmp_path}/s.db", Plan(tokens=5, deadline=2.0), **changes) as (probe, metrics),
    ):
        assert await probe.once() is Result.UNSENT
        assert value(metrics, "probe_responses_total", result="unsent") == 1
        assert value(metrics, "probe_lost_total") == 0


def test_a_probe_without_a_key_is_a_wrong_setting() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "processor", "api"],
        env={**without_settings(), "TOKENSTREAM_PROBE_CHANNEL": CHANNEL},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "TOKENSTREAM_ABLY_KEY: must be set where TOKENSTREAM_PROBE_CHANNEL is\n"
