"""Detects a regression of the hot path without a clock: counts the core's bytecode instructions per record.

The counts are the same in every run of one Python; `instructions.json` beside this file has them. A change that
alters them deliberately records them again, and shows its cost in the diff:

    PYTHONPATH=.:tests python tests/unit/guards/test_instructions.py
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.guards import ROOT, instructions, log_of, relay_all

RECORDED = Path(__file__).with_name("instructions.json")
TOLERANCE = 0.03
OTHER_PYTHON = 0.6
"""The same, where nothing was recorded for this version of Python: its bytecode is another."""
LOADS = {"in batches of 500": 500, "in batches of 20": 20, "one by one": 1}
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def per_record(batch: int) -> float:
    records = log_of(responses=20, tokens=100, opened=10)
    return round(instructions(lambda: relay_all(records, batch)) / len(records), 1)


def counted(*arguments: str) -> str:
    """Returns what this file prints in a process of its own: counting takes the place of the trace that measures coverage."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.costly
def test_a_record_costs_the_core_what_is_recorded() -> None:
    recorded = json.loads(RECORDED.read_text())
    tolerance = TOLERANCE if VERSION in recorded else OTHER_PYTHON
    expected = recorded.get(VERSION, recorded["3.11"])
    assert json.loads(counted("count")) == pytest.approx(expected, rel=tolerance), (
        "instructions a record; if the difference is meant, record it: see above"
    )


@pytest.mark.costly
def test_what_is_counted_is_the_same_each_time() -> None:
    first, second = json.loads(counted("twice"))
    assert first == second > 0


def main(wanted: str) -> None:
    match wanted:
        case "count":
            print(json.dumps({load: per_record(batch) for load, batch in LOADS.items()}))
        case "twice":
            records = log_of(responses=3, tokens=20, opened=3)
            print(json.dumps([instructions(lambda: relay_all(records, 10)) for _ in range(2)]))
        case "record":
            known = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
            known[VERSION] = {load: per_record(batch) for load, batch in LOADS.items()}
            RECORDED.write_text(json.dumps(known, indent=2) + "\n")
        case _:
            raise SystemExit(f"unknown: {wanted}. Give count, twice or record.")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "record")
