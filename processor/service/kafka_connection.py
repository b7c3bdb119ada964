"""Reads the connection to Kafka from the settings."""

from typing import Any

from processor.config.kafka import ssl_context
from processor.config.settings import Settings
from processor.errors import KafkaUnavailable, SettingsError
from processor.kafka.connection import BearerToken, ConnectionSource, KafkaConnection


def kafka_connection(settings: Settings) -> KafkaConnection:
    """Reads secrets and certificates. Raises SettingsError where a file is unreadable or holds no certificate or key."""
    security: dict[str, Any] = {}
    if settings.kafka_security_protocol.endswith("SSL"):
        security["ssl_context"] = ssl_context(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        security |= _sasl(settings)
    return KafkaConnection(
        settings.kafka_bootstrap_servers, security_protocol=settings.kafka_security_protocol, **security
    )


def connection_source(settings: Settings) -> ConnectionSource:
    """For clients that are made while the process runs: raises KafkaUnavailable where a file can't be used now."""

    def read() -> KafkaConnection:
        try:
            return kafka_connection(settings)
        except SettingsError as error:  # a file that was good when the process started may come back
            raise KafkaUnavailable(str(error)) from error

    return read


def _sasl(settings: Settings) -> dict[str, Any]:
    if settings.kafka_sasl_mechanism == "OAUTHBEARER":
        token = BearerToken(lambda: settings.current_secret("kafka_sasl_password") or "")
        return {"sasl_mechanism": "OAUTHBEARER", "token_provider": token}
    return {
        "sasl_mechanism": settings.kafka_sasl_mechanism,
        "username": settings.kafka_sasl_username,
        "password": settings.current_secret("kafka_sasl_password"),
    }
