"""The example chat in Chromium: on a gateway for tests, on a real relay by Ably's protocol or a gateway's, and as its package builds it."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

from devtools.deployment import deployed
from support.example_model import example_model
from support.scenarios import Outcomes, named, run_scenarios

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "clients" / "javascript" / "examples" / "chat"
SCRIPT = "example_scenarios.mjs"
DEADLINE = 600.0
TOKEN = "the-token-of-the-example"
PROMISES = {
    "conversation": "an answer is shown with its reasoning and its tools",
    "strict_mode_subscribes_once": "strict mode subscribes once",
    "stop": "stop cancels the answer",
    "stop_after_a_reload": "stop cancels an answer that was resumed",
    "reload_in_the_middle": "after reloads one whole message is shown",
    "two_tabs": "two tabs show the same",
    "joins": "who joins at any moment sees whole answers",
    "many_tokens": "many tokens take few renders",
    "unmounting_leaks_no_listener": "unmounting leaks no listener",
}
AT_ONCE = "conversation+strict_mode_subscribes_once+reload_in_the_middle"
MORE_AT_ONCE = "stop+stop_after_a_reload+two_tabs"
ALONE = ("joins", "many_tokens", "unmounting_leaks_no_listener")
"""One after the other, since they measure, or load the machine."""


async def on_relay(*groups: str, direct: bool = False, **environment: str) -> Outcomes:
    """With `direct`, a relay and a gateway in one process. The model is asked through a bridge, and Stop goes through the API."""
    settings = {"API_TOKENS": f"{TOKEN}=chat:*"}
    async with deployed(settings=settings, direct=direct) as deployment, example_model(deployment) as bridge:
        where = {"UPSTREAM": deployment.api, "UPSTREAM_BRIDGE": bridge, "UPSTREAM_TOKEN": TOKEN}
        if deployment.endpoint is not None:
            where |= {"REALTIME": deployment.endpoint, "REALTIME_KEY": deployment.key}
        return await run_scenarios(SCRIPT, *groups, deadline=DEADLINE, **where, **environment)


@pytest.fixture(scope="module")
def on_a_relay() -> Outcomes:
    return asyncio.run(on_relay(AT_ONCE, MORE_AT_ONCE, *ALONE))


@pytest.fixture(scope="module")
def on_a_direct_relay() -> Outcomes:
    return asyncio.run(on_relay(AT_ONCE, MORE_AT_ONCE, *ALONE, direct=True))


@pytest.fixture(scope="module")
def on_a_gateway() -> Outcomes:
    return asyncio.run(run_scenarios(SCRIPT, AT_ONCE))


@pytest.fixture(scope="module")
def more_on_a_gateway() -> Outcomes:
    return asyncio.run(run_scenarios(SCRIPT, MORE_AT_ONCE, *ALONE, deadline=DEADLINE))


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", AT_ONCE.split("+"))
def test_on_a_gateway(name: str, on_a_gateway: Outcomes) -> None:
    assert on_a_gateway[name].get("error") is None, on_a_gateway[name]["error"]


@pytest.mark.long
@pytest.mark.timeout(800)
@pytest.mark.parametrize("name", [*MORE_AT_ONCE.split("+"), *ALONE])
def test_more_on_a_gateway(name: str, more_on_a_gateway: Outcomes) -> None:
    print(more_on_a_gateway[name])
    assert more_on_a_gateway[name].get("error") is None, more_on_a_gateway[name]["error"]


@pytest.mark.long
@pytest.mark.timeout(800)
@pytest.mark.parametrize("name", named(PROMISES))
def test_on_a_relay(name: str, on_a_relay: Outcomes) -> None:
    print(on_a_relay[name])
    assert on_a_relay[name].get("error") is None, on_a_relay[name]["error"]


@pytest.mark.long
@pytest.mark.timeout(800)
@pytest.mark.parametrize("name", named(PROMISES))
def test_on_a_relay_with_the_transport_direct(name: str, on_a_direct_relay: Outcomes) -> None:
    print(on_a_direct_relay[name])
    assert on_a_direct_relay[name].get("error") is None, on_a_direct_relay[name]["error"]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_hundred_joins_at_random_moments_show_no_wrong_text() -> None:
    outcomes = asyncio.run(on_relay("joins", JOINS="100"))
    print(outcomes)
    assert outcomes["joins"].get("error") is None, outcomes["joins"]["error"]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_it_is_installed_from_its_lock_file_and_built(tmp_path: Path) -> None:
    client = tmp_path / "javascript"
    ignored = shutil.ignore_patterns("node_modules", "dist")
    shutil.copytree(ROOT / "clients" / "javascript", client, ignore=ignored)
    project = client / "examples" / "chat"
    for command in ("npm ci --ignore-scripts --prefer-offline --silent", "npm run build --silent"):
        done = subprocess.run(command.split(), cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    environment = {"DIST": str(project / "dist")}
    outcomes = asyncio.run(run_scenarios(SCRIPT, "conversation+reload_in_the_middle", deadline=DEADLINE, **environment))
    assert [outcome.get("error") for outcome in outcomes.values()] == [None, None]


def test_its_lock_file_names_no_registry() -> None:
    locked = (EXAMPLE / "package-lock.json").read_text()
    assert '"resolved": "http' not in locked
    assert "omit-lockfile-registry-resolved=true" in (EXAMPLE / ".npmrc").read_text().splitlines()
