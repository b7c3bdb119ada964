"""Detects credentials that leave this machine unencrypted: they are allowed, and cause a warning at the start."""

import ipaddress
from collections.abc import Iterator

from processor.config.settings import Settings


def plain_text_warnings(settings: Settings) -> Iterator[str]:
    """Yields a sentence for each credential that the settings send in plain text to another machine."""
    if not settings.ably_tls and settings.ably_key is not None and not _is_here(settings.ably_endpoint or ""):
        yield (
            "TOKENSTREAM_ABLY_TLS is false: ABLY_KEY goes to the realtime service in plain text. "
            "Set it to true, or use an ABLY_ENDPOINT on this machine."
        )
    password = settings.kafka_sasl_mechanism in ("PLAIN", "OAUTHBEARER")
    servers = settings.kafka_bootstrap_servers.split(",")
    if settings.kafka_security_protocol == "SASL_PLAINTEXT" and password and not all(map(_is_here, servers)):
        yield (
            f"TOKENSTREAM_KAFKA_SECURITY_PROTOCOL is SASL_PLAINTEXT with {settings.kafka_sasl_mechanism}: the password or "
            "token goes to Kafka in plain text. Use SASL_SSL, or a SCRAM mechanism."
        )


def _is_here(address: str) -> bool:
    """Whether `host[:port]` is this machine."""
    host = address.strip().rpartition(":")[0] or address.strip()
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
