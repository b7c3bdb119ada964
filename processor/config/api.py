"""The credentials that `/v1` accepts, from settings and the current contents of their files."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import structlog

from processor.config.secrets import WatchedFile
from processor.config.settings import Settings
from processor.config.sources import PREFIX
from processor.config.values import LEAST_KEY_SECRET, LEAST_SECRET, ApiToken, can_check, read_ably_keys, read_api_tokens

T = TypeVar("T")

log = structlog.stdlib.get_logger("tokenstream.config")
Source = Callable[[], Awaitable[T]]


def token_source(settings: Settings) -> Source[Sequence[ApiToken]]:
    """API_TOKENS."""

    def parse(text: str) -> Sequence[ApiToken]:
        tokens = read_api_tokens(text)
        settings.secrets.add(*(token.token for token in tokens))
        return tokens

    return _source("API_TOKENS", settings.api_tokens_file, parse, settings.api_tokens)


def key_source(settings: Settings) -> Source[Sequence[str]]:
    """API_ABLY_KEYS, or where it is not set ABLY_KEY: not if its secret is too short to check signatures with."""

    def parse(text: str) -> Sequence[str]:
        keys = read_ably_keys(text)
        for key in keys:
            settings.secrets.add_ably_key(key)
        return keys

    if settings.api_ably_keys or settings.ably_key is None:
        return _source("API_ABLY_KEYS", settings.api_ably_keys_file, parse, settings.api_ably_keys)
    key = settings.ably_key.get_secret_value()
    return _source("ABLY_KEY", settings.ably_key_file, parse, (key,) if can_check(key) else ())


def log_access(settings: Settings) -> None:
    """Logs who may use `/v1`, and warns of what is allowed but should not stay so."""
    tokens, keys = len(settings.api_tokens), len(settings.api_ably_keys)
    if not settings.api_is_open and not tokens and not keys and settings.ably_key is None:
        log.warning(
            "api_closed",
            detail=f"No request can use /v1: {PREFIX}HTTP_HOST is {settings.http_host}, and there is no credential. "
            f"Set {PREFIX}API_TOKENS or {PREFIX}API_ABLY_KEYS, or {PREFIX}API_PUBLIC=true to let anyone read.",
        )
    readers = (
        "anyone" if settings.api_public is True else "loopback connections" if settings.api_is_open else "credentials"
    )
    log.info("api_access", readers=readers, tokens=tokens, jwt_keys=keys or int(settings.ably_key is not None))
    for number, token in enumerate(settings.api_tokens, start=1):
        if len(token.token) < LEAST_SECRET:
            log.warning(
                "api_token_short",
                entry=number,
                detail=f"It has fewer than {LEAST_SECRET} characters: it can be guessed.",
            )
    if not keys and settings.ably_key is not None and not can_check(settings.ably_key.get_secret_value()):
        log.warning(
            "jwt_key_short", detail=f"ABLY_KEY's secret has fewer than {LEAST_KEY_SECRET} characters: no JWT is taken."
        )


def _source(name: str, path: Path | None, parse: Callable[[str], T], value: T) -> Source[T]:
    if path is not None:
        return WatchedFile(name, path, parse, value)

    async def given() -> T:
        return value

    return given
