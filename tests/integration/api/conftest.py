"""A store, and an api over it that anyone may read and the token `anything` may delete from."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devtools.stores import opened
from processor.ports.store import ResponseStore
from support.api_server import Api, serving


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ResponseStore]:
    async with opened(f"sqlite:///{tmp_path}/s.db") as store:
        yield store


@pytest.fixture
async def api(store: ResponseStore) -> AsyncIterator[Api]:
    async with serving(store) as api:
        yield api
