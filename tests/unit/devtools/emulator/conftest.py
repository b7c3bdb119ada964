import pytest

from support.emulator_world import World


@pytest.fixture
def world() -> World:
    return World()
