"""The metadata beside a committed offset: where a successor finds what is open, and whether the end was clean.

`{"v":1,"restore":N,"clean":false}`; absent or unreadable means: read `responses` from its start, unclean. `attempts` counts the
unclean ends at this offset, `trying` is what was about to be read with care: [first offset, offset after the last, how often].
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson


class Trying(NamedTuple):
    """Offsets from `first` to before `end`, and how many owners have tried them so."""

    first: int
    end: int
    times: int

    @property
    def single(self) -> bool:
        return self.end - self.first == 1


@dataclass(frozen=True, slots=True)
class CommitMetadata:
    restore: int = 0
    clean: bool = False
    attempts: int = 0
    trying: Trying | None = None

    def encode(self) -> str:
        fields: dict[str, Any] = {"v": 1, "restore": self.restore, "clean": self.clean}
        if self.attempts:
            fields["attempts"] = self.attempts
        if self.trying is not None:
            fields["trying"] = list(self.trying)
        return orjson.dumps(fields).decode()

    @classmethod
    def decode(cls, metadata: str | None) -> "CommitMetadata":
        try:
            fields = orjson.loads(metadata or "")
            if fields["v"] != 1:
                return cls()
            trying = Trying(*map(int, fields["trying"])) if "trying" in fields else None
            return cls(int(fields["restore"]), fields["clean"] is True, int(fields.get("attempts", 0)), trying)
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError):
            return cls()
