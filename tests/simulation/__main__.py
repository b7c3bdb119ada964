"""`python -m simulation --seeds N --first S`: runs seeds, and prints what was reached. Exits with 1 if one failed."""

import argparse
import sys
import time

from processor.telemetry.metrics import Metrics
from simulation import run as running
from simulation.coverage import ENOUGH, Coverage
from simulation.many import Smaller, Tally, run_many, run_seed


def main() -> int:
    options = _options()
    if options.seeds == 1:
        return _replay(options)
    total, began = Tally(), time.monotonic()
    for tally in run_many(options.first, options.seeds, options.jobs):
        total.add(tally)
        for failure in tally.failures:
            print(failure, flush=True)
        if total.seeds % 1000 == 0:
            print(f"{total.seeds} seeds, {len(total.failures)} failed, {time.monotonic() - began:.0f} s", flush=True)
    print(total.coverage.table())
    missing = total.coverage.missing()
    print(f"{total.seeds} seeds from {options.first}: {len(total.failures)} failed, {total.steps} steps, ", end="")
    print(f"the last finished at {total.slowest:.1f} virtual s, {time.monotonic() - began:.1f} s in all")
    if missing and options.seeds >= 2 * ENOUGH:
        print("never reached: " + ", ".join(missing))
        return 1
    return 1 if total.failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=None)
    parser.add_argument("--log", action="store_true", help="with one seed: what the relays log, at virtual times")
    parser.add_argument("--without-faults", type=_indexes, default=frozenset())
    parser.add_argument("--without-responses", type=_indexes, default=frozenset())
    return parser.parse_args()


def _indexes(given: str) -> frozenset[int]:
    return frozenset(int(index) for index in given.split(","))


def _replay(options: argparse.Namespace) -> int:
    running.LOGGING = options.log
    smaller = Smaller(options.without_faults, options.without_responses)
    outcome = run_seed(options.first, Metrics(), Coverage(), smaller)
    if outcome.failure is None:
        print(f"seed {options.first}: all is well after {outcome.finished_at:.1f} virtual s, {outcome.steps} steps")
        return 0
    print(f"seed {options.first}: {outcome.failure}\n{outcome.where}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
