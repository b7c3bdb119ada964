"""Verifies Ably JWTs: their signature, their key, and which channels their capability covers."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from processor.api.errors import unauthorized

Capability = Mapping[str, Sequence[str]]
"""Operations by resource, as Ably writes them."""


def verified(token: str, keys: Sequence[str]) -> tuple[str, Capability]:
    """Returns the name of the key (`app.key`) that signed the token, and the token's capability.

    `keys` are `app.key:secret`; the token's `kid` names the one it is checked with. Raises ApiError 401.
    """
    import jwt  # noqa: PLC0415 - with it comes a cryptography library, which a relay's health port does not need

    try:
        name = jwt.get_unverified_header(token).get("kid")
        secrets = [secret for known, _, secret in (key.partition(":") for key in keys) if known == name]
        if not secrets:
            raise unauthorized("No key of this server has the JWT's `kid`. Sign it with a key that the server checks.")
        claims = jwt.decode(
            token,
            secrets[0],
            algorithms=["HS256"],
            options={"require": ["exp"], "verify_aud": False, "verify_iat": False},
        )
        return str(name), _capability(claims)
    except jwt.ExpiredSignatureError:
        raise unauthorized("The JWT has expired. Request a new one.") from None
    except (jwt.PyJWTError, ValueError) as error:
        raise unauthorized("The JWT is invalid. Check its signature, `exp` and `x-ably-capability`.") from error


def _capability(claims: Mapping[str, Any]) -> Capability:
    """A JWT without a capability has its key's, which is not known here: it grants nothing."""
    text = claims.get("x-ably-capability", "{}")
    found = orjson.loads(text) if isinstance(text, str) else text
    if not isinstance(found, dict) or not all(isinstance(operations, list) for operations in found.values()):
        raise ValueError("not an object of lists")
    return found


def covers(resource: str, channel: str) -> bool:
    """Whether a capability's resource includes a channel, by Ably's wildcards.

    A `*` segment matches one segment, a last one matches all that follow. Of the qualifiers only `[*]` includes
    channels:
    `[queue]` and `[meta]` name other things, and Ably knows no others.
    """
    if resource.startswith("["):
        if not resource.startswith("[*]"):
            return False
        resource = resource.removeprefix("[*]")
    wanted, given = resource.split(":"), channel.split(":")
    for index, segment in enumerate(wanted):
        if segment == "*" and index == len(wanted) - 1:
            return len(given) > index
        if index >= len(given) or segment not in ("*", given[index]):
            return False
    return len(wanted) == len(given)
