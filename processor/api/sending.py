"""Writes answers: small ones whole, large ones piece by piece, always within a time limit.

A client must read `PROGRESS_BYTES` of an answer within the write timeout, else its connection is aborted.
So the memory of an answer is released in bounded time, whatever the client does.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import structlog
from aiohttp import web

from processor.api.render import Pieces
from processor.telemetry.server import abort

T = TypeVar("T")
log = structlog.stdlib.get_logger("tokenstream.http")
COMPRESSED_FROM = 1024
CHUNK_BYTES = 64 * 1024
PROGRESS_BYTES = 256 * 1024
"""Uncompressed. With the default write timeout of 30 s a client must read some 9 kB a second."""
RENDERS_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose `pieces` are rendered while they are written: about `size` bytes in total, at most `memory` at
    one time, including the stored records. `etag` is given if only a deletion can change the body.
    """

    pieces: Pieces
    size: int
    memory: int
    etag: str | None = None
    status: int = 200
    """Of a small answer."""


class Sender:
    """Renders in threads, a few at a time, and writes each answer within the timeout."""

    def __init__(self, write_seconds: float) -> None:
        self._write_seconds = write_seconds
        self._rendering = asyncio.Semaphore(RENDERS_AT_ONCE)

    async def send(self, request: web.Request, answer: Answer, headers: Mapping[str, str]) -> web.StreamResponse:
        """Returns the response, written. Raises what rendering raises before anything is written."""
        compress = answer.size >= COMPRESSED_FROM and _takes_gzip(request)
        if answer.size < PROGRESS_BYTES:
            body = await self._rendered(lambda: b"".join(answer.pieces))
            response: web.StreamResponse = web.Response(
                body=body, status=answer.status, content_type="application/json", headers=headers
            )
            del body
            if compress:
                response.enable_compression(web.ContentCoding.gzip)
            await self.finish(request, response)
            return response
        first = await self._next(answer.pieces)
        response = web.StreamResponse(headers={**headers, "Content-Type": "application/json"})
        if compress:
            response.enable_compression(web.ContentCoding.gzip)
        await self._stream(request, response, first, answer.pieces)
        return response

    async def finish(self, request: web.Request, response: web.StreamResponse) -> None:
        """Writes what is left of a response within the timeout, or aborts the connection."""
        async with self._or_abort(request):
            await response.prepare(request)
            await response.write_eof()

    async def _stream(
        self, request: web.Request, response: web.StreamResponse, piece: bytes | None, rest: Pieces
    ) -> None:
        async with self._or_abort(request):
            await response.prepare(request)
        while piece is not None and request.method != "HEAD":
            for start in range(0, len(piece), PROGRESS_BYTES):
                async with self._or_abort(request):
                    for at in range(start, min(start + PROGRESS_BYTES, len(piece)), CHUNK_BYTES):
                        await response.write(piece[at : at + CHUNK_BYTES])
            piece = None  # released before the next one is made
            piece = await self._next(rest)
        await self.finish(request, response)

    async def _next(self, pieces: Pieces) -> bytes | None:
        return await self._rendered(lambda: next(pieces, None))

    async def _rendered(self, work: Callable[[], T]) -> T:
        """Of a cancelled request the rendering in progress ends first: until then its memory is in use."""
        async with self._rendering:
            rendering = asyncio.ensure_future(asyncio.to_thread(work))
            try:
                return await asyncio.shield(rendering)
            except asyncio.CancelledError:
                await asyncio.wait({rendering})
                raise

    @contextlib.asynccontextmanager
    async def _or_abort(self, request: web.Request) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._write_seconds):
                yield
        except TimeoutError:
            # Closing would wait for the client to read what is unsent.
            log.debug("client_too_slow", remote=request.remote)
            if request.transport is not None:
                abort(request.transport)
            raise ConnectionResetError("the client did not read its answer in time") from None


def _takes_gzip(request: web.Request) -> bool:
    for entry in request.headers.get("Accept-Encoding", "").split(","):
        coding, _, parameters = entry.partition(";")
        if coding.strip().lower() in ("gzip", "*"):
            return parameters.replace(" ", "").lower() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
