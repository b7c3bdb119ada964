"""Writes and reads the `controls` topic. `tests/contract/test_controls.py` tests every implementation against it.

`processor.kafka.controls` writes to Kafka and `topics.controls_reader` reads from it; the simulation has its own.
"""

from typing import NoReturn, Protocol

from topics.controls import ControlRecord


class Controls(Protocol):
    """Where cancels are written."""

    async def connect(self) -> None:
        """Makes ready to write at once. Raises KafkaUnavailable."""

    async def close(self) -> None:
        """Ends its connection, within seconds. It may be written to again."""

    async def write(self, record: ControlRecord) -> None:
        """Returns once the record is acknowledged by all replicas. Raises KafkaUnavailable; the record may be written even so."""


class ControlsSource(Protocol):
    """Where cancels are read: calls the function it was made with for each record, some more than once.

    It begins with the first record that is not older than its lookback. The function is called with the record and its
    age in seconds, which is 0 for one that has just come. A record without a time has the one of its writing. What
    cannot be decoded is left out.
    """

    @property
    def trouble(self) -> str | None:
        """Why controls are not read, as a sentence; None while they are."""

    async def run(self) -> NoReturn:
        """Reads until cancelled, whatever Kafka does."""
