"""Explains why Kafka cannot be reached, so that a person can correct it: aiokafka only logs the reason.

It connects as the client would (connect, TLS, API versions, SASL), to one bootstrap server after another.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from typing import Any

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from processor.kafka.connection import KafkaConnection, TokenUnreadable

ATTEMPT_SECONDS = 5.0

WANTS_CERTIFICATE = (
    "refuses the certificate of this client, or its lack of one:"
    " check TOKENSTREAM_KAFKA_SSL_CERTFILE and _KEYFILE (the right authority, not expired)"
)
OTHER_PROTOCOL = (
    "answers, but not in {protocol}: check TOKENSTREAM_KAFKA_SECURITY_PROTOCOL and the port"
    " (a listener with TLS, or one without)"
)
ALERTS = (
    "ALERT_CERTIFICATE",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_UNKNOWN_CA",
    "CERTIFICATE_REQUIRED",
    "CERTIFICATE_EXPIRED",
)


async def why_unreachable(connection: KafkaConnection) -> str | None:
    """A sentence for each bootstrap server that refuses, never with a secret; None where one lets us in.

    Takes at most `ATTEMPT_SECONDS` for each server; raises nothing.
    """
    wanted = {
        name: value
        for name, value in connection.arguments().items()
        if name in ("security_protocol", "ssl_context") or name.startswith("sasl_")
    }
    servers = collect_hosts(connection.bootstrap_servers, randomize=False)
    reasons = await asyncio.gather(*(_try(host, port, wanted) for host, port, _family in servers))
    if any(reason is None for reason in reasons):
        return None
    return " ".join(
        f"Kafka at {host}:{port} {reason}." for (host, port, _), reason in zip(servers, reasons, strict=True)
    )


async def _try(host: str, port: int, wanted: Mapping[str, Any]) -> str | None:
    try:
        async with asyncio.timeout(ATTEMPT_SECONDS):
            connection = await create_conn(host, port, request_timeout_ms=int(ATTEMPT_SECONDS * 1000), **wanted)
    except Exception as error:  # noqa: BLE001 - whatever it raises, it is why
        return _explain(error, str(wanted.get("security_protocol", "PLAINTEXT")))
    connection.close()
    return None


def _explain(error: Exception, protocol: str) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return (
                f"shows a certificate that is not accepted ({error.verify_message}):"
                " check TOKENSTREAM_KAFKA_SSL_CAFILE, the broker's certificate and the name it is reached by"
            )
        case ssl.SSLError():
            alert = (error.reason or "").upper()
            return (
                WANTS_CERTIFICATE if any(word in alert for word in ALERTS) else OTHER_PROTOCOL.format(protocol=protocol)
            )
        case SaslAuthenticationFailed() | AuthenticationFailedError():
            return (
                f"refuses the credentials ({_said(error)}):"
                " check TOKENSTREAM_KAFKA_SASL_USERNAME, _PASSWORD and _MECHANISM"
            )
        case UnsupportedSaslMechanismError() | IllegalSaslStateError():
            return "does not take this SASL mechanism: check TOKENSTREAM_KAFKA_SASL_MECHANISM, _SECURITY_PROTOCOL and the port"
        case socket.gaierror():
            return "has a name that can't be resolved: check TOKENSTREAM_KAFKA_BOOTSTRAP_SERVERS"
        case TimeoutError():
            return f"does not answer within {ATTEMPT_SECONDS:g} s"
        case TokenUnreadable():
            return f"is not asked, because the token for it can't be read ({_said(error)})"
        case KafkaConnectionError() if isinstance(error.__cause__ or error.__context__, ssl.SSLError):
            return _explain(error.__cause__ or error.__context__, protocol)
        case KafkaConnectionError() | ConnectionResetError() | asyncio.IncompleteReadError():
            return OTHER_PROTOCOL.format(protocol=protocol)
        case OSError():
            return f"can't be connected to ({error.strerror or error})"
        case KafkaError():
            return f"answers with an error ({_said(error)})"
        case _:
            return f"can't be spoken to ({type(error).__name__})"


def _said(error: KafkaError) -> str:
    return " ".join(str(argument) for argument in error.args).rstrip(".") or type(error).__name__
