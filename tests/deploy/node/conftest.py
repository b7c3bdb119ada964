"""Fixtures of the steps on a real node. They run inside it: `make deploy-test`."""

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.node.outside import Judged, Outside, outside
from deploy.node.table import Row, Table

TABLE: pytest.StashKey[Table] = pytest.StashKey()
Seen = Callable[..., None]
PAGE = Path(__file__).parents[3] / "docs" / "operations" / "kubernetes.md"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
    table = config.stash.get(TABLE, Table())
    if not table.rows:  # some other run, which only passed by here
        return
    terminalreporter.write_line(f"\n{table.plain()}")
    steps = {Path(one).name for one in config.args}
    whole = exitstatus == 0 and not terminalreporter.stats.get("deselected")
    if whole and steps >= {path.name for path in Path(__file__).parent.glob("steps_*.py")}:
        table.write_into(PAGE)
        terminalreporter.write_line(f"Written into {PAGE.relative_to(Path.cwd())}.")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world() -> AsyncIterator[Outside]:
    """What pods talk to; one for all steps."""
    assert "KUBECONFIG" in os.environ, "These steps run on a node of their own: `make deploy-test`."
    async with outside() as everything:
        yield everything


@pytest.fixture
def seen(request: pytest.FixtureRequest) -> Iterator[Seen]:
    """`seen("what was seen", judged)` puts the step into the table, when it has passed."""
    started = time.monotonic()
    rows: list[Row] = []

    def tell(what: str, judged: Judged | None = None) -> None:
        step = request.node.name.removeprefix("test_").replace("_", " ")
        rows.append(Row(step, what, time.monotonic() - started, judged))

    yield tell
    request.config.stash.setdefault(TABLE, Table()).rows.extend(rows)
