"""What tests assert of a lab."""

from pathlib import Path
from typing import Any

from devtools.lab import Lab

ROOT = Path(__file__).resolve().parents[2]


def assert_faultless(lab: Lab) -> None:
    """Nothing lost, out of order or unfinished; nothing repeated, not even as published."""
    verdict = lab.verdict()
    assert verdict.perfect, verdict


async def ended(lab: Lab, response_ids: set[str]) -> dict[str, Any]:
    """The newest records, once each of these responses has its last; for `eventually`."""
    records = await lab.records()
    assert all(records.get(response_id, {}).get("finishedAt") for response_id in response_ids)
    return records
