"""How many examples a property is tried with."""

from typing import Final

from hypothesis import settings

WHOLE: Final = 100
"""Hypothesis' own number, in the profile `all`."""


def examples(number: int) -> int:
    """Returns `number`, or the profile's share of it: a tenth in `few`, by which `make unit` runs."""
    profile = settings.default
    assert profile is not None
    return max(1, number * profile.max_examples // WHOLE)
