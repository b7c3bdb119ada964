"""Answers token requests, which must be signed, fresh and unused, with a token of what was requested and the key
permits. Pure.
"""

import base64
import hmac
import json
from collections.abc import Mapping
from typing import Any

from devtools.emulator.auth import EVERYTHING, Capability, Key, Keyring, issue_token, matches, refuse

DEFAULT_TTL = 3600.0
MAX_TTL = 24 * 3600.0
FRESH = 15 * 60.0
"""Seconds a request's timestamp may differ from the server's, and so long its nonce is remembered."""
OPERATIONS = [
    "publish",
    "subscribe",
    "presence",
    "presence-subscribe",
    "history",
    "stats",
    "channel-metadata",
    "push-subscribe",
    "push-admin",
    "privileged-headers",
    "object-publish",
    "object-subscribe",
    "annotation-publish",
    "annotation-subscribe",
    "message-update-own",
    "message-update-any",
    "message-delete-own",
    "message-delete-any",
]


class TokenRequests:
    def __init__(self, keys: Keyring) -> None:
        self._keys = keys
        self._nonces: dict[tuple[str, str], float] = {}

    def answer(self, body: Mapping[str, Any], wall: float, *, trusted: bool) -> dict[str, Any]:
        """Returns token details. `trusted`: the key itself was given, so no signature is needed.

        Raises Refused: 40000 for an impossible ttl or capability, 40101 for a wrong mac, 40104 for a request that is
        not current, 40105 for a repeated nonce, 40160 if the key has no part of the capability.
        """
        key = self._keys.get(body.get("keyName"))
        if key is None:
            raise refuse(40101, "No such key; this local server knows only the key it was started with")
        ttl = _ttl(body.get("ttl"))
        if not trusted:
            _check_mac(key, body)
            self._check_fresh(key, body, wall)
        capability, client_id = body.get("capability"), body.get("clientId")
        granted = intersection(parse(capability), key.capability) if capability else key.capability
        if not granted:
            raise refuse(40160, "The key has none of the capability asked for")
        text = json.dumps({resource: list(granted[resource]) for resource in sorted(granted)}, separators=(",", ":"))
        issued = int(wall * 1000)
        details = {
            "token": issue_token(key, text, client_id, ttl, wall),
            "keyName": key.name,
            "issued": issued,
            "expires": issued + int(ttl * 1000),
            "capability": text,
        }
        return details | ({"clientId": client_id} if client_id else {})

    def _check_fresh(self, key: Key, body: Mapping[str, Any], wall: float) -> None:
        timestamp, nonce = body.get("timestamp"), (key.name, str(body.get("nonce")))
        if not isinstance(timestamp, (int, float)) or abs(timestamp / 1000 - wall) > FRESH:
            raise refuse(40104, "Timestamp not current")
        self._nonces = {known: seen for known, seen in self._nonces.items() if seen > wall - 2 * FRESH}
        if nonce in self._nonces:
            raise refuse(40105, "Nonce value replayed")
        self._nonces[nonce] = wall


def _check_mac(key: Key, body: Mapping[str, Any]) -> None:
    fields = [body.get(name) for name in ("keyName", "ttl", "capability", "clientId", "timestamp", "nonce")]
    text = "".join(f"{'' if value is None else value}\n" for value in fields)
    mac = base64.b64encode(key.sign(text.encode())).decode()
    if not hmac.compare_digest(mac, str(body.get("mac"))):
        raise refuse(40101, "Token request signature doesn't match; is it made with this server's key?")


def _ttl(given: object) -> float:
    """Seconds, from milliseconds."""
    if given is None or given == "":
        return DEFAULT_TTL
    try:
        ttl = float(given) / 1000  # type: ignore[arg-type]  # what is no number is refused
    except (TypeError, ValueError):
        raise refuse(40000, f"ttl {given!r} is not a number of milliseconds") from None
    if not 0 <= ttl <= MAX_TTL:
        raise refuse(40000, f"ttl {given!r} is not 0 to {int(MAX_TTL * 1000)} milliseconds")
    return ttl


def parse(text: object) -> dict[str, tuple[str, ...]]:
    """A capability, strictly. Raises Refused 40000."""
    try:
        found = json.loads(str(text))
        capability = {str(resource): tuple(map(str, operations)) for resource, operations in found.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise refuse(40000, "capability is not a JSON object of resource to operations") from error
    for resource, operations in capability.items():
        if not operations or ("*" in operations and len(operations) > 1):
            raise refuse(40000, f"capability of {resource!r} must have operations, and '*' alone")
        if unknown := set(operations) - {"*", *OPERATIONS}:
            raise refuse(40000, f"capability of {resource!r} has unknown operations: {', '.join(sorted(unknown))}")
    return capability


def intersection(asked: Capability, held: Capability) -> dict[str, tuple[str, ...]]:
    """What both allow. A resource that only one side's wildcard covers keeps the narrower name."""
    if held is EVERYTHING:
        return dict(asked)
    granted: dict[str, set[str]] = {}
    for wanted, operations in asked.items():
        for resource, own in held.items():
            if not (matches(resource, wanted) or matches(wanted, resource)):
                continue
            narrower = wanted if matches(resource, wanted) else resource
            both = set(own) if "*" in operations else set(operations) if "*" in own else set(operations) & set(own)
            if both:
                granted.setdefault(narrower, set()).update(both)
    return {resource: tuple(sorted(operations)) for resource, operations in granted.items()}
