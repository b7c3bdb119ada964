"""Passes the model server's bytes to one caller, with a bound: a slow caller slows the model server down."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import Final

PIPE_BYTES: Final = 256 * 1024


class CallerPipe:
    """One task puts, one takes. A caller that takes nothing for `patience` seconds while the pipe is full counts as gone."""

    def __init__(self, patience: float, max_bytes: int = PIPE_BYTES) -> None:
        self._patience = patience
        self._max_bytes = max_bytes
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._ended = False
        self.whole = False
        """Whether the stream ended as the model server ended it. Otherwise the caller's connection is to be broken off."""
        self.gone = False
        """Whether the caller takes no more."""

    async def put(self, piece: bytes) -> None:
        """Returns once there is room. A caller that is gone takes nothing."""
        if self.gone:
            return
        self._pieces.append(piece)
        self._size += len(piece)
        self._changed.set()
        if self._size <= self._max_bytes:
            return
        self._room.clear()
        try:
            async with asyncio.timeout(self._patience):
                await self._room.wait()
        except TimeoutError:
            self.end(whole=False)
            self.leave()

    def end(self, *, whole: bool) -> None:
        """Nothing more comes. The first call counts."""
        if not self._ended:
            self._ended, self.whole = True, whole
            self._changed.set()

    def leave(self) -> None:
        """The caller takes no more."""
        self.gone = True
        self._pieces.clear()
        self._size = 0
        self._room.set()
        self._changed.set()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """All pieces until the end. What waits together is taken together."""
        while True:
            self._changed.clear()
            if self._pieces:
                taken = b"".join(self._pieces)
                self._pieces.clear()
                self._size = 0
                self._room.set()
                yield taken
            elif self._ended or self.gone:
                return
            else:
                await self._changed.wait()
