"""The relay's life cycle keeps to its table."""

from itertools import product

import pytest

from processor.relay.relay import TRANSITIONS, RelayState


def test_every_state_has_its_row() -> None:
    assert set(TRANSITIONS) == set(RelayState)


@pytest.mark.parametrize("state", RelayState)
def test_a_stop_is_possible_from_everywhere_and_final(state: RelayState) -> None:
    assert RelayState.STOPPING in TRANSITIONS[state]
    assert TRANSITIONS[RelayState.STOPPING] == {RelayState.STOPPING}


def test_only_a_member_that_leaves_joins_again() -> None:
    back = {
        (old, new)
        for old, new in product(RelayState, RelayState)
        if new is RelayState.JOINING and new in TRANSITIONS[old]
    }
    assert back == {(RelayState.LEAVING, RelayState.JOINING)}
