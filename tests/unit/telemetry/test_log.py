"""Everything logged leaves as one line with fields, and no credential with it."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from processor.telemetry.log import REDACTED, configure_logging, redact, where

KEY = "xVLyHw.AbCdEf:0123456789-abcdefghij_KLMNOP"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {
        name: logger.level for name, logger in root.manager.loggerDict.items() if isinstance(logger, logging.Logger)
    }
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, logger in root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger):
            logger.setLevel(levels.get(name, logging.NOTSET))
    structlog.reset_defaults()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def fail(error: Exception) -> None:
    raise error


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_its_fields(stream: io.StringIO) -> None:
    configure_logging("info", "json", stream)
    structlog.get_logger("processor.ably").warning("publish_failed", code=42911, attempt=3)
    (line,) = lines(stream)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "processor.ably",
        "event": "publish_failed",
        "code": 42911,
        "attempt": 3,
    }


def test_the_standard_library_leaves_the_same_way(stream: io.StringIO) -> None:
    configure_logging("info", "json", stream)
    logging.getLogger("aiokafka.client").info("Joined group %s", "tokenstream")
    (line,) = lines(stream)
    assert (line["logger"], line["event"], line["level"]) == ("aiokafka.client", "Joined group tokenstream", "info")


def test_what_is_below_the_level_is_not_written(stream: io.StringIO) -> None:
    configure_logging("warning", "json", stream)
    structlog.get_logger("x").info("no")
    logging.getLogger("faust").info("no")
    structlog.get_logger("x").error("yes")
    assert [line["event"] for line in lines(stream)] == ["yes"]


def test_configured_again_it_replaces_what_it_did(stream: io.StringIO) -> None:
    logger = structlog.get_logger("x")
    configure_logging("info", "json", io.StringIO())
    logger.info("first")
    configure_logging("debug", "json", stream)
    logger.debug("second")
    assert [line["event"] for line in lines(stream)] == ["second"]


def test_none_is_json_off_a_terminal_and_console_on_one(stream: io.StringIO) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    configure_logging("info", None, stream)
    structlog.get_logger("x").info("event")
    assert lines(stream)[0]["event"] == "event"
    terminal = Terminal()
    configure_logging("info", None, terminal)
    structlog.get_logger("x").info("event", code=1)
    assert "event" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")


def test_the_sdk_is_held_at_warnings_even_when_debugging(stream: io.StringIO) -> None:
    configure_logging("debug", "json", stream, quoting=("ably",))
    sdk = logging.getLogger("ably.transport.websockettransport")
    sdk.info(f"ws_connect(): {KEY}")
    sdk.debug("payload")
    sdk.warning("DISCONNECTED message received without error")
    assert [line["event"] for line in lines(stream)] == ["DISCONNECTED message received without error"]


def test_the_sdks_complaints_are_no_warnings_of_ours(stream: io.StringIO) -> None:
    sdk = logging.getLogger("ably.realtime.connectionmanager")
    for level in ("info", "warning"):
        configure_logging(level, "json", stream, quoting=("ably",))
        sdk.error("Failed to send protocol message")
    assert [line["level"] for line in lines(stream)] == ["info"]


def test_no_library_is_heard_below_info_known_or_not(stream: io.StringIO) -> None:
    configure_logging("debug", "json", stream)
    for name in ("aiosqlite", "asyncpg", "a_library_of_tomorrow", "urllib3.connectionpool"):
        logging.getLogger(name).debug("executing INSERT, ('the answer',)")
    structlog.get_logger("processor.archive").debug("ours", rows=3)
    assert [line["event"] for line in lines(stream)] == ["ours"]


def test_what_the_http_library_quotes_of_a_request_is_cut_off(stream: io.StringIO) -> None:
    configure_logging("debug", "json", stream)
    server = logging.getLogger("aiohttp.server")
    try:
        fail(ValueError("X-Api-Key: hunter2"))
    except ValueError:
        server.exception("Error handling request from %s", "127.0.0.1")
    assert "hunter2" not in stream.getvalue()
    assert [line["event"] for line in lines(stream)] == ["Error handling request from 127.0.0.1 (ValueError)"]


def test_secrets_that_are_learnt_later_are_struck_out_from_then_on(stream: io.StringIO) -> None:
    secrets = ["first-one"]
    configure_logging("info", "json", stream, secrets=secrets)
    secrets.append("second-one")
    structlog.get_logger("x").info("event", words="first-one and second-one")
    assert lines(stream)[0]["words"] == "[redacted] and [redacted]"


def test_where_an_error_was_raised_is_told_without_its_words() -> None:
    try:
        fail(ValueError("the answer"))
    except ValueError as error:
        frames = where(error)
    assert frames[-1].endswith(" fail")
    assert "answer" not in str(frames)


def test_the_sdks_payloads_are_cut_off(stream: io.StringIO) -> None:
    configure_logging("info", "json", stream, quoting=("ably",))
    sdk = logging.getLogger("ably.realtime.channel")
    sdk.error("Message processing error x. Skip messages [{'data': 'the answer'}]")
    sdk.error("Failed: %s", {"data": "the answer"})
    try:
        fail(ValueError("the answer"))
    except ValueError:
        sdk.exception("uncaught exception")
    assert "answer" not in stream.getvalue()
    assert [line["event"] for line in lines(stream)] == [
        "Message processing error x. Skip messages",
        "Failed:",
        "uncaught exception (ValueError)",
    ]


@pytest.mark.parametrize("format_name", ["json", "console"])
def test_no_key_is_written_wherever_it_stands(stream: io.StringIO, format_name: str) -> None:
    configure_logging("info", format_name, stream, secrets=["hunter22"])
    logger = structlog.get_logger("x")
    logger.info(
        f"connecting with {KEY}",  # noqa: G004
        ably_key="short",
        nested={"list": [KEY], "password": "short"},
        error=ValueError(KEY),
    )
    logger.info("url", url="wss://h/?v=3&key=short.k:short&format=json", store="postgresql://user:short@h/db")
    logger.info("headers", authorization="Basic short", text="Authorization: Bearer short-token")
    logger.info("known", text="the password is hunter22, really")
    logging.getLogger("aiohttp").warning("GET /v1/x?access_token=short %s", "eyJhbGciOi.eyJleHAi.short")
    try:
        fail(RuntimeError(f"can't use {KEY}"))
    except RuntimeError:
        logger.exception("failed")
    out = stream.getvalue()
    assert "short" not in out
    assert "0123456789" not in out
    assert "hunter22" not in out
    assert out.count(REDACTED) >= 12


def test_the_rest_of_a_line_stays_readable() -> None:
    assert redact("wss://h/?key=a.b:c&format=json") == f"wss://h/?key={REDACTED}&format=json"
    assert redact("postgresql://user:pass@host/db") == f"postgresql://user:{REDACTED}@host/db"
    assert redact(f"key {KEY} refused") == f"key xVLyHw.AbCdEf:{REDACTED} refused"
    for harmless in ("chat:42", "localhost:9092 tokens=5", "https://app.example:8443/x", "2026-01-01T10:00:00.123Z"):
        assert redact(harmless) == harmless


def test_an_exception_is_written_with_its_traceback_and_no_locals(stream: io.StringIO) -> None:
    configure_logging("info", "json", stream)
    local = "the answer"
    try:
        fail(RuntimeError("boom"))
    except RuntimeError:
        structlog.get_logger("x").exception("failed")
    assert "RuntimeError: boom" in lines(stream)[0]["exception"]
    assert local not in stream.getvalue()


def test_what_json_cannot_hold_is_written_all_the_same(stream: io.StringIO) -> None:
    configure_logging("info", "json", stream)
    structlog.get_logger("x").info("odd", number=10**30, half="\ud83d", thing=object, many={"a"})
    (line,) = lines(stream)
    assert (line["number"], line["half"], line["many"]) == (10**30, "\ud83d", ["a"])
