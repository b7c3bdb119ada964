"""Draw each dashboard from the answers of a real Prometheus into docs/images: `make dashboards-preview`."""

import argparse
import asyncio
import pickle
import sys
from pathlib import Path

from devtools.dashboards.boards import ROOT, committed
from devtools.dashboards.drawing import draw
from devtools.dashboards.observed import Seen, observe
from devtools.kafka import LocalKafka

IMAGES = ROOT / "docs" / "images"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=170.0, help="how long the system runs")
    parser.add_argument("--answers", type=Path, help="a file that keeps the answers, to draw them again")
    given = parser.parse_args()
    seen = known(given.answers, given.seconds)
    for name, board in committed().items():
        draw(board, seen.answers[name], seen.span, IMAGES / f"dashboard-{Path(name).stem}.png")
    return 0


def known(answers: Path | None, seconds: float) -> Seen:
    if answers is not None and answers.exists():
        seen: Seen = pickle.loads(answers.read_bytes())
        return seen
    seen = asyncio.run(run(seconds))
    if answers is not None:
        answers.write_bytes(pickle.dumps(seen))
    return seen


async def run(seconds: float) -> Seen:
    kafka = LocalKafka()
    try:
        await kafka.start(deadline=180)
        return await observe(kafka.bootstrap, dict(committed()), seconds=seconds, prefix="tokenstream")
    finally:
        await kafka.close()


if __name__ == "__main__":
    sys.exit(main())
