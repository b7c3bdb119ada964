"""Write anew what follows from the chart: `python -m deploy.chart documents|renderings`.

`documents` needs nothing but Python: the table of values, their schema, and the chart's copies of alerts and dashboards, as a chart
reads only files inside itself. `renderings` needs helm: see deploy/chart/renderings.py.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from deploy.chart import documents, renderings


def main() -> int:
    match sys.argv[1:]:
        case ["documents"]:
            wanted: Iterator[tuple[Path, str]] = documents.wanted()
        case ["renderings", helm]:
            wanted = renderings.wanted(helm)
        case _:
            print(__doc__)
            return 2
    for path, text in wanted:
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
