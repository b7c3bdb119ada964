"""`python -m devtools.faultlab`: run the rows, each in a process of its own, and write the report. Ends with 1 when one failed."""

import argparse
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from devtools.children import tied
from devtools.faultlab.direct_rows import DIRECT_ROWS, DirectRow
from devtools.faultlab.direct_running import run_direct
from devtools.faultlab.report import MIN_SAMPLES, facts, render
from devtools.faultlab.results import Result, load, save
from devtools.faultlab.rows import ROWS as ABLY_ROWS
from devtools.faultlab.rows import AblyRow, Row
from devtools.faultlab.running import run
from devtools.faultlab.stand import KAFKA_DEADLINE
from devtools.kafka import LocalKafka
from devtools.process import logs

TREE = Path(__file__).resolve().parents[2]
CACHE = TREE / ".cache" / "faults"
ROWS: tuple[Row, ...] = (*ABLY_ROWS, *DIRECT_ROWS)
OUT = TREE / "docs" / "results" / "reliability.md"


def main() -> int:
    options = _options()
    if options.row:
        row = next(row for row in ROWS if row.name == options.row)
        result = _run(row, options)
        save(result, options.cache)
        _keep_logs(options.cache / f"{row.name}.logs")
        _tell(row, result)
        return 0 if result.passes(exact=row.exact) else 1
    rows = _chosen(options)
    waiting = [row for row in rows if not (options.resume and _has_passed(row, options.cache))]
    if not options.report and waiting:
        # Nothing kills this one; on a busy machine two seconds of silence would fence it.
        kafka = LocalKafka(extra_properties={"broker.session.timeout.ms": "30000"})
        try:
            kafka.start_blocking(deadline=KAFKA_DEADLINE)
            with ThreadPoolExecutor(options.jobs) as pool:
                list(pool.map(lambda row: _in_a_process(row, options, kafka.bootstrap), waiting))
        finally:
            kafka.close_blocking()
    return _report(options)


def _run(row: Row, options: argparse.Namespace) -> Result:
    match row:
        case AblyRow():
            return run(row, plain=not options.no_plain, bootstrap=options.bootstrap)
        case DirectRow():
            return run_direct(row, options.bootstrap)
    raise TypeError(f"{row.name} is a row of no kind that can be run")


def _keep_logs(directory: Path) -> None:
    """Copies what the row's processes logged, in place of what an earlier run left."""
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(logs().name, directory)


def _has_passed(row: Row, cache: Path) -> bool:
    found = load(row.name, cache)
    return found is not None and found.passes(exact=row.exact)


def _report(options: argparse.Namespace) -> int:
    results = {row.name: load(row.name, options.cache) for row in ROWS}
    measured = results["memory"]
    if measured is not None and len(measured.samples) >= MIN_SAMPLES:
        from devtools.faultlab.charts import draw_memory  # matplotlib takes long to import, and rows don't need it

        draw_memory(measured.samples, options.out.parent.parent / "images" / "reliability-memory.svg")
    options.out.write_text(render(ROWS, results, facts(options.note)))
    print(f"Written: {options.out}")
    failed = [
        row.name
        for row in _chosen(options)
        if (found := results[row.name]) is None or not found.passes(exact=row.exact)
    ]
    for name in failed:
        print(f"FAILED: {name}")
    return 1 if failed else 0


def _chosen(options: argparse.Namespace) -> list[Row]:
    known = {row.name for row in ROWS}
    unknown = options.only - known
    if unknown:
        raise SystemExit(f"No row is called {', '.join(sorted(unknown))}. Rows: {', '.join(sorted(known))}")
    return [row for row in ROWS if (row.name in options.only or not options.only) and (row.quick or not options.quick)]


def _in_a_process(row: Row, options: argparse.Namespace, bootstrap: str) -> None:
    """Writes its output to a file beside its result. A row that breaks leaves a result with that."""
    options.cache.mkdir(parents=True, exist_ok=True)
    (options.cache / f"{row.name}.json").unlink(missing_ok=True)
    log = options.cache / f"{row.name}.log"
    command = [
        *tied(),
        *options.under,
        sys.executable,
        "-m",
        "devtools.faultlab",
        "--row",
        row.name,
        "--bootstrap",
        bootstrap,
    ]
    command += ["--cache", str(options.cache)]
    if options.no_plain:
        command.append("--no-plain")
    print(f"{row.name} ...", flush=True)
    with log.open("w") as words:
        ended = subprocess.run(command, stdout=words, stderr=subprocess.STDOUT, check=False)
    result = load(row.name, options.cache)
    if result is None:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-3:])
        result = Result(row.name, not_run=f"the lab itself broke ({ended.returncode}), see {log.name}: {tail}")
        save(result, options.cache)
    _tell(row, result)


def _tell(row: Row, result: Result) -> None:
    print(
        f"{'ok    ' if result.passes(exact=row.exact) else 'FAILED'} {row.name}, {result.seconds} s {result.not_run or ''}"
    )
    for name, counts in result.counts.items():
        recovery = (
            "-" if not counts.recovery_measured else "never" if counts.recovery is None else f"{counts.recovery:.1f} s"
        )
        print(
            f"       {name}: {counts.tokens} tokens, {counts.out_of_order} out of order, {counts.lost} lost, "
            f"{counts.repeated_as_published} repeated as published, {counts.repeated_for_reader} for a reader, "
            f"{counts.unfinished} unfinished, recovery {recovery}, peak MiB {counts.peaks}"
        )
        for problem in counts.problems[:5] if name == "tokenstream" else ():
            print(f"         {problem[:400]}")
    sys.stdout.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m devtools.faultlab", description=__doc__)
    parser.add_argument("--only", type=_names, default=frozenset(), help="row,row")
    parser.add_argument("--quick", action="store_true", help="a few rows, in minutes")
    parser.add_argument("--continue", dest="resume", action="store_true", help="run only rows that have not passed yet")
    parser.add_argument("--jobs", type=int, default=2, help="rows at a time (default %(default)s)")
    parser.add_argument("--no-plain", action="store_true", help="without the plain program beside")
    parser.add_argument("--under", type=shlex.split, default=[], help="a command each row is run under, such as 'nice'")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where results are kept")
    parser.add_argument(
        "--out",
        type=lambda given: TREE / given,
        default=OUT,
        help="the page to write (default docs/results/reliability.md)",
    )
    parser.add_argument("--report", action="store_true", help="write the page from the results there are; run nothing")
    parser.add_argument(
        "--note", default="", help="a sentence for the page about this run, such as what else the machine did"
    )
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--bootstrap", help=argparse.SUPPRESS)
    return parser.parse_args()


def _names(given: str) -> frozenset[str]:
    return frozenset(given.split(","))


if __name__ == "__main__":
    sys.exit(main())
