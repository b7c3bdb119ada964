"""Detects a regression of the hot path without a clock: counts the core's bytecode instructions per record.

The counts are the same in every run of one Python; `instructions.json` beside this file has them. A change that
alters them deliberately records them again, and shows its cost in the diff:

    PYTHONPATH=.:tests python tests/unit/guards/test_instructions.py
"""

import json
import sys
from pathlib import Path

import pytest

from support.guards import instructions, log_of, relay_all

RECORDED = Path(__file__).with_name("instructions.json")
TOLERANCE = 0.03
OTHER_PYTHON = 0.6
"""The same, where nothing was recorded for this version of Python: its bytecode is another."""
LOADS = {"in batches of 500": 500, "in batches of 20": 20, "one by one": 1}


def per_record(batch: int) -> float:
    records = log_of(responses=20, tokens=100, opened=10)
    return round(instructions(lambda: relay_all(records, batch)) / len(records), 1)


@pytest.mark.parametrize("load", LOADS)
def test_a_record_costs_the_core_what_is_recorded(load: str) -> None:
    recorded = json.loads(RECORDED.read_text())
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    tolerance = TOLERANCE if version in recorded else OTHER_PYTHON
    expected = recorded.get(version, recorded["3.11"])[load]
    counted = per_record(LOADS[load])
    assert counted == pytest.approx(expected, rel=tolerance), (
        f"{counted} instructions a record {load} instead of {expected}; if that is meant, record it: see above"
    )


def test_what_is_counted_is_the_same_each_time() -> None:
    records = log_of(responses=3, tokens=20, opened=3)
    assert instructions(lambda: relay_all(records, 10)) == instructions(lambda: relay_all(records, 10)) > 0


if __name__ == "__main__":
    known = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    known[f"{sys.version_info.major}.{sys.version_info.minor}"] = {load: per_record(LOADS[load]) for load in LOADS}
    RECORDED.write_text(json.dumps(known, indent=2) + "\n")
