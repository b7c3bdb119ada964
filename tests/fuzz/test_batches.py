"""No bytes of an answer end its reader: the inputs that were once interesting, and new ones."""

from pathlib import Path

import pytest

from fuzz.__main__ import CORPUS, fuzz
from fuzz.batches import reader


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.bin")), ids=lambda path: path.stem)
async def test_a_kept_input_is_read(path: Path) -> None:
    async with reader() as made:
        await made.read(path.read_bytes(), int(path.stem.rpartition("-")[2]))


async def test_new_inputs_are_read() -> None:
    assert await fuzz(5.0, 10**9, keep=False) == 0


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_many_new_inputs_are_read() -> None:
    assert await fuzz(180.0, 2 * 10**9, keep=False) == 0
