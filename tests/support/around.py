"""A double that is the real thing but for what a class derived from it does itself."""

from typing import Any


class Around:
    """Hands everything on to `inside`."""

    def __init__(self, inside: Any) -> None:
        self.inside = inside

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inside, name)
