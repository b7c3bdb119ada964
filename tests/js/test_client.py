"""The JavaScript library: on the real ably-js in Node, its size, and its types."""

import gzip
import re
import subprocess
from pathlib import Path

from devtools.emulator.server import DEFAULT_KEY, LocalRealtime
from support.nodes import run

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "javascript"
ESBUILD = ROOT / "node_modules" / ".bin" / "esbuild"
MAX_BYTES = 6 * 1024


async def test_the_library_keeps_its_promises_on_the_real_ably_js() -> None:
    async with LocalRealtime(admin=True) as server:
        script = str(ROOT / "tests" / "js" / "client_stream.test.mjs")
        await run(
            "node",
            "--test",
            "--test-reporter=tap",
            script,
            REALTIME_PORT=str(server.port),
            REALTIME_KEY=DEFAULT_KEY,
        )


async def test_the_library_survives_a_silent_or_wrong_api() -> None:
    await run("node", "--test", "--test-reporter=tap", str(ROOT / "tests" / "js" / "client_faults.test.mjs"))


def test_minified_and_gzipped_it_is_under_six_kilobytes() -> None:
    command = [str(ESBUILD), "--bundle", "--minify", "--format=esm", str(CLIENT / "src" / "index.js")]
    bundled = subprocess.run(command, capture_output=True, check=True).stdout
    assert len(gzip.compress(bundled, 9)) < MAX_BYTES


def test_it_imports_nothing_but_itself() -> None:
    sources = sorted((CLIENT / "src").glob("*.js"))
    imports = [
        line
        for source in sources
        for line in source.read_text().splitlines()
        if line.startswith(("import ", "export *"))
    ]
    assert imports
    assert all(re.search(r" from '\./\w+\.js';$", line) for line in imports)
