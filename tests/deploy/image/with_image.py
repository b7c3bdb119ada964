"""The image that dist/ holds, unpacked: what is in it, and that it works where it may write nothing. Run by `make image-test`."""

import asyncio
import json
import os
import re
import shutil
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from devtools.lab import laboratory
from support.lab import ROOT
from support.waiting import eventually

INSIDE = Path(__file__).parent / "inside"
SITE = "opt/tokenstream/lib/python3*/site-packages"


class Image(NamedTuple):
    config: dict[str, Any]
    root: Path


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    (archive,) = (ROOT / "dist").glob("tokenstream-*.tar")
    root = tmp_path_factory.mktemp("image")
    root.chmod(0o755)
    for above in root.parents[:2]:  # pytest's own folders are closed to the user of the image
        above.chmod(0o755)
    with tarfile.open(archive) as outer:

        def member(name: str) -> Any:
            found = outer.extractfile(name)
            assert found is not None
            return found

        (manifest,) = json.load(member("manifest.json"))
        config = json.load(member(manifest["Config"]))
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=member(layer)) as inner:
                inner.extractall(root, filter="fully_trusted", numeric_owner=True)
    yield Image(config, root)
    shutil.rmtree(root)  # half a gigabyte


async def inside(image: Image, volume: Path, *command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(str(INSIDE), str(image.root), str(volume), *command),
        env={name: value for name, value in os.environ.items() if not name.startswith(("TOKENSTREAM_", "PYTHON"))},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """What the program may write to: nobody's but its own."""
    volume = tmp_path / "volume"
    volume.mkdir()
    os.chown(volume, 65532, 65532)
    return volume


def test_it_starts_the_program_as_a_user_without_rights(image: Image) -> None:
    config = image.config["config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["tokenstream"]
    assert config["Cmd"] == ["run"]
    assert "8484/tcp" in config["ExposedPorts"]
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in config["Labels"].items()}
    assert labels["title"] == "tokenstream"
    assert labels["licenses"] == "Apache-2.0"
    assert re.fullmatch(r"[0-9a-f]{40}", labels["revision"])


def test_it_holds_no_compiler_no_installer_of_ours_and_nothing_of_the_build(image: Image) -> None:
    names = {
        path.name
        for folder in ("usr/bin", "usr/local/bin", "opt/tokenstream/bin")
        for path in (image.root / folder).glob("*")
    }
    assert "python3" in names
    assert not {"gcc", "cc", "c++", "clang", "make", "ld", "pip", "uv", "git", "curl"} & names
    assert not list(image.root.glob(f"{SITE}/pip"))
    assert not list((image.root / "build").glob("*"))


def test_its_user_can_write_nothing_but_its_own_folder(image: Image) -> None:
    writable = set()
    for folder, _, files in os.walk(image.root):
        for path in (Path(folder), *(Path(folder) / name for name in files)):
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                continue
            if status.st_uid == 65532 or status.st_mode & stat.S_IWOTH:
                writable.add(str(path.relative_to(image.root)))
    assert {path for path in writable if not path.startswith("dev")} <= {
        "tmp",
        "var/tmp",
        "run/lock",
        "var/lib/tokenstream",
    }


def test_the_sbom_names_what_is_installed_and_that_is_what_was_locked(image: Image) -> None:
    def normal(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    sbom = json.loads((image.root / "usr/share/tokenstream/sbom.cdx.json").read_text())
    assert sbom["bomFormat"] == "CycloneDX"
    assert sbom["metadata"]["component"]["name"] == "tokenstream"
    told = {(normal(each["name"]), each["version"]) for each in sbom["components"]}
    folders = [path.name.removesuffix(".dist-info") for path in image.root.glob(f"{SITE}/*.dist-info")]
    installed = {(normal(name), version) for name, _, version in (folder.partition("-") for folder in folders)}
    ours = {each for each in installed if each[0] == "tokenstream"}
    assert len(ours) == 1
    assert told | ours == installed | ours
    locked = set(re.findall(r"^([a-z0-9.-]+)==([^ ]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert installed - ours <= locked


async def test_it_runs_everything_with_nothing_to_write_to_but_its_volume(
    image: Image, volume: Path, kafka: LocalKafka, make_topics: MakeTopics
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        command = (str(INSIDE), str(image.root), str(volume), "tokenstream", "run")
        process = lab.new(program=command, API_PUBLIC="true")
        await process.start()
        await process.ready()
        await lab.stream(responses=5, tokens=20)
        await lab.all_finished()
        verdict = lab.verdict()
        assert not verdict.wrong, verdict
        for produced in lab.produced:
            url = f"http://127.0.0.1:{process.port}/v1/responses/{produced.response_id}"

            async def stored(url: str = url, text: str = produced.texts["text"]) -> bool:
                async with aiohttp.ClientSession() as session, session.get(url) as answer:
                    return answer.status == 200 and (await answer.json()).get("text") == text

            await eventually(stored, deadline=20)
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert re.search(r"^Uid:\t65532\t65532\t65532\t65532$", status, re.MULTILINE)
        assert re.search(r"^CapEff:\t0{16}$", status, re.MULTILINE)
        assert await process.stop() == 0
        assert (volume / "tokenstream.db").exists()


async def test_what_it_may_not_write_to_it_can_not(image: Image, volume: Path) -> None:
    """So that the test above shows something."""
    program = "import errno\ntry: open('/tmp/x', 'w')\nexcept OSError as error: print(errno.errorcode[error.errno])"
    assert await inside(image, volume, "python3", "-c", program) == "EROFS\n"
