"""Decides who may read, cancel and delete the responses of a channel: open servers, static tokens with channel
patterns, Ably JWTs.

An open server is read-only: cancelling and deleting always need a credential.
A server that is open only to loopback serves connections from a loopback address whose request names a loopback
`Host` and shows no sign of a proxy. A web page that reaches it by DNS rebinding sends another `Host`; a proxy or an
ingress on the same machine forwards requests of clients elsewhere.
"""

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from processor.api.capability import Capability, covers, verified
from processor.api.errors import bad_request, forbidden, unauthorized
from processor.config.values import ApiToken

READ = "history"
DELETE = "message-delete-any"
"""The capability that Ably asks for the same: a reader's token must not delete what it reads."""
CANCEL = "publish"
"""Who may write to the channel may end what is written to it; readers have `subscribe` and `history` alone."""

ADDED_BY_PROXIES = (
    "forwarded",
    "via",
    "x-forwarded-",
    "x-real-ip",
    "x-envoy-",
    "x-original-",
    "cf-connecting-ip",
    "true-client-ip",
)
"""How the names of such headers begin, in lower case."""

Source = Callable[[], Awaitable[Sequence[ApiToken]]]
KeySource = Callable[[], Awaitable[Sequence[str]]]


async def no_tokens() -> Sequence[ApiToken]:
    return ()


async def no_keys() -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Grant:
    """What a caller may do. `credential` names what granted it, without any secret; it is written to the log."""

    credential: str = "none"
    reads_all: bool = False
    tokens: tuple[ApiToken, ...] = ()
    capability: Capability = field(default_factory=dict)

    def allows(self, operation: str, channel: str) -> bool:
        if self.reads_all and operation == READ:
            return True
        return any(_token_allows(token, operation, channel) for token in self.tokens) or any(
            _includes(operations, operation) and covers(resource, channel)
            for resource, operations in self.capability.items()
        )


def _token_allows(token: ApiToken, operation: str, channel: str) -> bool:
    if token.read_only and operation != READ:
        return False
    # `*` and `?` are wildcards; `[` is literal.
    return fnmatchcase(channel, token.pattern.replace("[", "[[]"))


def _includes(operations: Sequence[str], operation: str) -> bool:
    """`*` does not include deleting: Ably's own examples grant it to readers, whose key could not delete there."""
    return operation in operations or (operation != DELETE and "*" in operations)


@dataclass(frozen=True, slots=True)
class Asked:
    """What decides about a request: every value of its `Authorization` and `Host`, whether it changes anything
    (`deletes`, or cancels), the address its connection comes from (None where that is unknown), and whether a proxy
    passed it on.
    """

    authorization: Sequence[str] = ()
    hosts: Sequence[str] = ()
    deletes: bool = False
    peer: str | None = None
    forwarded: bool = False


@dataclass(frozen=True)
class Access:
    """`open`: anyone may read. `loopback_only`: anyone who connects from loopback. `keys` check JWTs."""

    open: bool
    loopback_only: bool = False
    tokens: Source = no_tokens
    keys: KeySource = no_keys

    async def grant(self, asked: Asked) -> Grant:
        """Raises ApiError 400, 401 or 403. Reading from an open server, no credential is looked at."""
        trusted = not self.loopback_only or _is_local(asked)
        if self.open and trusted and not asked.deletes:
            return Grant(reads_all=True)
        if len(asked.authorization) > 1:
            raise bad_request("The request has several Authorization headers. Send one.")
        if self.open and not trusted and not asked.authorization:
            raise forbidden(
                "This server answers without credentials only on loopback: connections from this machine, not through a proxy, "
                "for a Host of localhost, 127.0.0.1 or [::1]. Connect in that way, or send a credential."
            )
        scheme, _, credential = (asked.authorization[0] if asked.authorization else "").partition(" ")
        if scheme.lower() != "bearer" or not credential.strip():
            raise unauthorized("This needs `Authorization: Bearer` with an API token or an Ably JWT.")
        return await self._grant_of(credential.strip())

    async def _grant_of(self, credential: str) -> Grant:
        # Every entry is compared, in constant time: the duration reveals nothing about a token.
        given = credential.encode("utf-8", "surrogateescape")
        entries = [
            (number, token)
            for number, token in enumerate(await self.tokens(), start=1)
            if hmac.compare_digest(token.token.encode(), given)
        ]
        if entries:
            numbers = ", ".join(str(number) for number, _ in entries)
            return Grant(f"API_TOKENS entry {numbers}", tokens=tuple(token for _, token in entries))
        keys = await self.keys()
        if not keys or credential.count(".") != 2:
            raise unauthorized("The credential is not an API token of this server.")
        name, capability = verified(credential, keys)
        return Grant(f"key {name}", capability=capability)


def was_forwarded(headers: Iterable[str]) -> bool:
    """Whether any of these names is a header that proxies add."""
    return any(name.lower().startswith(ADDED_BY_PROXIES) for name in headers)


def _is_local(asked: Asked) -> bool:
    hosts = all(_is_loopback_host(host) for host in asked.hosts)
    return hosts and not asked.forwarded and asked.peer is not None and _is_loopback_peer(asked.peer)


def _is_loopback_peer(peer: str) -> bool:
    """A socket for both families shows IPv4 addresses as IPv6 ones (`::ffff:127.0.0.1`)."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _is_loopback_host(host: str) -> bool:
    """`host` as the header has it, with a port or without."""
    name = host.strip()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    return is_loopback(name.lower())


def is_loopback(host: str) -> bool:
    """Whether a server bound to `host` is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def fixed_tokens(*tokens: ApiToken) -> Source:
    async def given() -> Sequence[ApiToken]:
        return tokens

    return given


def fixed_keys(*keys: str) -> KeySource:
    async def given() -> Sequence[str]:
        return keys

    return given
