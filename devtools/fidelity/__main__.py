"""`python -m devtools.fidelity --suites DIR`: runs Ably's suites against the emulator, writes docs/results/fidelity.md."""

import argparse
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from devtools.fidelity.reasons import Kind, reason_of
from devtools.fidelity.report import commits_of, write
from devtools.fidelity.results import Outcome, read
from devtools.fidelity.suites import SUITES, Suite

DOCUMENT = Path(__file__).parents[2] / "docs" / "results" / "fidelity.md"
STARTED_WITHIN = 300.0


def main() -> int:
    options = _options()
    directory: Path = options.suites.resolve()
    reports = directory / "reports"
    reports.mkdir(exist_ok=True)
    outcomes: list[Outcome] = []
    unfinished: dict[str, str] = {}
    sandbox = _sandbox(directory / "certificate", options.port, wanted=not options.report_only)
    files = [(suite, file) for suite in SUITES for file in suite.files]
    with sandbox, ThreadPoolExecutor(options.jobs) as pool:
        for found, missing in pool.map(lambda each: _run(each[0], each[1], directory, reports, options), files):
            outcomes += found
            unfinished |= missing
    commits = {suite.name: suite.found_commit(directory) for suite in SUITES}
    for difference in commits_of(commits):
        print(difference)
    DOCUMENT.write_text(write(outcomes, commits, unfinished, datetime.now(UTC).date().isoformat()))
    unexplained = [each for each in outcomes if each.failure and reason_of(each).kind is Kind.UNEXPLAINED]
    for each in unexplained:
        print(f"unexplained: {each.suite} {each.file} {each.test}: {each.failure[:300]}")
    failed = sum(bool(each.failure) for each in outcomes)
    print(f"{len(outcomes)} tests, {failed} failed, {len(unexplained)} of them unexplained: see {DOCUMENT.name}")
    return 1 if unexplained or unfinished else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m devtools.fidelity", description=__doc__)
    parser.add_argument("--suites", type=Path, required=True, help="where ably-js, ably-python and venv are")
    parser.add_argument("--port", type=int, default=443)
    parser.add_argument("--jobs", type=int, default=4, help="files at a time: most of their time is waiting")
    parser.add_argument("--only", default="", help="files whose name contains this; the others' last reports are kept")
    parser.add_argument("--report-only", action="store_true", help="run nothing: read the last reports")
    return parser.parse_args()


def _run(
    suite: Suite, file: str, directory: Path, reports: Path, options: argparse.Namespace
) -> tuple[list[Outcome], dict[str, str]]:
    report = reports / f"{suite.name}-{file.replace('/', '-')}.xml"
    why = None
    if not options.report_only and options.only in f"{suite.name}/{file}":
        report.unlink(missing_ok=True)
        began = time.monotonic()
        why = suite.run(directory, file, report, directory / "certificate" / "certificate.pem", options.port)
        print(f"{suite.name} {file}: {why or 'done'} in {time.monotonic() - began:.0f} s", flush=True)
    if not report.exists():
        return [], {f"{suite.name} {file}": why or "not run"}
    return read(suite.name, file, report), {}


@contextmanager
def _sandbox(certificate: Path, port: int, *, wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    command = [
        sys.executable,
        "-m",
        "devtools.fidelity.sandbox",
        "--port",
        str(port),
        "--certificate",
        str(certificate),
    ]
    process = subprocess.Popen(command)
    try:
        _await_start(process)
        yield
    finally:
        process.terminate()
        process.wait(60)


def _await_start(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + STARTED_WITHIN
    while True:
        if process.poll() is not None:
            raise SystemExit(
                "the sandbox did not start: are ports 80 and 443 free, and is there leave to listen on them?"
            )
        try:
            urllib.request.urlopen("http://localhost:80/time", timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


if __name__ == "__main__":
    sys.exit(main())
