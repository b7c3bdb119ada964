"""Relay, archive, api and the command line against a broker with TLS, mutual TLS and SASL; and their errors when it
refuses.
"""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from devtools.lab import Lab, laboratory
from devtools.process import PROGRAM, TokenstreamProcess
from support.commands import run_command
from support.secured import KEY_PASSWORD, PASSWORD, Certificates, bearer_token
from support.waiting import eventually

SCRAMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")  # the latter also below, where its password changes
USER = {"KAFKA_SASL_USERNAME": "relay", "KAFKA_SASL_PASSWORD": PASSWORD}
API_TOKEN = "a-token-that-may-delete"


@pytest.fixture
async def lab(secured: LocalKafka, make_topics: MakeTopics) -> AsyncIterator[Lab]:
    names = await make_topics(partitions=2, bootstrap=secured.bootstrap)
    async with laboratory(secured.bootstrap, names) as lab:
        yield lab


def reaching(secured: LocalKafka, listener: str, certificates: Certificates, way: Mapping[str, str]) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": secured.listeners[listener],
        "KAFKA_SECURITY_PROTOCOL": "SSL",
        "KAFKA_SSL_CAFILE": str(certificates.authority),
        **way,
    }


def way_in(name: str, certificates: Certificates) -> tuple[str, dict[str, str]]:
    """The listener, and the settings that it takes."""
    if name == "TLS":
        return "TLS", {}
    if name == "mutual TLS":
        files = {"CERTFILE": certificates.client, "KEYFILE": certificates.client_key}
        return "MUTUAL", {
            **{f"KAFKA_SSL_{file}": str(path) for file, path in files.items()},
            "KAFKA_SSL_KEY_PASSWORD": KEY_PASSWORD,
        }
    sasl = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": name}
    if name == "OAUTHBEARER":
        return "BEARER", {**sasl, "KAFKA_SASL_PASSWORD": bearer_token()}
    return "SASL", {**sasl, **USER}


def long(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.long)


@pytest.mark.parametrize("name", ["mutual TLS", "PLAIN", "OAUTHBEARER", long("TLS"), *map(long, SCRAMS)])
async def test_a_response_goes_all_the_way_to_the_store(
    lab: Lab, secured: LocalKafka, certificates: Certificates, tmp_path: Path, name: str
) -> None:
    listener, way = way_in(name, certificates)
    settings = reaching(secured, listener, certificates, way)
    process = await started(
        lab, "run", {**settings, "STORE_URL": f"sqlite:///{tmp_path}/store.db", "API_TOKENS": f"{API_TOKEN}=*"}
    )
    await tokenstream(
        lab, settings, "produce", "--channel", "chat:1", "--response-id", "r-1", standard_input="Hi there"
    )
    await lab_saw_stop(lab)
    stored = await eventually(lambda: stored_response(process, "r-1"), deadline=30)
    assert stored is not None
    assert [(part["part"], part["text"]) for part in stored["parts"]] == [("text", "Hi there")]
    # A tombstone goes through a producer of its own.
    assert await delete(process, "r-1") == 204
    assert await process.stop() == 0


SASL = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", **USER}
PLAIN = {**SASL, "KAFKA_SASL_MECHANISM": "PLAIN"}
SCRAM = {**SASL, "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512"}
REFUSALS = {
    "a wrong password": ("SASL", {**PLAIN, "KAFKA_SASL_PASSWORD": "b"}, "KAFKA_SASL_USERNAME, _PASSWORD"),
    "a wrong SCRAM password": ("SASL", {**SCRAM, "KAFKA_SASL_PASSWORD": "b"}, "KAFKA_SASL_USERNAME, _PASSWORD"),
    "another mechanism": ("BEARER", PLAIN, "KAFKA_SASL_MECHANISM"),
    "an expired certificate of the broker": ("EXPIRED", {}, "certificate has expired"),
    "an authority not trusted": ("TLS", {"KAFKA_SSL_CAFILE": "{strangers_authority}"}, "KAFKA_SSL_CAFILE"),
    "no certificate of one's own": ("MUTUAL", {}, "KAFKA_SSL_CERTFILE"),
    "a certificate nobody trusts": ("MUTUAL", {"KAFKA_SSL_CERTFILE": "{stranger}"}, "KAFKA_SSL_CERTFILE"),
    "an expired certificate of one's own": (
        "MUTUAL",
        {"KAFKA_SSL_CERTFILE": "{expired_client}"},
        "KAFKA_SSL_CERTFILE",
    ),
    "TLS to a port without": ("PLAINTEXT", {}, "KAFKA_SECURITY_PROTOCOL"),
    "no TLS to a port with it": (
        "TLS",
        {"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT", "KAFKA_SSL_CAFILE": ""},
        "KAFKA_SECURITY_PROTOCOL",
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_what_the_broker_refuses_is_told_and_tried_again(
    lab: Lab, secured: LocalKafka, certificates: Certificates, refusal: str
) -> None:
    listener, way, told = REFUSALS[refusal]
    files = {name: str(getattr(certificates, name)) for name in certificates.__annotations__}
    way = {name: value.format(**files) for name, value in way.items()}
    listeners = {**secured.listeners, "PLAINTEXT": secured.bootstrap}
    settings = reaching(secured, "TLS", certificates, {**way, "KAFKA_BOOTSTRAP_SERVERS": listeners[listener]})
    settings = {name: value for name, value in settings.items() if value}
    process = await started(lab, "relay", settings, ready=False)
    line = await eventually(lambda: failing_kafka(process), deadline=30)
    assert told in line
    assert PASSWORD not in process.tail(1000)
    assert process.returncode is None
    assert await process.stop() == 0


async def test_a_password_and_a_certificate_that_change_are_picked_up_without_a_restart(
    lab: Lab, secured: LocalKafka, certificates: Certificates, tmp_path: Path
) -> None:
    """The old ones stop working at the same moment: whatever connects again with them is refused."""
    password, authority = tmp_path / "password", tmp_path / "authority.pem"
    password.write_text("a-password")
    authority.write_bytes(certificates.authority.read_bytes())
    files = {"KAFKA_SASL_PASSWORD_FILE": str(password), "KAFKA_SSL_CAFILE": str(authority)}
    sasl = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512"}
    settings = reaching(secured, "SASL", certificates, {**sasl, "KAFKA_SASL_USERNAME": "rotated", **files})
    await set_password(secured, "rotated", "a-password")
    process = await started(lab, "run", {**settings, "STORE_URL": f"sqlite:///{tmp_path}/store.db"})
    async with lab.streaming(responses=4):
        await lab.progress(frames=20)
        await set_password(secured, "rotated", "another")
        replace(password, b"another")
        await eventually(lambda: "kafka_credentials_changed" in process.log.read_text(), deadline=20)
        await lab.progress(frames=20)
        replace(authority, certificates.strangers_authority.read_bytes() + certificates.authority.read_bytes())
        await eventually(lambda: process.log.read_text().count("kafka_credentials_changed") == 2, deadline=20)
        await lab.progress(frames=20)
    await lab.all_finished()
    verdict = lab.verdict()
    assert not verdict.wrong, verdict
    assert verdict.repeated_as_published == 0, verdict
    for produced in lab.produced:
        assert await eventually(lambda: stored_response(process, produced.response_id), deadline=30)  # noqa: B023
    assert await process.stop() == 0


def replace(path: Path, content: bytes) -> None:
    """As Kubernetes does it: whoever reads sees the old or the new, whole."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.rename(path)


async def set_password(secured: LocalKafka, user: str, password: str) -> None:
    await secured.run_tool(
        "org.apache.kafka.tools.ConfigCommand",
        *("--bootstrap-server", secured.bootstrap, "--alter", "--entity-type", "users", "--entity-name", user),
        *("--add-config", f"SCRAM-SHA-512=[password={password}]"),
    )


async def started(lab: Lab, role: str, settings: Mapping[str, str], *, ready: bool = True) -> TokenstreamProcess:
    return await lab.relay(role=role, ready=ready, **settings)


async def failing_kafka(process: TokenstreamProcess) -> str:
    """Returns what `/readyz` reports of Kafka; empty until it fails for a reason."""
    lines = (await process.text("/readyz")).splitlines()
    return next((line for line in lines if line.startswith("kafka: failing") and "not verified" not in line), "")


async def lab_saw_stop(lab: Lab) -> None:
    await eventually(lambda: lab.finished() == 1, deadline=30)


async def stored_response(process: TokenstreamProcess, response_id: str) -> dict[str, Any] | None:
    text = await process.text(f"/v1/responses/{response_id}")
    record = json.loads(text) if text else {}
    return record if record.get("status") == "complete" else None


async def delete(process: TokenstreamProcess, response_id: str) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.delete(
            f"http://127.0.0.1:{process.port}/v1/responses/{response_id}",
            headers={"Authorization": f"Bearer {API_TOKEN}"},
        ) as answer,
    ):
        return answer.status


async def tokenstream(lab: Lab, settings: Mapping[str, str], *arguments: str, standard_input: str = "") -> str:
    environment = lab.environment(**settings)
    code, printed = await run_command(*PROGRAM, *arguments, environment=environment, given=standard_input)
    assert code == 0, printed
    return printed
