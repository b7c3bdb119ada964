"""Credentials in plain text over a network are warned of; on this machine they are nobody's business."""

import pytest

from processor.config.loading import load_settings
from processor.config.plain_text import plain_text_warnings

PLAIN = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "KAFKA_SASL_MECHANISM": "PLAIN",
    "KAFKA_SASL_USERNAME": "u",
    "KAFKA_SASL_PASSWORD": "secret-password",
}


def warnings(**given: str) -> list[str]:
    return list(plain_text_warnings(load_settings({f"TOKENSTREAM_{name}": value for name, value in given.items()})))


@pytest.mark.parametrize("endpoint", ["realtime.example", "realtime.example:8443", "10.0.0.1:80"])
def test_a_key_sent_without_tls_to_another_machine_is_warned_of(endpoint: str) -> None:
    (warning,) = warnings(ABLY_KEY="app.key:secret", ABLY_TLS="false", ABLY_ENDPOINT=endpoint)
    assert "ABLY_TLS" in warning
    assert "secret" not in warning


def test_the_services_own_address_is_another_machine() -> None:
    assert len(warnings(ABLY_KEY="app.key:secret", ABLY_TLS="false")) == 1


@pytest.mark.parametrize("endpoint", ["localhost:8090", "127.0.0.1:8090", "localhost"])
def test_on_this_machine_there_is_no_warning(endpoint: str) -> None:
    assert warnings(ABLY_KEY="app.key:secret", ABLY_TLS="false", ABLY_ENDPOINT=endpoint) == []
    assert warnings(**PLAIN, KAFKA_BOOTSTRAP_SERVERS="localhost:9092,127.0.0.1:9093") == []


def test_a_password_for_kafka_in_plain_text_is_warned_of() -> None:
    (warning,) = warnings(**PLAIN, KAFKA_BOOTSTRAP_SERVERS="localhost:9092,kafka.example:9092")
    assert "SASL_SSL" in warning
    assert "secret-password" not in warning


def test_scram_and_tls_are_no_plain_text() -> None:
    remote = {**PLAIN, "KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9092"}
    assert warnings(**(remote | {"KAFKA_SASL_MECHANISM": "SCRAM-SHA-512"})) == []
    assert warnings(**(remote | {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"})) == []
    assert warnings(ABLY_KEY="app.key:secret", ABLY_ENDPOINT="realtime.example") == []
