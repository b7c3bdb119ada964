"""`python unfiltered.py ROLE`, with `tests` on its path: the product with the standard library's plain logging.

It is the control: with this logging the canaries must be found.
"""

import logging
from collections.abc import Collection, Iterable
from typing import TextIO

import structlog

from simulation.planted import plant
from simulation.plants import Plant

PLAINLY = Plant(
    "logs without a filter",
    1,
    "processor.cli.main",
    (
        (
            "from processor.telemetry.log import configure_logging",
            "from __main__ import configure_plainly as configure_logging",
        ),
    ),
)


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


if __name__ == "__main__":
    plant(PLAINLY)
    from processor.cli.main import main

    main()
