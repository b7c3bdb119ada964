"""Who may read which channel: open servers, static tokens with channel patterns, Ably JWTs by their capability."""

import hmac
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import orjson

from processor.api.errors import unauthorized

READ = "history"
DELETE = "message-delete-any"
"""The capability that Ably asks for the same: a reader's token must not delete what it reads."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a caller may do. `patterns` (of a static token) allow everything on the channels they match."""

    everything: bool = False
    patterns: tuple[str, ...] = ()
    capability: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def allows(self, operation: str, channel: str) -> bool:
        if self.everything or any(fnmatchcase(channel, pattern) for pattern in self.patterns):
            return True
        return any(
            ("*" in operations or operation in operations) and covers(resource, channel)
            for resource, operations in self.capability.items()
        )


@dataclass(frozen=True)
class Access:
    """`tokens` are (token, channel pattern); `ably_key` gives the key as it is now, or None."""

    open: bool
    tokens: tuple[tuple[str, str], ...] = ()
    ably_key: Callable[[], str | None] = lambda: None

    def grant(self, authorization: str | None) -> Grant:
        """Raises ApiError 401. On an open server a credential is not looked at."""
        if self.open:
            return Grant(everything=True)
        scheme, _, credential = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not credential.strip():
            raise unauthorized("this needs `Authorization: Bearer` with an API token or an Ably JWT")
        return self._grant_of(credential.strip())

    def _grant_of(self, credential: str) -> Grant:
        # Every entry is compared, and in constant time: how long it takes tells nothing of a token.
        given = credential.encode("utf-8", "surrogateescape")
        patterns = tuple([pattern for token, pattern in self.tokens if hmac.compare_digest(token.encode(), given)])
        if patterns:
            return Grant(patterns=patterns)
        key = self.ably_key()
        if key is None or credential.count(".") != 2:
            raise unauthorized("the credential is no API token of this server")
        return Grant(capability=_verified_capability(credential, key))


def is_loopback(host: str) -> bool:
    """Whether a server bound to `host` is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _verified_capability(token: str, key: str) -> Mapping[str, Sequence[str]]:
    import jwt  # noqa: PLC0415 - with it comes a cryptography library, which a relay's health port does not need

    name, _, secret = key.partition(":")
    try:
        if jwt.get_unverified_header(token).get("kid") != name:
            raise unauthorized("the JWT is signed with another Ably key (`kid`)")
        claims = jwt.decode(
            token, secret, algorithms=["HS256"], options={"require": ["exp"], "verify_aud": False, "verify_iat": False}
        )
        return _capability(claims)
    except jwt.ExpiredSignatureError:
        raise unauthorized("the JWT has expired") from None
    except (jwt.InvalidTokenError, ValueError) as error:
        raise unauthorized("the JWT is not valid: signature, `exp` or `x-ably-capability`") from error


def _capability(claims: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
    """A JWT that says nothing of capabilities has its key's, which is not known here: it grants nothing."""
    text = claims.get("x-ably-capability", "{}")
    found = orjson.loads(text) if isinstance(text, str) else text
    if not isinstance(found, dict) or not all(isinstance(operations, list) for operations in found.values()):
        raise ValueError("not an object of lists")
    return found


def covers(resource: str, channel: str) -> bool:
    """Ably's wildcards: a `*` segment stands for one segment, a last one for all that follow. A `[qualifier]` is skipped."""
    if resource.startswith("["):
        qualifier, _, resource = resource.partition("]")
        if qualifier.startswith("[meta") or (qualifier == "[*" and not resource):
            return False
    wanted, given = resource.split(":"), channel.split(":")
    for index, segment in enumerate(wanted):
        if segment == "*" and index == len(wanted) - 1:
            return len(given) > index
        if index >= len(given) or segment not in ("*", given[index]):
            return False
    return len(wanted) == len(given)
