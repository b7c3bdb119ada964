"""What is derived from the code is up to date in every document."""

import subprocess
import sys
from pathlib import Path

from topics.records import Reason

ROOT = Path(__file__).parents[3]


def test_all_documents_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "devtools.documents", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"run `make documents`:\n{done.stdout}{done.stderr}"


def test_every_reason_of_a_dead_letter_has_its_meaning_and_what_to_do() -> None:
    assert [reason for reason in Reason if not reason.meaning or not reason.remedy] == []
