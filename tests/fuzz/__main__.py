"""`python -m fuzz --seconds 600`: makes random answers until the time is over; prints how many, and the failures.

With `--keep`, the first small input of each way of being read is added to the corpus, which `make test` reads again.
"""

import argparse
import asyncio
import hashlib
import random
import sys
import time
from pathlib import Path

from fuzz.batches import make_input, reader

CORPUS = Path(__file__).parent / "corpus"
SMALL = 600
KEPT = 60


async def fuzz(seconds: float, first: int, *, keep: bool) -> int:
    until, number, failures = time.monotonic() + seconds, first, 0
    seen: dict[str, int] = {}
    async with reader() as made:
        while time.monotonic() < until and failures < 20:
            chance = random.Random(number)
            data, start = make_input(chance), chance.choice((0, 0, 1, 3))
            number += 1
            try:
                signature = (await made.read(data, start)).signature
            except Exception as error:  # noqa: BLE001 - that is what is looked for
                failures += 1
                print(f"seed {number - 1}: {type(error).__name__}: {error}")
                continue
            if keep and signature not in seen and len(data) <= SMALL and len(list(CORPUS.iterdir())) < KEPT:
                CORPUS.joinpath(hashlib.sha256(data).hexdigest()[:12] + f"-{start}.bin").write_bytes(data)
            seen[signature] = seen.get(signature, 0) + 1
    print(f"{number - first} inputs, {len(seen)} ways of being read, {failures} failures")
    return failures


def main() -> None:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    sys.exit(bool(asyncio.run(fuzz(arguments.seconds, arguments.first, keep=arguments.keep))))


if __name__ == "__main__":
    main()
