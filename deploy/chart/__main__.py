"""Writes Helm's output for the chart: `python -m deploy.chart renderings HELM`. See deploy/chart/renderings.py.

The chart's files that need no Helm are written by `make documents`.
"""

import sys

from deploy.chart import renderings


def main() -> int:
    match sys.argv[1:]:
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
