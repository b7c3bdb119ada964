"""Writes the dashboards: `make dashboards`."""

import sys
from collections.abc import Iterator
from pathlib import Path

from deploy.grafana.generator import archive, delivery, overview, process
from deploy.grafana.generator.grafana import rendered
from deploy.grafana.generator.model import Board

DASHBOARDS = Path(__file__).parents[1] / "dashboards"


def boards() -> Iterator[Board]:
    for module in (overview, delivery, archive, process):
        yield module.board()


def main() -> int:
    DASHBOARDS.mkdir(exist_ok=True)
    for board in boards():
        (DASHBOARDS / board.file_name).write_text(rendered(board))
    return 0


if __name__ == "__main__":
    sys.exit(main())
