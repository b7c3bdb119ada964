"""The metadata beside a committed offset: where a successor finds what is open, and whether the end was clean.

`{"v":1,"restore":N,"clean":false}`; absent or unreadable means: read `responses` from its start, unclean.
"""

from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class CommitMetadata:
    restore: int = 0
    clean: bool = False

    def encode(self) -> str:
        return orjson.dumps({"v": 1, "restore": self.restore, "clean": self.clean}).decode()

    @classmethod
    def decode(cls, metadata: str | None) -> "CommitMetadata":
        try:
            fields = orjson.loads(metadata or "")
            if fields["v"] != 1:
                return cls()
            return cls(int(fields["restore"]), fields["clean"] is True)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return cls()
