"""Counts records and responses of a partition, for the metrics."""

import copy

import msgspec


class Counts(msgspec.Struct):
    """Counts since the last `collect`. `finished` is by status."""

    consumed: int = 0
    tokens: int = 0
    duplicates: int = 0
    held: int = 0
    """Tokens that came before one with a smaller number, or before the start."""
    gaps: int = 0
    started: int = 0
    parts_dropped: int = 0
    finished: dict[str, int] = {}
    cancels: dict[str, int] = {}
    """By outcome: `honoured`, `late` or `forced`."""
    cancel_seconds: list[float] = []
    """Seconds from the request for a cancel to the acknowledgement of the stop that it caused."""
    response_seconds: list[float] = []
    """Seconds from reading a response's start to the acknowledgement of its end."""

    def collect(self) -> "Counts":
        """Returns the counts since the last call, and resets them."""
        taken, fresh = copy.copy(self), Counts()
        for name in self.__struct_fields__:
            setattr(self, name, getattr(fresh, name))
        return taken
