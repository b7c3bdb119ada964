from collections.abc import AsyncIterator

import pytest

from devtools.emulator.server import LocalRealtime


@pytest.fixture
async def server() -> AsyncIterator[LocalRealtime]:
    async with LocalRealtime(admin=True) as started:
        yield started
