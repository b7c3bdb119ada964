"""What every command needs: settings, an event loop, and printing that makes text from a model harmless."""

import json
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # both take a moment to import, which `--help` need not wait for
    from rich.console import Console

    from processor.config.settings import Settings

EXIT_FAILED = 1
EXIT_SETTINGS = 2
# A table that is not for a terminal is as wide as it needs to be.
WIDE = 1_000

Config = Annotated[
    Path | None,
    typer.Option("--config", help="File of settings (TOML, or NAME=value lines); the environment wins over it."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


def read_settings(config: Path | None, *, require_ably: bool = False) -> "Settings":
    from processor.config.loading import load_settings

    return load_settings(os.environ, config, require_ably=require_ably)


def run_async(work: Coroutine[Any, Any, None]) -> None:
    import uvloop

    uvloop.run(work)


def quiet_logs() -> None:
    """Configures logging for commands that a person reads: our errors report failures in one sentence, and library
    logs are off.
    """
    import logging

    logging.disable(logging.CRITICAL)


def console() -> "Console":
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False, markup=False, soft_wrap=False)


def visible(text: str) -> str:
    """The text with its control characters shown, but for newlines and tabs: what a terminal would obey, it shows."""
    if text.isprintable():
        return text
    return "".join(character if character in "\n\t" else _shown(character) for character in text)


def _shown(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return "\ufffd" if _controls(code) else character


def _controls(code: int) -> bool:
    """Whether a character beyond ASCII controls a terminal (C1, DEL), reverses what people read, or is no character."""
    return 0x7F <= code < 0xA0 or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069 or 0xD800 <= code < 0xE000


def escaped(line: str) -> str:
    """JSON with those characters escaped. It means the same."""
    return "".join(f"\\u{ord(c):04x}" if _controls(ord(c)) else c for c in line)


def print_json(fields: object) -> None:
    """One line. Escaped beyond ASCII's printable characters only where they are no valid text or control the terminal."""
    print(escaped(json.dumps(fields, ensure_ascii=False, default=str)))


def when(milliseconds: int | None) -> str:
    """A moment as people read it, in UTC."""
    from datetime import UTC, datetime

    if milliseconds is None:
        return ""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError):  # later than the year 9999
        return f"{milliseconds} ms"
