"""The doctor, before real Kafka, the local realtime service and a real store."""

from dataclasses import replace
from pathlib import Path

from conftest import MakeTopics
from devtools.emulator.server import DEFAULT_KEY, LocalRealtime
from devtools.free_ports import free_port
from devtools.kafka import LocalKafka
from processor.ably.ably import AblyOptions
from processor.cli.doctor import CheckResult, kafka_findings, service_findings, store_findings
from processor.kafka.connection import KafkaConnection
from processor.kafka.topics_admin import TopicsWanted
from support.command_line import kafka_environment, tokenstream

LINES = ["kafka", "topics", "sizes", "service", "clock", "key", "capabilities", "history", "store"]


def options(endpoint: str, key: str = DEFAULT_KEY) -> AblyOptions:
    return AblyOptions(key=lambda: key, client_id="tokenstream", endpoint=endpoint, tls=False)


def states(findings: list[CheckResult]) -> dict[str, bool | None]:
    return {finding.name: finding.ok for finding in findings}


async def test_the_doctor_finds_nothing_wrong_where_nothing_is(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    async with LocalRealtime(key=DEFAULT_KEY, admin=True) as realtime:
        environment = {
            **kafka_environment(kafka.bootstrap, await make_topics()),
            "TOKENSTREAM_ABLY_KEY": DEFAULT_KEY,
            "TOKENSTREAM_ABLY_ENDPOINT": realtime.endpoint,
            "TOKENSTREAM_ABLY_TLS": "false",
            "TOKENSTREAM_STORE_URL": f"sqlite:///{tmp_path / 'store.db'}",
        }
        done = await tokenstream("doctor", "--json", environment=environment)
        assert [(line["name"], line["ok"]) for line in done.json] == [(name, True) for name in LINES]
        assert not realtime.log, "the doctor publishes nothing"


async def test_the_doctor_says_of_each_failure_what_to_do(tmp_path: Path) -> None:
    environment = {
        "TOKENSTREAM_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        "TOKENSTREAM_STORE_URL": f"sqlite:///{tmp_path / 'none' / 'store.db'}",
    }
    done = await tokenstream("doctor", environment=environment)
    assert done.code == 1
    failing = [line for line in done.out.splitlines() if " failing " in line]
    assert [line.split()[0] for line in failing] == ["kafka", "key", "store"]
    assert done.out.count("-> ") == 3


async def test_a_missing_topic_is_told_with_the_command_that_makes_it(
    kafka: LocalKafka, make_topics: MakeTopics, topics_prefix: str
) -> None:
    names = replace(await make_topics(), controls=f"{topics_prefix}.none")
    found = await kafka_findings(KafkaConnection(kafka.bootstrap), TopicsWanted(names, 8 * 2**20))
    assert states(found) == {"kafka": True, "topics": False, "sizes": False}
    assert all("tokenstream topics apply" in finding.remedy for finding in found[1:])


async def test_a_wrong_key_fails_and_what_depends_on_it_is_not_looked_at() -> None:
    async with LocalRealtime(key=DEFAULT_KEY) as realtime:
        found = await service_findings(options(realtime.endpoint, "local.key:wrong"), "chat:1")
    assert states(found) == {"service": True, "clock": True, "key": False, "capabilities": None, "history": None}


async def test_a_service_that_does_not_answer_is_told() -> None:
    found = await service_findings(options(f"127.0.0.1:{free_port()}"), "chat:1")
    assert states(found) == {"service": False, "clock": None, "key": None, "capabilities": None, "history": None}


async def test_a_store_that_may_not_be_written_fails(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    assert states(await store_findings(f"sqlite:///{path}")) == {"store": True}
    assert states(await store_findings(f"file://{tmp_path}/objects")) == {"store": True}
    assert not [found for found in (tmp_path / "objects").rglob("*") if found.is_file()]
    path.write_bytes(b"this is no database" * 100)
    assert states(await store_findings(f"sqlite:///{path}")) == {"store": False}


async def test_a_directory_that_may_not_be_written_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("where the directory should be")
    assert states(await store_findings(f"file://{tmp_path}/file/objects")) == {"store": False}


async def test_the_probes_channel_is_asked_about_where_one_is_set() -> None:
    async with LocalRealtime(key=DEFAULT_KEY) as realtime:
        good = await service_findings(options(realtime.endpoint), "chat:1", "probe:1")
        wrong = await service_findings(options(realtime.endpoint, "local.key:wrong"), "chat:1", "probe:1")
    assert (states(good)["probe"], states(wrong)["probe"]) == (True, None)
    assert len(states(good)) == len(states(wrong)) == 6
