"""The published npm package: its contents, and that bundlers, TypeScript and Node can use it."""

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "javascript"
TOOLS = ROOT / "node_modules" / ".bin"
ENTRIES = {".": "index.js", "./reader": "reader.js", "./react": "react/index.js", "./ai-sdk": "ai-sdk/index.js"}


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("packed")
    [packed] = json.loads(run("npm", "pack", "--json", "--pack-destination", directory, cwd=CLIENT))
    return directory / str(packed["filename"])


@pytest.fixture(scope="module")
def installed(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has the package, unpacked, beside the packages of the tests."""
    project = tmp_path_factory.mktemp("project")
    modules = project / "node_modules"
    modules.mkdir()
    for package in (ROOT / "node_modules").iterdir():
        if not package.name.startswith("."):
            (modules / package.name).symlink_to(package)
    (modules / "@tokenstream").mkdir()
    with tarfile.open(tarball) as packed:
        packed.extractall(modules / "@tokenstream", filter="data")
    (modules / "@tokenstream" / "package").rename(modules / "@tokenstream" / "client")
    return project


def bundled(code: str, project: Path) -> str:
    (project / "entry.mjs").write_text(code)
    external = [f"--external:{name}" for name in ("react", "ai", "ably")]
    return run(TOOLS / "esbuild", "--bundle", "--format=esm", "--minify-syntax", *external, "entry.mjs", cwd=project)


def test_sources_types_readme_and_licence_are_published(tarball: Path) -> None:
    with tarfile.open(tarball) as packed:
        names = {name.removeprefix("package/") for name in packed.getnames()}
    sources = {str(path.relative_to(CLIENT)) for path in (CLIENT / "src").rglob("*") if path.is_file()}
    assert names == sources | {"package.json", "README.md", "LICENSE"}
    assert (CLIENT / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_publint_finds_nothing() -> None:
    run(TOOLS / "publint", "--strict", CLIENT)


@pytest.mark.long
def test_are_the_types_wrong_finds_nothing(tarball: Path) -> None:
    run(TOOLS / "attw", "--profile", "esm-only", tarball)


@pytest.mark.long
def test_the_types_are_those_the_documentation_promises(installed: Path) -> None:
    for file in (ROOT / "tests" / "js" / "types").iterdir():
        shutil.copy(file, installed)
    run(TOOLS / "tsc", "--project", "tsconfig.json", cwd=installed)


def test_every_entry_can_be_imported_in_node(installed: Path) -> None:
    names = [f"@tokenstream/client/{entry[2:]}".rstrip("/") for entry in ENTRIES]
    code = f"for (const name of {json.dumps(names)}) console.log(Object.keys(await import(name)).join());"
    (installed / "all.mjs").write_text(code)
    printed = run("node", "all.mjs", cwd=installed).split()
    assert printed == [
        "Reader,tokenstream",
        "Reader,parseFrame",
        "useResponse,useResponses",
        "TokenstreamChatTransport,messageOf",
    ]


def test_what_is_not_used_is_left_out_of_a_bundle(installed: Path) -> None:
    assert not bundled("import '@tokenstream/client'; import '@tokenstream/client/react';", installed).strip()
    assert "WebSocket" not in bundled("export * from '@tokenstream/client';", installed)
    message = bundled("export { messageOf } from '@tokenstream/client/ai-sdk';", installed)
    assert "class Stream" not in message
    hooks = bundled("export { useResponses } from '@tokenstream/client/react';", installed)
    assert "text-delta" not in hooks
    assert hooks.count('from "react"') == 1


def test_frameworks_are_optional() -> None:
    manifest = json.loads((CLIENT / "package.json").read_text())
    assert "dependencies" not in manifest
    assert set(manifest["peerDependencies"]) == {"ably", "ai", "react"}
    assert all(manifest["peerDependenciesMeta"][name]["optional"] for name in manifest["peerDependencies"])
    assert {name: path["default"] for name, path in manifest["exports"].items() if name in ENTRIES} == {
        name: f"./src/{path}" for name, path in ENTRIES.items()
    }
