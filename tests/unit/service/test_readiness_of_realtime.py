"""Readiness reports a realtime service that does not answer by name, and no process is restarted for it."""

from dataclasses import dataclass

import pytest

from processor.service.service import realtime_trouble


@dataclass
class Publishing:
    refused: str | None = None
    links: int = 1
    stands: str | None = None

    def refusal(self) -> str | None:
        return self.refused

    def connected(self) -> int:
        return self.links

    def standstill(self) -> str | None:
        return self.stands


@pytest.mark.parametrize(
    ("publishing", "expected"),
    [
        (Publishing(), None),
        (Publishing(stands="answered nothing"), "answered nothing"),
        (Publishing("refused", stands="answered nothing"), "refused"),
        (Publishing(links=0, stands="answered nothing"), "no connection to the realtime service is up"),
        (Publishing("refused", links=0), "refused"),
    ],
)
def test_readiness_names_why_nothing_is_published(publishing: Publishing, expected: str | None) -> None:
    assert realtime_trouble(publishing) == expected
