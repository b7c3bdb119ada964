"""The answers to probes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from processor.service.service import ended
from processor.telemetry.health import Check, Finding, Health, look
from processor.telemetry.metrics import Metrics
from support.clocks import Now

NO_REQUEST = cast("web.Request", None)
"""Neither answer depends on what the request holds."""


async def answered(ask: Callable[[web.Request], Awaitable[web.Response]]) -> tuple[int, str | None]:
    response = await ask(NO_REQUEST)
    return response.status, response.text


async def test_a_check_that_raises_is_failing_with_its_words() -> None:
    def ask() -> None:
        raise RuntimeError("no\nway")

    assert (await look(Check("kafka", ask))).line == "kafka: failing - no way"


async def test_a_check_that_passes_is_ok() -> None:
    async def ask() -> None:
        await asyncio.sleep(0)

    assert (await look(Check("store", ask))).line == "store: ok"
    assert (await look(Check("store", lambda: "full"))).line == "store: failing - full"


async def test_liveness_asks_about_the_process_alone() -> None:
    dead: list[str | None] = [None]
    health = Health(Metrics(), lambda: [Check("kafka", lambda: "no broker")], lambda: [Check("relay", lambda: dead[0])])
    assert await answered(health.healthz) == (200, "ok\n")
    dead[0] = "its task ended"
    assert await answered(health.healthz) == (503, "relay: failing - its task ended\n")


async def test_a_task_that_merely_returned_is_dead() -> None:
    task = asyncio.create_task(asyncio.sleep(0))
    assert ended(task) is None
    await task
    assert ended(task) is not None


async def test_readiness_fails_only_on_what_the_role_cannot_work_without_and_the_gauge_shows_all() -> None:
    metrics = Metrics()
    checks = [Check("kafka", lambda: None), Check("archive", lambda: "lags", required=False)]
    health = Health(metrics, lambda: checks)
    assert await answered(health.readyz) == (200, "kafka: ok\narchive: failing - lags\n")
    shown = {
        name: metrics.registry.get_sample_value("tokenstream_ready", {"dependency": name})
        for name in ("kafka", "archive")
    }
    assert shown == {"kafka": 1, "archive": 0}
    checks[:] = [Check("kafka", lambda: "no broker")]
    assert await answered(health.readyz) == (503, "kafka: failing - no broker\n")
    assert metrics.registry.get_sample_value("tokenstream_ready", {"dependency": "kafka"}) == 0
    assert metrics.registry.get_sample_value("tokenstream_ready", {"dependency": "archive"}) is None


async def test_however_many_ask_a_dependency_is_asked_once_a_second() -> None:
    asked, now = 0, Now()

    async def ask() -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)

    checks = [Check("store", ask)]
    health = Health(Metrics(), lambda: checks, clock=now)
    await asyncio.gather(*(health.readyz(NO_REQUEST) for _ in range(50)))
    assert asked == 1
    now.seconds = 1.0
    await health.readyz(NO_REQUEST)
    assert asked == 2


async def test_a_dependency_s_words_show_no_password() -> None:
    check = Check("store", lambda: "cannot reach http://user:hunter2@store:9000/bucket")
    assert "hunter2" not in (await look(check)).line


async def test_strangers_get_reasons_without_addresses_and_the_log_has_them_whole() -> None:
    words: list[str | None] = [None]
    checks = [Check("store", lambda: words[0])]
    now = Now()
    health = Health(Metrics(), lambda: checks, for_strangers=True, clock=now)
    with capture_logs() as said:
        assert await answered(health.readyz) == (200, "store: ok\n")
        for words[0], now.seconds in (("10.1.2.3 refuses", 2.0), ("10.1.2.3 refuses", 4.0), (None, 6.0)):
            status, text = await answered(health.readyz)
            assert "10.1.2.3" not in (text or "")
            assert status == (503 if words[0] else 200)
    assert [(line["event"], line.get("why")) for line in said] == [
        ("dependency_failing", "10.1.2.3 refuses"),
        ("dependency_works", None),
    ]


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("partition 3: the batch at offset 17 can't be read", "partition 3: the batch at offset 17 can't be read"),
        ("no answer within 3 s", "no answer within 3 s"),
        ("kafka-0.internal:9092 does not answer (3.5 s)", "[...] does not answer (3.5 s)"),
        ("Connect call failed ('10.0.0.3', 5432)", "Connect call failed ([...], 5432)"),
        ("cannot reach s3://bucket/a at http://10.2.3.4:9000/x", "cannot reach [...] at [...]"),
        ('could not translate host name "db.internal" to address', "could not translate host name [...] to address"),
        ("Connect call failed [fe80::1:2]:5432", "Connect call failed [...]"),
        ("there is no directory /var/lib/tokenstream", "there is no directory [...]"),
    ],
)
def test_reasons_for_strangers_name_no_other_system(reason: str, shown: str) -> None:
    assert Finding("kafka", reason, required=True).line_for_strangers == f"kafka: failing - {shown}"
