"""Renders the README's pictures from a running demo into docs/images: `make screenshots`."""

import subprocess
import sys
from pathlib import Path

from devtools.demo.process import running_demo

ROOT = Path(__file__).parents[1]


def main() -> int:
    images = ROOT / "docs" / "images"
    images.mkdir(parents=True, exist_ok=True)
    with running_demo() as address:
        script = Path(__file__).with_name("screenshots.mjs")
        done = subprocess.run(["node", script, address, images], check=False, capture_output=True, text=True)
    print(done.stdout, done.stderr)
    return done.returncode or int('"error"' in done.stdout)


if __name__ == "__main__":
    sys.exit(main())
