"""The JavaScript library: on the real ably-js in Node, its size, and its types."""

import gzip
import re
import subprocess
from pathlib import Path

import pytest

from devtools.emulator.server import DEFAULT_KEY, LocalRealtime
from support.nodes import run

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "javascript"
ESBUILD = ROOT / "node_modules" / ".bin" / "esbuild"
MAX_BYTES = 6000
MAX_SOURCE_BYTES = 1536


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


@pytest.mark.parametrize("tests", ["client_events", "client_cancel", "react", "ai_sdk", "example_chat"])
async def test_it_keeps_its_promises_on_a_gateway(tests: str) -> None:
    await run("node", "--test", "--test-reporter=tap", str(ROOT / "tests" / "js" / f"{tests}.test.mjs"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Bytes, minified and gzipped, of what a page loads: at first `index`, then `ably` for Ably or `events` for a gateway."""
    directory = tmp_path_factory.mktemp("bundle")
    options = ("--bundle", "--splitting", "--minify", "--format=esm", "--chunk-names=[name]", f"--outdir={directory}")
    subprocess.run([str(ESBUILD), *options, str(CLIENT / "src" / "index.js")], capture_output=True, check=True)
    return {file.stem: len(gzip.compress(file.read_bytes(), 9)) for file in directory.iterdir()}


def test_minified_and_gzipped_the_core_is_under_6000_bytes(bundle: dict[str, int]) -> None:
    assert bundle["index"] < MAX_BYTES


def test_a_page_loads_the_code_of_one_source_on_demand(bundle: dict[str, int]) -> None:
    assert set(bundle) == {"index", "ably", "events"}
    assert bundle["ably"] < MAX_SOURCE_BYTES
    assert bundle["events"] < MAX_SOURCE_BYTES


def test_it_imports_nothing_but_itself() -> None:
    sources = [source.read_text() for source in sorted((CLIENT / "src").glob("*.js"))]
    lines = [line for source in sources for line in source.splitlines() if line.startswith(("import ", "export *"))]
    assert lines
    assert all(re.search(r" from '\./\w+\.js';$", line) for line in lines)
    on_demand = [found for source in sources for found in re.findall(r"import\((.*?)\)", source)]
    assert sorted(on_demand) == ["'./ably.js'", "'./events.js'"]
