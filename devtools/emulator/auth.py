"""Decides who may do what: keys, JSON web tokens (HS256), signed token requests, capabilities. Pure: time is an
argument.

Tokens issued by `requestToken` (see `tokens`) are JSON web tokens themselves, so the server has no table of them.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from devtools.emulator import wire

Capability = Mapping[str, tuple[str, ...]]
"""Operations by resource."""
EVERYTHING: Capability = {"*": ("*",)}


class Refused(Exception):
    """Not allowed; carries Ably's error."""

    def __init__(self, info: wire.ErrorInfo) -> None:
        super().__init__(f"{info.code}: {info.message}")
        self.info = info


def refuse(code: int, message: str | None = None) -> Refused:
    return Refused(wire.error(code, message))


@dataclass(frozen=True, slots=True)
class Key:
    name: str
    secret: str
    capability: Capability = field(default_factory=lambda: EVERYTHING)

    @classmethod
    def parse(cls, text: str) -> "Key":
        name, colon, secret = text.partition(":")
        if not (name and colon and secret):
            raise ValueError(f"key {name!r} is not of the form app.key:secret")
        return cls(name, secret)

    def sign(self, data: bytes) -> bytes:
        return hmac.new(self.secret.encode(), data, hashlib.sha256).digest()


class Keyring:
    """The keys a server knows, by name."""

    def __init__(self, *keys: Key) -> None:
        self._keys = {key.name: key for key in keys}

    def add(self, key: Key) -> None:
        self._keys[key.name] = key

    def get(self, name: object) -> Key | None:
        return self._keys.get(name) if isinstance(name, str) else None


@dataclass(frozen=True, slots=True)
class Grant:
    """What a credential allows. `expires` is in seconds since the epoch; None for a key."""

    capability: Capability = field(default_factory=lambda: EVERYTHING)
    client_id: str | None = None
    expires: float | None = None
    is_key: bool = False

    def allows(self, operation: str, channel: str) -> bool:
        return self.capability is EVERYTHING or any(
            ("*" in operations or operation in operations) and matches(resource, channel)
            for resource, operations in self.capability.items()
        )

    def require(self, operation: str, channel: str) -> None:
        """Raises Refused 40160."""
        if not self.allows(operation, channel):
            raise refuse(40160, f"Channel denied access based on given capability; channelId = {channel}")


def matches(resource: str, channel: str) -> bool:
    """Matches Ably's wildcards: a `*` segment matches one segment, a last one matches all that follow."""
    if resource.startswith("["):
        resource = resource.partition("]")[2]
    wanted, given = resource.split(":"), channel.split(":")
    for index, segment in enumerate(wanted):
        if segment == "*" and index == len(wanted) - 1:
            return len(given) > index
        if index >= len(given) or segment not in ("*", given[index]):
            return False
    return len(wanted) == len(given)


def authorize_key(keys: Keyring, text: str) -> Grant:
    """Raises Refused 40101."""
    key = keys.get(text.partition(":")[0])
    if key is None or not hmac.compare_digest(text.encode(), f"{key.name}:{key.secret}".encode()):
        raise refuse(40101, "Invalid key; this local server knows only the key it was started with")
    return Grant(key.capability, is_key=True)


def authorize_token(keys: Keyring, token: str, wall: float) -> Grant:
    """Raises Refused: 40101 for what is no JSON web token, 40400 for one of an unknown key, 40144 for one not signed
    with it, 40142 when it has expired. `wall`: seconds since the epoch.
    """
    if token.count(".") != 2:
        raise refuse(40101, "Invalid accessToken in request; it is not a JSON web token")
    try:
        head, body, signature = token.split(".")
        header, claims = _segment(head), _segment(body)
        key = keys.get(header.get("kid"))
        valid = key is not None and hmac.compare_digest(_unpadded(key.sign(f"{head}.{body}".encode())), signature)
    except (ValueError, binascii.Error) as error:
        raise refuse(40144, "Unexpected error decoding token; it is not a JSON web token") from error
    if key is None:
        raise refuse(40400, "Unable to find the key that the JSON web token's kid names")
    if header.get("alg") != "HS256" or not valid:
        raise refuse(40144, "Error verifying JSON web token; its signature is not that of its key")
    expires = claims.get("exp")
    if not isinstance(expires, (int, float)) or wall >= expires:
        raise refuse(40142)
    capability = claims.get("x-ably-capability")
    client_id = claims.get("x-ably-clientId")
    return Grant(
        capability=parse_capability(capability) if isinstance(capability, str) else key.capability,
        client_id=client_id if isinstance(client_id, str) else None,
        expires=float(expires),
    )


def parse_capability(text: str) -> dict[str, tuple[str, ...]]:
    """Raises Refused 40000."""
    try:
        found = json.loads(text)
        return {str(resource): tuple(map(str, operations)) for resource, operations in found.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise refuse(40000, "capability is not a JSON object of resource to operations") from error


def issue_token(key: Key, capability: Any, client_id: str | None, ttl: float, wall: float) -> str:
    """A JSON web token as Ably takes it. `capability` is a JSON string or what becomes one."""
    text = capability if isinstance(capability, str) else json.dumps(capability)
    claims: dict[str, Any] = {"iat": int(wall), "exp": wall + ttl, "x-ably-capability": text}
    if client_id is not None:
        claims["x-ably-clientId"] = client_id
    head = _packed({"typ": "JWT", "alg": "HS256", "kid": key.name})
    signing = f"{head}.{_packed(claims)}"
    return f"{signing}.{_unpadded(key.sign(signing.encode()))}"


def _segment(text: str) -> dict[str, Any]:
    found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    if not isinstance(found, dict):
        raise ValueError("not an object")  # noqa: TRY004 - the text is at fault, not the caller
    return found


def _packed(value: dict[str, Any]) -> str:
    return _unpadded(json.dumps(value, separators=(",", ":")).encode())


def _unpadded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
