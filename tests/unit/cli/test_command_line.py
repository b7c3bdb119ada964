"""The command line as a whole: quick to answer, complete, and plain about mistakes."""

import subprocess
import sys
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from processor.cli.main import app

HEAVY = {"ably", "aiohttp", "aiokafka", "faust", "obstore", "prometheus_client", "pyarrow", "pydantic", "sqlalchemy"}
COMMANDS = {
    (): "run relay archive api topics doctor produce tail top responses dead-letters verify demo",
    ("archive",): "migrate prune compact",
    ("responses",): "get list delete",
    ("dead-letters",): "list show replay",
    ("topics",): "apply check",
}


def test_help_does_not_wait_for_what_only_commands_need() -> None:
    asked = "import sys, processor.cli.main; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
    assert HEAVY & set(loaded.split()) == set()


@pytest.mark.parametrize("group", COMMANDS)
def test_a_shell_completes_every_command(group: tuple[str, ...]) -> None:
    words = ["tokenstream", *group, ""]
    asked = {
        "_TOKENSTREAM_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    offered = CliRunner().invoke(app, [], env=asked, prog_name="tokenstream").stdout.split()
    assert set(COMMANDS[group].split()) <= set(offered)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("dead-letters show", "give either PARTITION:OFFSET or --response ID"),
        ("dead-letters show 1-2", "PARTITION:OFFSET"),
        ("dead-letters list --reason no", "unpublishable"),
        ("dead-letters replay", "--source"),
        ("responses list chat:1 --status done", "complete"),
        ("verify --since yesterday", "30d"),
        ("archive prune --older-than often", "30d"),
        ("produce --channel c --metadata [1]", "no JSON"),
        ("tail", "CHANNEL"),
    ],
)
def test_a_mistake_is_told_with_what_would_be_right(line: str, told: str) -> None:
    done = CliRunner().invoke(app, line.split())
    assert done.exit_code == 2
    assert told in " ".join(done.stderr.replace("│", " ").split())


def test_the_version_is_the_packages() -> None:
    shown = CliRunner().invoke(app, ["--version"])
    assert (shown.exit_code, shown.stdout) == (0, f"tokenstream {version('tokenstream')}\n")
