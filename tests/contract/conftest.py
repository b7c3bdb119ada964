"""Each kind of store, for the contract that all of them keep."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from processor.ports.store import ResponseStore
from support.stores import KINDS, new_store_url, opened


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def url(kind: str, tmp_path: Path) -> str:
    return await new_store_url(kind, tmp_path)


@pytest.fixture
async def store(url: str) -> AsyncIterator[ResponseStore]:
    async with opened(url) as store:
        yield store
