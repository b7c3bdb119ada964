"""How many examples a property is tried with."""

from hypothesis import settings

WHOLE = settings.get_profile("all").max_examples


def examples(number: int) -> int:
    """Returns `number`, or the profile's share of it: a twentieth in `few`, by which `make unit` runs."""
    return max(1, number * settings().max_examples // WHOLE)
