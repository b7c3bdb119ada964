"""What is published: the wheel has only the product, and the command line reports what is missing without the
development tools.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from processor.cli import commands

ROOT = Path(__file__).parents[2]
PUBLISHED = {"topics", "processor"}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names of the files in the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built).namelist()


def test_the_wheel_holds_the_product_alone(wheel: list[str]) -> None:
    folders = {name.split("/")[0] for name in wheel if ".dist-info/" not in name}
    assert folders == PUBLISHED


@pytest.mark.parametrize("package", sorted(PUBLISHED))
def test_the_wheel_holds_every_module(wheel: list[str], package: str) -> None:
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")}
    assert modules - set(wheel) == set()


def test_the_image_copies_the_product_alone() -> None:
    copied = [
        line.split()[1]
        for line in (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ")
    ]
    assert not [name for name in copied if name.startswith(("devtools", "tests"))]
    assert set(copied) >= PUBLISHED


@pytest.mark.parametrize("name", ["demo", "bench"])
def test_a_missing_development_command_says_where_it_comes_from(name: str) -> None:
    app = typer.Typer()
    app.command("other")(lambda: None)
    commands.add_to(app, {})
    done = CliRunner().invoke(app, [name, "--once"])
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert "make setup" in done.stderr
