"""What a broker says about the limit of a topic."""

import pytest

from topics.delivery import limit_told

CONFIG: tuple[object, ...] = ("max.message.bytes", "1048588", False, 5, False, [])


@pytest.mark.parametrize(
    ("resources", "limit"),
    [
        ([(0, None, 2, "tokens", [CONFIG])], 1_048_588),
        ([(0, None, 2, "tokens", [("cleanup.policy", "delete", False, True, False), CONFIG[:5]])], 1_048_588),
        ([(29, "Topic authorization failed.", 2, "tokens", [])], None),
        ([(29, "Topic authorization failed.", 2, "tokens", [CONFIG])], None),
        ([(0, None, 2, "tokens", [("max.message.bytes", None, False, 5, False, [])])], None),
        ([(0, None, 2, "tokens", [("max.message.bytes", "many", False, 5, False, [])])], None),
        ([], None),
    ],
)
def test_the_limit_is_unknown_where_the_broker_does_not_tell(
    resources: list[tuple[object, ...]], limit: int | None
) -> None:
    assert limit_told(resources) == limit
