"""A real broker behind TLS and SASL, with certificates made for the run: good, expired, and of an authority nobody trusts."""

import base64
import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from devtools.kafka import LocalKafka

PASSWORD = "a-password"
KEY_PASSWORD = "of-the-key"
PLAIN = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_relay="a-password";'
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
BEARER = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;"
USERS = 'user_operator="o" user_relay="r" user_stranger="s"'
AUTHORIZED = {
    "listener.name.client.sasl.enabled.mechanisms": "PLAIN",
    "listener.name.client.plain.sasl.jaas.config": (
        f"org.apache.kafka.common.security.plain.PlainLoginModule required {USERS};"
    ),
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:operator;User:ANONYMOUS",  # the broker itself and its tools are anonymous
}
"""Properties of a broker with a listener CLIENT (SASL_PLAINTEXT) whose users may do what an operator granted them."""
PROTOCOLS = {"TLS": "SSL", "MUTUAL": "SSL", "EXPIRED": "SSL", "SASL": "SASL_SSL", "BEARER": "SASL_SSL"}


@dataclass(frozen=True)
class Certificates:
    """PEM files. `client` is a certificate; its key is in `client_key`, encrypted with KEY_PASSWORD."""

    authority: Path
    strangers_authority: Path
    server: Path
    expired_server: Path
    client: Path
    client_key: Path
    stranger: Path
    expired_client: Path


def make_certificates(directory: Path) -> Certificates:
    authority, stranger = trustme.CA(), trustme.CA()
    long_ago = dt.datetime.now(tz=dt.UTC) - dt.timedelta(days=30)
    past: dict[str, Any] = {"not_before": long_ago, "not_after": long_ago + dt.timedelta(days=1)}
    server = authority.issue_cert("127.0.0.1")
    client = authority.issue_cert("relay@example.org", common_name="relay")
    files = {
        "authority": authority.cert_pem.bytes(),
        "strangers_authority": stranger.cert_pem.bytes(),
        "server": together(server),
        "expired_server": together(authority.issue_cert("127.0.0.1", **past)),
        "client": client.cert_chain_pems[0].bytes(),
        "client_key": private_key(client, KEY_PASSWORD),
        "stranger": together(stranger.issue_cert("relay@example.org", common_name="relay")),
        "expired_client": together(authority.issue_cert("relay@example.org", common_name="relay", **past)),
    }
    paths = {name: directory / f"{name}.pem" for name in files}
    for name, pem in files.items():
        paths[name].write_bytes(pem)
    return Certificates(**paths)


def together(certificate: trustme.LeafCert) -> bytes:
    """Key and chain in one file, as Kafka and OpenSSL both read them."""
    return private_key(certificate) + b"".join(pem.bytes() for pem in certificate.cert_chain_pems)


def private_key(certificate: trustme.LeafCert, password: str | None = None) -> bytes:
    """As PKCS 8, the only form that Kafka reads."""
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def secured_kafka(certificates: Certificates) -> LocalKafka:
    def of(listener: str, name: str, value: str) -> dict[str, str]:
        return {f"listener.name.{listener.lower()}.{name}": value}

    properties: dict[str, str] = {}
    for listener in PROTOCOLS:
        server = certificates.expired_server if listener == "EXPIRED" else certificates.server
        properties |= of(listener, "ssl.keystore.type", "PEM")
        properties |= of(listener, "ssl.keystore.location", str(server))
        properties |= of(listener, "ssl.truststore.type", "PEM")
        properties |= of(listener, "ssl.truststore.location", str(certificates.authority))
    properties |= of("MUTUAL", "ssl.client.auth", "required")
    properties |= of("SASL", "sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512")
    properties |= of("SASL", "plain.sasl.jaas.config", PLAIN)
    properties |= of("SASL", "scram-sha-256.sasl.jaas.config", SCRAM)
    properties |= of("SASL", "scram-sha-512.sasl.jaas.config", SCRAM)
    properties |= of("BEARER", "sasl.enabled.mechanisms", "OAUTHBEARER")
    properties |= of("BEARER", "oauthbearer.sasl.jaas.config", BEARER)
    users = [f"{mechanism}=[name=relay,password={PASSWORD}]" for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")]
    return LocalKafka(
        extra_listeners=PROTOCOLS,
        extra_properties=properties,
        format_arguments=[word for user in users for word in ("--add-scram", user)],
    )


def bearer_token(seconds: float = 3600) -> str:
    """An unsigned JWT: what a broker takes that was given no keys to check signatures with."""
    now = dt.datetime.now(tz=dt.UTC).timestamp()
    claims: Mapping[str, object] = {"sub": "relay", "iat": int(now), "exp": int(now + seconds)}
    parts = ({"alg": "none"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."
