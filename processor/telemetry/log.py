"""Configures logging: events with fields, one line each, on one stream; never a key, never token text.

Our own code logs through structlog, libraries through the standard library; both have the same output.
A message of a library that quotes what it sends, as the client of a realtime service may, is cut before the first
payload, and limited to warnings. No library is logged below info: at debug they write statements with their values,
headers and whole requests.
"""

import json
import logging
import re
import traceback
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED: Final = "[redacted]"
_SECRET_FIELDS: Final = re.compile(
    r"(?i)(^|_)(key|password|secret|authorization|api_?key|access_?token|bearer|jwt|credentials?)$"
)
_SECRETS: Final = (
    (re.compile(r"(://[^/\s:@]*:)[^/\s@]+@"), rf"\1{REDACTED}@"),
    (re.compile(r"\b([\w-]{3,}\.[\w-]{3,}:)[\w+/=-]{16,}"), rf"\1{REDACTED}"),
    (re.compile(r"(?i)\b((?:key|password|secret|access_?token|token|client_secret)=)[^&\s\"',;)]+"), rf"\1{REDACTED}"),
    (re.compile(r"(?i)\b((?:bearer|basic) )[\w.~+/=-]{8,}"), rf"\1{REDACTED}"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), REDACTED),
)
_ADDRESSES: Final = (
    re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s,;)]+", re.IGNORECASE),
    re.compile(r"'[^']*'|\"[^\"]*\""),
    re.compile(r"\[?\b[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}\]?(?::\d+)?", re.IGNORECASE),
    re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"),
    re.compile(r"\b[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?:\d{2,5}\b", re.IGNORECASE),
    re.compile(r"\b[a-z_][a-z0-9_-]*(?:\.[a-z0-9_-]+)+\b", re.IGNORECASE),
    re.compile(r"(?<![\w/])/[\w.-]+(?:/[\w.-]+)+"),
)
_COORDINATOR_NOT_AVAILABLE: Final = 15
_COORDINATOR_PATIENCE: Final = 15.0
_PAYLOAD_BEGINS: Final = re.compile(r"[\[{<\n]|b['\"]")
_LONGEST_FOREIGN: Final = 300
_FRAMES: Final = 12
_HTTP_SERVER: Final = "aiohttp.server"
# Below these levels the libraries write payloads, credentials, or a line for each request.
_LEAST_LEVELS: Final = {
    "aiohttp.access": logging.WARNING,
    "alembic": logging.WARNING,
    "aiokafka": logging.INFO,
    "aiohttp": logging.INFO,
    "asyncio": logging.INFO,
    "botocore": logging.WARNING,
    "faust": logging.INFO,
    "httpcore": logging.WARNING,
    "httpx": logging.WARNING,
    "mode": logging.INFO,
    "sqlalchemy": logging.WARNING,
    "websockets": logging.WARNING,
}


def configure_logging(
    level: str,
    format: str | None,  # noqa: A002 - the setting's name
    stream: TextIO,
    *,
    secrets: Iterable[str] = (),
    quoting: Collection[str] = (),
) -> None:
    """Send everything at `level` (`debug` to `error`) and above to `stream`, as `json` or for the `console`.

    None as the format means console where `stream` is a terminal, and json elsewhere. `secrets` are struck out
    wherever they appear, besides what looks like a key, a token or a password; it may grow, and must not be an
    iterator. `quoting` names the loggers of libraries that write credentials and messages at info.
    Called again, it replaces what it did before.
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    before: tuple[Processor, ...] = (
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    )
    console = format == "console" or (format is None and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.addFilter(_is_ours_or_no_debugging)
    handler.addFilter(_PayloadCut(frozenset(quoting)))
    handler.addFilter(_GroupBeginnings())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _Redaction(secrets),
                structlog.dev.ConsoleRenderer(colors=stream.isatty(), timestamp_key="time")
                if console
                else _render_json,
            ],
        )
    )
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old.formatter, structlog.stdlib.ProcessorFormatter)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(least)
    for name, floor in {**_LEAST_LEVELS, **dict.fromkeys(quoting, logging.WARNING)}.items():
        logging.getLogger(name).setLevel(max(least, floor))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # so that a later call reaches loggers that exist already
    )


def where(error: BaseException | None) -> list[str]:
    """The frames an error passed, innermost last, without its words: those may quote text or credentials."""
    trace = error.__traceback__ if error is not None else None
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace, limit=-_FRAMES)]


def redact(text: str) -> str:
    """`text` with what looks like a credential struck out: keys of services, passwords in URLs, bearer tokens, JWTs."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def without_addresses(text: str) -> str:
    """`text` without what names other systems: URLs, hosts, ports, quoted words of drivers, paths."""
    for pattern in _ADDRESSES:
        text = pattern.sub("[...]", text)
    return text


class _Redaction:
    """The last step before rendering, so that tracebacks and library messages pass through it too.

    `secrets` is asked for each event: a secret that is read again later is struck out from then on.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = secrets

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {name: self._clean(name, value) for name, value in event.items()}

    def _clean(self, name: str, value: object) -> object:
        if value is None or isinstance(value, bool | int | float):
            return value
        if _SECRET_FIELDS.search(name):
            return REDACTED
        if isinstance(value, Mapping):
            return {str(inner): self._clean(str(inner), item) for inner, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._clean("", item) for item in value]
        return self._strike(str(value))

    def _strike(self, text: str) -> str:
        for secret in self._secrets:
            if secret and secret in text:
                text = text.replace(secret, REDACTED)
        return redact(text)


def _is_ours_or_no_debugging(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.INFO or hasattr(record, "_logger")  # structlog's mark on its events


class _PayloadCut:
    """Cuts messages of quoting libraries and of the HTTP server before the first possible part of a message or
    request, and keeps only the type of their exceptions.

    Warnings of a quoting library become info: our own events and metrics report their consequences.
    """

    def __init__(self, quoting: frozenset[str]) -> None:
        self._quoting = quoting

    def __call__(self, record: logging.LogRecord) -> bool:
        quotes = record.name.partition(".")[0] in self._quoting
        if quotes:
            record.levelno, record.levelname = logging.INFO, "INFO"
        if quotes or record.name == _HTTP_SERVER:
            words = _PAYLOAD_BEGINS.split(record.getMessage(), maxsplit=1)[0][:_LONGEST_FOREIGN].strip()
            cause = record.exc_info[0] if record.exc_info else None
            record.msg = f"{words} ({cause.__name__})" if cause else words
            record.args = record.exc_info = record.exc_text = record.stack_info = None
        return record.levelno >= logging.getLogger().level


class _GroupBeginnings:
    """Hides what aiokafka logs while a group finds its coordinator: a new cluster creates the topic of its groups
    first.

    Shows it once it goes on for longer than `_COORDINATOR_PATIENCE` seconds.
    """

    def __init__(self) -> None:
        self._since = self._last = float("-inf")

    def __call__(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("aiokafka.") or not _is_about_a_coordinator(record):
            return True
        if record.created - self._last > _COORDINATOR_PATIENCE:
            self._since = record.created
        self._last = record.created
        return record.created - self._since > _COORDINATOR_PATIENCE


def _is_about_a_coordinator(record: logging.LogRecord) -> bool:
    if str(record.msg).startswith("Marking the coordinator dead"):
        return True
    first = record.args[0] if isinstance(record.args, tuple) and record.args else None
    return getattr(first, "errno", None) == _COORDINATOR_NOT_AVAILABLE


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    ordered: dict[str, Any] = {
        name: event[name] for name in ("time", "level", "logger", "event") if name in event
    } | dict(event)
    try:
        return orjson.dumps(ordered).decode()
    except TypeError:  # a lone surrogate, or a number beyond 64 bits
        return json.dumps(ordered, default=str)
