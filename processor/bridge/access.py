"""Decides who may produce on which channel: callers on this machine, or callers with a token whose pattern matches
the channel.

A bridge without tokens serves only loopback. A web page can reach it there through its visitor's browser: such
requests name another `Host`, or have an `Origin`, and are refused.
"""

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from processor.bridge.asking import TOKEN_HEADER
from processor.bridge.refusals import Refusal
from processor.config.values import ApiToken

TokenSource = Callable[[], Awaitable[Sequence[ApiToken]]]


class BridgeAccess:
    """`tokens` gives the entries of BRIDGE_TOKENS. `required`: without any, nobody may produce."""

    def __init__(self, tokens: TokenSource, *, required: bool) -> None:
        self._tokens = tokens
        self._required = required

    async def admit(self, headers: Mapping[str, str]) -> "Admission":
        """Raises Refusal 401 or 403."""
        tokens = await self._tokens()
        if not tokens and not self._required:
            _refuse_web_pages(headers)
            return Admission(None)
        # Every entry is compared, in constant time: the duration reveals nothing about a token.
        given = headers.get(TOKEN_HEADER, "").encode("utf-8", "surrogateescape")
        matching = [token for token in tokens if hmac.compare_digest(token.token.encode(), given)]
        if not matching:
            raise Refusal(401, "unauthorized", f"Header {TOKEN_HEADER} must have a token of BRIDGE_TOKENS.")
        return Admission([token.pattern for token in matching if not token.read_only])


class Admission:
    """What a caller may do. Without `patterns` it may produce on any channel."""

    def __init__(self, patterns: Sequence[str] | None) -> None:
        self._patterns = patterns

    def check_channel(self, channel: str) -> None:
        """Raises Refusal 403."""
        # `*` and `?` are wildcards; `[` is literal.
        if self._patterns is None or any(
            fnmatchcase(channel, pattern.replace("[", "[[]")) for pattern in self._patterns
        ):
            return
        raise Refusal(403, "forbidden", "The token does not allow this channel.")


def _refuse_web_pages(headers: Mapping[str, str]) -> None:
    host = headers.get("Host")
    if host is not None and not _is_local(f"//{host}"):
        raise Refusal(403, "forbidden", "A bridge without BRIDGE_TOKENS answers only for a Host of this machine.")
    origin = headers.get("Origin")
    if origin is not None and not _is_local(origin):
        raise Refusal(403, "forbidden", "A bridge without BRIDGE_TOKENS answers no web page of another host.")


def _is_local(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
