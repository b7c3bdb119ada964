"""Secrets that were read, which the log removes, and values of files that are read again when the files change."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Generic, TypeVar
from urllib.parse import unquote, urlsplit

import structlog

from processor.config.sources import PREFIX, read_value, stamp, why_unreadable

T = TypeVar("T")
LOOK_SECONDS = 1.0
"""A changed file is noticed after this time, with the next use."""
LEAST_STRUCK_OUT = 4
"""A shorter secret would strike out parts of ordinary words."""

log = structlog.stdlib.get_logger("tokenstream.config")


class KnownSecrets:
    """Every secret this process has read, the rotated ones too. Safe to iterate while another thread adds."""

    def __init__(self) -> None:
        self._texts: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KnownSecrets) and self._texts == other._texts

    __hash__ = None  # type: ignore[assignment]  # it changes

    def add(self, *texts: str | None) -> None:
        for text in texts:
            if text is not None and len(text) >= LEAST_STRUCK_OUT and text not in self._texts:
                # The longest first: one secret may be a part of another.
                self._texts = tuple(sorted((*self._texts, text), key=len, reverse=True))

    def add_ably_key(self, key: str | None) -> None:
        self.add(key, (key or "").partition(":")[2])

    def add_url(self, url: str) -> None:
        """Adds the password in a URL. A password that equals its user's name is ignored: removing it would remove
        ordinary words.
        """
        try:
            parts = urlsplit(url)
            user, password = parts.username, parts.password
        except ValueError:
            return
        if password is not None and password != user:
            self.add(password, unquote(password))


class WatchedFile(Generic[T]):
    """The value of a setting's file as it last could be used.

    Whoever asks gets the newest valid value. The file is looked at once a second at most, in a thread. A file that is
    missing, unreadable or wrong changes nothing; that is logged once for each of its contents.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        parse: Callable[[str], T],
        value: T,
        *,
        every: float = LOOK_SECONDS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._name = name
        self._path = path
        self._parse = parse
        self._value = value
        self._every = every
        self._clock = clock
        self._seen: tuple[int, ...] | None = ()  # no file's: the first look reads it
        self._next_look = 0.0

    async def __call__(self) -> T:
        if self._clock() >= self._next_look:
            self._next_look = self._clock() + self._every
            await asyncio.to_thread(self._look)
        return self._value

    def _look(self) -> None:
        found = stamp(self._path)
        if found == self._seen:
            return
        self._seen = found
        try:
            value = self._parse(read_value(self._path).strip())
        except (OSError, ValueError) as error:
            why = why_unreadable(error)
            log.warning("setting_file_unusable", setting=f"{PREFIX}{self._name}_FILE", path=str(self._path), why=why)
            return
        if value != self._value:
            self._value = value
            log.info("setting_file_changed", setting=f"{PREFIX}{self._name}_FILE", path=str(self._path))
