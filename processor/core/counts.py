"""What a partition counts of its records and responses, for the metrics."""

import copy

import msgspec


class Counts(msgspec.Struct):
    """What happened since the counts were last taken. `finished` is by status."""

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
    """By what came of them: `honoured`, `late` or `forced`."""
    cancel_seconds: list[float] = []
    """From the request for a cancel to the acknowledgement of the stop it led to."""
    response_seconds: list[float] = []
    """From reading a response's start to the acknowledgement of its end."""

    def collect(self) -> "Counts":
        """Returns what was counted since the last call, and begins again from nothing."""
        taken, fresh = copy.copy(self), Counts()
        for name in self.__struct_fields__:
            setattr(self, name, getattr(fresh, name))
        return taken
