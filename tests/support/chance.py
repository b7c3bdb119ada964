"""Chances of tests."""

from random import Random


class Never(Random):
    """The shortest waits between attempts."""

    def random(self) -> float:
        return 0.0
