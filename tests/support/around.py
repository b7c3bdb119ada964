"""A stand-in that forwards every call to the real object, except what a derived class overrides."""

from typing import Any


class Around:
    """Hands everything on to `inside`."""

    def __init__(self, inside: Any) -> None:
        self.inside = inside

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inside, name)
