"""`python unfiltered.py ROLE`: the product with the standard library's plain logging in place of its own.

It is the control: with this logging the canaries must be found.
"""

import logging
from collections.abc import Collection, Iterable
from typing import TextIO

import structlog

import processor.telemetry.log


def configure_plainly(
    level: str,
    format: str | None,  # noqa: A002 - the name of what it replaces
    stream: TextIO,
    *,
    secrets: Iterable[str] = (),
    quoting: Collection[str] = (),
) -> None:
    del format, secrets, quoting
    logging.basicConfig(level=level.upper(), stream=stream)
    structlog.configure(logger_factory=structlog.stdlib.LoggerFactory())


processor.telemetry.log.configure_logging = configure_plainly

from processor.cli.main import main  # noqa: E402 - after the exchange

main()
