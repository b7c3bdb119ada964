"""The client of the model server: sends a request over HTTP, and reads the answer piece by piece. aiohttp's
exceptions end here.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from processor.bridge.asking import Headers, named_by_connection
from topics.errors import TokenstreamError

CONNECT_SECONDS: Final = 10.0
MAX_REFUSAL_BYTES: Final = 4 * 1024 * 1024
"""Of an answer that is no stream: the rest is cut off."""
PIECE_BYTES: Final = 64 * 1024
_JSON: Final = "application/json"
_NOT_PASSED: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "te", "trailer", "transfer-encoding", "upgrade"),
        *("content-length", "content-encoding", "set-cookie", "date", "server", "alt-svc"),
    }
)
"""Headers of an answer that are about its connection or its encoding, which are not the caller's."""


class Cause(StrEnum):
    """Why the model server gave no whole answer."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    NOT_A_STREAM = "not_a_stream"
    TIMEOUT = "timeout"
    BROKEN = "broken"
    INCOMPLETE = "incomplete"
    ERROR = "error"


class UpstreamFailed(TokenstreamError):
    """The model server can't be reached, or its answer broke off. The sentence names no address: callers read it."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class UpstreamAnswer:
    """A whole answer of the model server."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Upstream:
    """`url` is what `/chat/completions` is added to. `idle_seconds` bounds the time between two pieces of an answer.

    `key` gives the bearer token for callers that send none. Its value may change.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, idle_seconds: float) -> None:
        self._session = session
        self._url = str(URL(url)).rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=idle_seconds)

    async def ask(self, path: str, query: str, body: bytes, headers: Headers) -> "UpstreamStream | UpstreamAnswer":
        """`query` is as the caller sent it, encoded. Returns the stream, or the answer of a model server that refused. Raises UpstreamFailed."""
        asked = (*headers, ("Content-Type", _JSON), ("Accept", "text/event-stream"))
        response = await self._send("POST", path, query, asked, body)
        if response.status == 200 and response.content_type != _JSON:
            return UpstreamStream(response)
        return await _whole(response)

    async def get(self, path: str, query: str, headers: Headers) -> UpstreamAnswer:
        """Raises UpstreamFailed."""
        return await _whole(await self._send("GET", path, query, headers, None))

    async def _send(
        self, method: str, path: str, query: str, headers: Headers, body: bytes | None
    ) -> aiohttp.ClientResponse:
        url = URL(f"{self._url}{path}" + (f"?{query}" if query else ""), encoded=True)
        try:
            return await self._session.request(
                method,
                url,
                data=None if body is None else io.BytesIO(body),  # sent in pieces: it may be large
                headers=CIMultiDict([*headers, ("Accept-Encoding", "identity")]),
                timeout=self._timeout,
                allow_redirects=False,
            )
        except (aiohttp.SocketTimeoutError, TimeoutError):
            raise UpstreamFailed(Cause.TIMEOUT, "The model server did not answer in time.") from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise UpstreamFailed(Cause.UNREACHABLE, "The model server can't be reached.") from None


class UpstreamStream:
    """The answer of a model server that accepted. To be closed."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.headers = passed_on(response.headers)

    async def read(self) -> bytes:
        """The next piece; empty at the end. Raises UpstreamFailed where the answer broke off."""
        try:
            return await self._response.content.readany()
        except (aiohttp.SocketTimeoutError, TimeoutError):
            raise UpstreamFailed(Cause.TIMEOUT, "The model server stopped sending.") from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise UpstreamFailed(Cause.BROKEN, "The connection to the model server broke off.") from None

    async def read_first(self) -> bytes:
        """Returns the first piece. Raises UpstreamFailed if the answer is empty."""
        piece = await self.read()
        if not piece:
            raise UpstreamFailed(Cause.BROKEN, "The model server ended its answer before the first byte.")
        return piece

    def close(self) -> None:
        """Ends the connection, unless the answer was read to its end. A model server then stops the generation."""
        self._response.close()


def passed_on(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    """The headers of an answer that the caller gets."""
    kept_back = _NOT_PASSED | named_by_connection(headers)
    passed: dict[str, str] = {}
    for name, value in headers.items():
        if name.lower() not in kept_back:
            passed[name] = f"{passed[name]}, {value}" if name in passed else value
    return passed


def without_type(headers: Mapping[str, str]) -> dict[str, str]:
    """For an answer whose body is another."""
    return {name: value for name, value in headers.items() if name.lower() != "content-type"}


async def _whole(response: aiohttp.ClientResponse) -> UpstreamAnswer:
    body = bytearray()
    try:
        async for piece in response.content.iter_chunked(PIECE_BYTES):
            body += piece
            if len(body) >= MAX_REFUSAL_BYTES:
                break
    except (aiohttp.SocketTimeoutError, TimeoutError):
        raise UpstreamFailed(Cause.TIMEOUT, "The model server did not answer in time.") from None
    except (aiohttp.ClientError, OSError, ValueError):
        raise UpstreamFailed(Cause.BROKEN, "The connection to the model server broke off.") from None
    finally:
        response.close()
    return UpstreamAnswer(response.status, passed_on(response.headers), bytes(body[:MAX_REFUSAL_BYTES]))


def make_session() -> aiohttp.ClientSession:
    """As many connections as there are streams. Nothing is kept of what a server asks to remember."""
    connector = aiohttp.TCPConnector(limit=0, limit_per_host=0, ttl_dns_cache=10)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
