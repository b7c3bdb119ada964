"""Regular expressions of operators, matched in time linear in the text, because producers choose the text."""

from typing import Final

import re2

_OPTIONS: Final = re2.Options()
_OPTIONS.log_errors = False


class LinearPattern:
    """An expression in RE2's syntax, which has no look-around and no back-references. Raises ValueError with what is wrong."""

    __slots__ = ("_compiled", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        try:
            self._compiled = re2.compile(pattern, _OPTIONS)
        except re2.error as error:
            (reason, *_) = error.args
            raise ValueError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from error

    def __repr__(self) -> str:
        return f"LinearPattern({self.pattern!r})"

    def fullmatch(self, text: str) -> bool | None:
        """True, or None as `re` has it. `text` must have a UTF-8 form."""
        return True if self._compiled.fullmatch(text) else None
