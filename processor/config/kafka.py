"""Kafka's TLS, and the bounds of records, from settings. Certificates are read at each call."""

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final

from processor.config.sources import PREFIX
from processor.errors import SettingsError

if TYPE_CHECKING:
    from processor.config.settings import Settings

RECORD_ROOM: Final = 1024 * 1024
"""Around the largest response, for the record and its batch."""


def response_record_bytes(settings: "Settings") -> int:
    """The largest record that a relay writes to `responses`, with its batch."""
    return settings.max_response_bytes + RECORD_ROOM


def responses_batch_bytes(settings: "Settings") -> int:
    """The bound for batches of `responses`, decompressed: never less than what relays write there."""
    return max(settings.max_batch_bytes, response_record_bytes(settings))


def ssl_context(settings: "Settings") -> ssl.SSLContext:
    """Raises SettingsError where a file is unreadable or holds no certificate or key."""
    try:
        # With a file of authorities only those are trusted; without, the system's.
        context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError([_bad_file("KAFKA_SSL_CAFILE", settings.kafka_ssl_cafile, "certificate", error)]) from error
    if settings.kafka_ssl_certfile is not None:
        # An empty password where none is given: OpenSSL would ask on the terminal.
        password = settings.current_secret("kafka_ssl_key_password") or ""
        try:
            context.load_cert_chain(settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile, lambda: password)
        except OSError as error:
            raise SettingsError([_bad_chain(settings, error)]) from error
    return context


def _bad_chain(settings: "Settings", error: OSError) -> str:
    certfile, keyfile = settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile
    if isinstance(error, ssl.SSLError) or keyfile is None:
        return _bad_file("KAFKA_SSL_CERTFILE", certfile, "certificate with its key (or its password is wrong)", error)
    name, path = ("KAFKA_SSL_KEYFILE", keyfile) if certfile and certfile.is_file() else ("KAFKA_SSL_CERTFILE", certfile)
    return _bad_file(name, path, "certificate or key", error)


def _bad_file(name: str, path: Path | None, expected: str, error: OSError) -> str:
    why = f"it holds no valid {expected}" if isinstance(error, ssl.SSLError) else error.strerror or type(error).__name__
    return f"{PREFIX}{name}: can't use {path}: {why}"
