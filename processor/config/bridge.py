"""The credentials of the bridge, from settings and the current contents of their files."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from processor.config.secrets import WatchedFile
from processor.config.settings import Settings
from processor.config.values import ApiToken, read_api_tokens

T = TypeVar("T")
Source = Callable[[], Awaitable[T]]


def token_source(settings: Settings) -> Source[tuple[ApiToken, ...]]:
    """BRIDGE_TOKENS."""

    def parse(text: str) -> tuple[ApiToken, ...]:
        tokens = read_api_tokens(text)
        settings.secrets.add(*(token.token for token in tokens))
        return tokens

    if settings.bridge_tokens_file is not None:
        return WatchedFile("BRIDGE_TOKENS", settings.bridge_tokens_file, parse, settings.bridge_tokens)
    return _fixed(settings.bridge_tokens)


def key_source(settings: Settings) -> Source[str | None]:
    """BRIDGE_UPSTREAM_KEY."""

    def parse(text: str) -> str | None:
        settings.secrets.add(text)
        return text

    given = settings.bridge_upstream_key
    key = None if given is None else given.get_secret_value()
    if settings.bridge_upstream_key_file is not None:
        return WatchedFile("BRIDGE_UPSTREAM_KEY", settings.bridge_upstream_key_file, parse, key)
    return _fixed(key)


def _fixed(value: T) -> Source[T]:
    async def given() -> T:
        return value

    return given
