"""The metadata beside a committed offset: where a successor finds the open responses, and whether the end was clean.

`{"v":1,"restore":N,"clean":false}`; absent or unreadable means: read `responses` from its start, unclean.
`attempts` counts the unclean ends at this offset.
`trying` is the range about to be read with care: [first offset, offset after the last, ends that count against it].
`poison` has the offsets, from the committed one on, that must not be read.
"""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

MOST_POISON: Final = 100
"""Brokers refuse metadata of more than 4 KiB, unless they are configured otherwise."""


class Trying(NamedTuple):
    """Offsets from `first` to before `end`, and how many ends of owners count against them."""

    first: int
    end: int
    times: int

    @property
    def single(self) -> bool:
        return self.end - self.first == 1

    def raised(self) -> "Trying":
        return self._replace(times=self.times + 1)


@dataclass(frozen=True, slots=True)
class CommitMetadata:
    restore: int = 0
    clean: bool = False
    attempts: int = 0
    trying: Trying | None = None
    poison: tuple[int, ...] = ()

    def encode(self) -> str:
        fields: dict[str, Any] = {"v": 1, "restore": self.restore, "clean": self.clean}
        if self.attempts:
            fields["attempts"] = self.attempts
        if self.trying is not None:
            fields["trying"] = list(self.trying)
        if self.poison:
            fields["poison"] = self.poison[:MOST_POISON]
        return orjson.dumps(fields).decode()

    @classmethod
    def decode(cls, metadata: str | None) -> "CommitMetadata":
        try:
            fields = orjson.loads(metadata or "")
            if fields["v"] != 1:
                return cls()
            trying = Trying(*map(int, fields["trying"])) if "trying" in fields else None
            poison = tuple(map(int, fields.get("poison", ())))
            return cls(int(fields["restore"]), fields["clean"] is True, int(fields.get("attempts", 0)), trying, poison)
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError):
            return cls()
