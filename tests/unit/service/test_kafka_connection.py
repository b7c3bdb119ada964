"""Kafka's credentials and certificates are read from the settings, and an error names the wrong file."""

import asyncio
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from processor.config.settings import Settings
from processor.errors import KafkaUnavailable, SettingsError
from processor.kafka.connection import BearerToken, KafkaConnection, TokenUnreadable
from processor.kafka.unreachable import _explain
from processor.service.kafka_connection import connection_source, kafka_connection
from support.settings import SASL, loaded


def test_plain_clients_need_servers_only() -> None:
    assert kafka_connection(Settings()) == KafkaConnection("localhost:9092")


def test_sasl_reads_its_password_anew_for_each_client(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("one\n")
    settings = loaded(**SASL, KAFKA_SASL_USERNAME="u", KAFKA_SASL_PASSWORD_FILE=str(path))
    source = connection_source(settings)
    connection = source()
    assert (connection.sasl_mechanism, connection.username, connection.password) == ("SCRAM-SHA-512", "u", "one")
    path.write_text("two\n")
    assert source().arguments()["sasl_plain_password"] == "two"


def test_a_file_that_is_gone_makes_kafka_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("one\n")
    settings = loaded(**SASL, KAFKA_SASL_USERNAME="u", KAFKA_SASL_PASSWORD_FILE=str(path))
    path.unlink()
    with pytest.raises(KafkaUnavailable, match="KAFKA_SASL_PASSWORD_FILE: can't read"):
        connection_source(settings)()


def test_no_secret_shows_in_a_connection() -> None:
    assert "hunter2" not in repr(KafkaConnection("b:1", password="hunter2"))


async def test_a_bearer_token_is_read_anew_for_each_connection(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one\n")
    settings = loaded(
        KAFKA_SECURITY_PROTOCOL="SASL_SSL", KAFKA_SASL_MECHANISM="OAUTHBEARER", KAFKA_SASL_PASSWORD_FILE=str(path)
    )
    provider: Any = kafka_connection(settings).arguments()["sasl_oauth_token_provider"]
    assert await provider.token() == "one"
    await asyncio.to_thread(path.write_text, "two\n")
    assert await provider.token() == "two"


def test_a_bearer_token_that_is_gone_fails_one_connection_by_an_error_of_the_client(tmp_path: Path) -> None:
    settings = loaded(KAFKA_SECURITY_PROTOCOL="SASL_SSL", KAFKA_SASL_MECHANISM="OAUTHBEARER", KAFKA_SASL_PASSWORD="t")
    gone = settings.model_copy(update={"kafka_sasl_password_file": tmp_path / "token"})
    provider: Any = kafka_connection(gone).arguments()["sasl_oauth_token_provider"]
    with pytest.raises(KafkaError, match="KAFKA_SASL_PASSWORD_FILE: can't read"):
        asyncio.run(provider.token())


async def test_whatever_reading_a_bearer_token_raises_shows_no_more_than_its_type() -> None:
    def read() -> str:
        raise RuntimeError("hunter2")

    with pytest.raises(KafkaError, match=r"RuntimeError$"):
        await BearerToken(read).token()


def test_why_kafka_is_not_reached_names_a_token_that_can_not_be_read() -> None:
    error = TokenUnreadable("TOKENSTREAM_KAFKA_SASL_PASSWORD_FILE: can't read /t")
    assert "KAFKA_SASL_PASSWORD_FILE: can't read /t" in _explain(error, "SASL_SSL")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate and its key, encrypted with `opensesame`."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-days", "2", "-subj", "/CN=localhost",
         "-passout", "pass:opensesame", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return cert, key


def test_certificates_and_keys_are_loaded(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    settings = loaded(
        KAFKA_SECURITY_PROTOCOL="SSL",
        KAFKA_SSL_CAFILE=str(cert),
        KAFKA_SSL_CERTFILE=str(cert),
        KAFKA_SSL_KEYFILE=str(key),
        KAFKA_SSL_KEY_PASSWORD="opensesame",
    )
    context = kafka_connection(settings).ssl_context
    assert isinstance(context, ssl.SSLContext)
    assert len(context.get_ca_certs()) == 1
    assert context.check_hostname


def test_files_that_are_no_certificates_are_told_by_name(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = certificate
    none, broken = tmp_path / "none.pem", tmp_path / "broken.pem"
    broken.write_text("hello")
    for changes, told in (
        ({"kafka_ssl_cafile": none}, f"TOKENSTREAM_KAFKA_SSL_CAFILE: can't use {none}: No such file"),
        ({"kafka_ssl_cafile": broken}, f"TOKENSTREAM_KAFKA_SSL_CAFILE: can't use {broken}: it holds no valid certificate"),
        ({"kafka_ssl_certfile": none, "kafka_ssl_keyfile": key}, f"TOKENSTREAM_KAFKA_SSL_CERTFILE: can't use {none}: No such"),
        ({"kafka_ssl_certfile": cert, "kafka_ssl_keyfile": none}, f"TOKENSTREAM_KAFKA_SSL_KEYFILE: can't use {none}: No such"),
        ({"kafka_ssl_certfile": broken}, f"TOKENSTREAM_KAFKA_SSL_CERTFILE: can't use {broken}: it holds no valid"),
        ({"kafka_ssl_certfile": cert, "kafka_ssl_keyfile": key}, "or its password is wrong"),
    ):  # fmt: skip
        settings = Settings.model_validate({"kafka_security_protocol": "SSL", **changes})
        with pytest.raises(SettingsError) as raised:
            kafka_connection(settings)
        assert told in str(raised.value)
