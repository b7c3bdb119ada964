"""Asks the realtime service what a relay's key permits, without publishing."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ably import AblyRealtime, AblyRest
from ably.types.connectionstate import ConnectionState
from ably.util.exceptions import AblyException

from processor.ably.ably import AblyOptions
from processor.ably.answers import number
from processor.ably.pages import history_pages
from processor.errors import TokenstreamError

ANSWER_SECONDS = 10.0
TOKEN_SECONDS = 60
NEEDED = ("publish", "history")
NEEDED_TO_PROBE = ("subscribe",)


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """`ahead_ms`: how far our clock is ahead of the service's, give or take half of `round_trip_ms`."""

    ahead_ms: float
    round_trip_ms: float


class ServiceRefusal(TokenstreamError):
    """The service's answer, as a clause for a person; `code` is its own, or 0 where none came."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class RealtimeService:
    """Every method is bounded in time, and raises ServiceRefusal."""

    def __init__(self, options: AblyOptions) -> None:
        self._options = options

    async def time(self) -> ServiceTime:
        """Needs no key that works."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS), AblyRest(**self._options.rest()) as rest:
                await rest.time()  # the first one pays for the connection
                sent, began = time.time() * 1000, time.monotonic()
                theirs = float(await rest.time())
                round_trip = (time.monotonic() - began) * 1000
        except Exception as error:
            raise _refusal(error) from error
        return ServiceTime(sent + round_trip / 2 - theirs, round_trip)

    async def connect(self) -> None:
        """Returns when a realtime connection was established; it is closed again."""
        client: AblyRealtime | None = None
        try:
            client = AblyRealtime(**self._options.realtime())
            settled: asyncio.Future[ConnectionState] = asyncio.get_running_loop().create_future()

            def on_change(change: object) -> None:
                current = change.current  # type: ignore[attr-defined]  # the SDK's ConnectionStateChange
                if current in (ConnectionState.CONNECTED, ConnectionState.FAILED) and not settled.done():
                    settled.set_result(current)

            client.connection.on(on_change)
            async with asyncio.timeout(ANSWER_SECONDS):
                state = await settled
        except Exception as error:
            raise _refusal(
                client.connection.error_reason if client and isinstance(error, TimeoutError) else error
            ) from error
        finally:
            if client is not None:
                await _close(client)
        if state is not ConnectionState.CONNECTED:
            raise _refusal(client.connection.error_reason)

    async def granted(self, channel: str, needed: Sequence[str] = NEEDED) -> frozenset[str]:
        """Which of the operations needed the key grants on the channel: a token gets those of both."""
        asked = json.dumps({channel: list(needed)})
        try:
            async with asyncio.timeout(ANSWER_SECONDS), AblyRest(**self._options.rest()) as rest:
                token = await rest.auth.request_token({"capability": asked, "ttl": TOKEN_SECONDS * 1000})
                return _operations(str(token.capability), channel, needed)
        except AblyException as error:
            if error.code == 40160:
                return frozenset()
            raise _refusal(error) from error
        except Exception as error:
            raise _refusal(error) from error

    async def read_history(self, channel: str) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS), AblyRest(**self._options.rest()) as rest:
                async for _ in history_pages(rest, channel, 1):
                    break
        except Exception as error:
            raise _refusal(error) from error


def _operations(capability: str, channel: str, needed: Sequence[str]) -> frozenset[str]:
    granted = json.loads(capability).get(channel, [])
    return frozenset(needed) if "*" in granted else frozenset(granted) & frozenset(needed)


async def _close(client: AblyRealtime) -> None:
    try:
        async with asyncio.timeout(2.0):
            await client.close()
    except Exception:  # noqa: BLE001, S110 - it is discarded in any case
        pass


def _refusal(error: BaseException | None) -> ServiceRefusal:
    match error:
        case ServiceRefusal():
            return error
        case AblyException():
            return ServiceRefusal(f"{error.message} ({error.code})", number(error.code))
        case TimeoutError() | None:
            return ServiceRefusal(f"no answer within {ANSWER_SECONDS:g} s")
        case _:
            return ServiceRefusal(f"{type(error).__name__}: {error}")
