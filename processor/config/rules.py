"""Checks combinations of settings."""

import ipaddress
from typing import TYPE_CHECKING

from processor.config.sources import PREFIX

if TYPE_CHECKING:
    from processor.config.settings import Settings


def conflicts(settings: "Settings", *, require_ably: bool) -> list[str]:
    """One line for each mistake, with the variable's name."""
    s = settings
    sasl = s.kafka_security_protocol.startswith("SASL")
    by_name = s.kafka_sasl_mechanism not in (None, "OAUTHBEARER")
    tls = s.kafka_security_protocol.endswith("SSL")
    rules = (
        (
            require_ably and s.realtime == "ably" and s.ably_key is None,
            "ABLY_KEY",
            "must be set: the key of the Ably app, app.key:secret. REALTIME=direct needs none",
        ),
        (
            s.realtime == "direct" and s.probe_channel is not None,
            "PROBE_CHANNEL",
            "must not be set with REALTIME=direct: the probe subscribes to Ably",
        ),
        (
            sasl and s.kafka_sasl_mechanism is None,
            "KAFKA_SASL_MECHANISM",
            "must be set with KAFKA_SECURITY_PROTOCOL " + s.kafka_security_protocol,
        ),
        (
            not sasl and s.kafka_sasl_mechanism is not None,
            "KAFKA_SASL_MECHANISM",
            "needs KAFKA_SECURITY_PROTOCOL SASL_SSL or SASL_PLAINTEXT, which is " + s.kafka_security_protocol,
        ),
        (
            sasl and by_name and not s.kafka_sasl_username,
            "KAFKA_SASL_USERNAME",
            f"must be set with {s.kafka_sasl_mechanism}",
        ),
        (
            sasl and s.kafka_sasl_mechanism is not None and s.kafka_sasl_password is None,
            "KAFKA_SASL_PASSWORD",
            f"must be set with {s.kafka_sasl_mechanism}",
        ),
        (
            not tls and bool(s.kafka_ssl_cafile or s.kafka_ssl_certfile),
            "KAFKA_SECURITY_PROTOCOL",
            "must be SSL or SASL_SSL where KAFKA_SSL_CAFILE or KAFKA_SSL_CERTFILE is set",
        ),
        (
            s.kafka_ssl_keyfile is not None and s.kafka_ssl_certfile is None,
            "KAFKA_SSL_CERTFILE",
            "must be set with KAFKA_SSL_KEYFILE",
        ),
        (
            not s.bridge_tokens and not is_loopback(s.bridge_host),
            "BRIDGE_TOKENS",
            "must be set where BRIDGE_HOST is not loopback: anyone who reaches the bridge could use the model server",
        ),
        *_same_topics(s),
    )
    return [f"{PREFIX}{name}: {reason}" for wrong, name, reason in rules if wrong]


def is_loopback(host: str) -> bool:
    """Whether a server bound to `host` is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _same_topics(settings: "Settings") -> list[tuple[bool, str, str]]:
    names = ("tokens_topic", "responses_topic", "dead_letters_topic", "controls_topic", "frames_topic")
    topics = [getattr(settings, name) for name in names]
    return [
        (
            topic in topics[:index],
            name.upper(),
            f'must be a topic of its own; "{topic}" is {names[topics.index(topic)].upper()}',
        )
        for index, (name, topic) in enumerate(zip(names, topics, strict=True))
    ]
