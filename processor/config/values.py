"""Converts the text of a setting to its value: by its type and bounds, or by a reader if pydantic has no such type.

A reader raises ValueError with the words that follow the variable's name. Readers convert text, as the environment
gives it, and return any other value unchanged: the type checks it. A message quotes a value only if it cannot be a
secret.
"""

import re
from collections.abc import Callable
from typing import Annotated, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import BeforeValidator, ByteSize, Field, InstanceOf, TypeAdapter

from processor.config.patterns import LinearPattern
from topics.openai_channel import ChannelTemplate

_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_HOST_PORT: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")
_ABLY_KEY: Final = re.compile(r"[\w-]+\.[\w-]+:\S+")
_BOOL: Final = TypeAdapter(bool)
STORE_SCHEMES: Final = ("sqlite", "postgresql", "postgres", "s3", "gs", "az", "file")
MAX_PORT: Final = 65535
READ_ONLY: Final = "read:"
LOOPBACK: Final = "loopback"
LEAST_SECRET: Final = 16
"""Characters of an API token, below which the log warns that it can be guessed."""
LEAST_KEY_SECRET: Final = 6
"""Characters of a key's secret, below which it checks no signature: a cut-off key must not be trusted. Ably's have 43."""


def _reader(read: Callable[[str], object]) -> BeforeValidator:
    return BeforeValidator(lambda given: read(given.strip()) if isinstance(given, str) else given)


def _read_public(text: str) -> bool | str:
    if text.lower() == LOOPBACK:
        return LOOPBACK
    try:
        return _BOOL.validate_python(text)
    except ValueError:
        raise ValueError(f'must be true, false or {LOOPBACK}, not "{text}"') from None


def _read_pattern(text: str) -> LinearPattern:
    try:
        return LinearPattern(text)
    except ValueError as error:
        raise ValueError(
            f'must be a regular expression in RE2 syntax (no look-around, no back-references), and "{text}" is not: {error}'
        ) from error


def read_ably_key(text: str) -> str:
    if _ABLY_KEY.fullmatch(text) is None:
        raise ValueError("must be an Ably API key, of the shape app.key:secret (the value given is not shown)")
    return text


def _read_store_url(text: str) -> str:
    scheme, colon, rest = text.partition("://")
    if scheme not in STORE_SCHEMES or not colon or not rest:
        known = ", ".join(f"{scheme}://" for scheme in STORE_SCHEMES)
        raise ValueError(f"must be a URL that begins with one of {known} (the value given is not shown)")
    return text


def _read_endpoint(text: str) -> str:
    match = _HOST_PORT.fullmatch(text)
    if match is None or int(match[1] or 1) not in range(1, MAX_PORT + 1):
        raise ValueError(f'must be host or host:port, not "{text}"')
    return text


def _read_servers(text: str) -> str:
    servers = [server.strip() for server in text.split(",")]
    matches = [_HOST_PORT.fullmatch(server) for server in servers]
    if not all(match and int(match[1] or 0) in range(1, MAX_PORT + 1) for match in matches):
        raise ValueError(f'must be host:port, or several with commas between, not "{text}"')
    return ",".join(servers)


def _read_topic(text: str) -> str:
    if _TOPIC.fullmatch(text) is None or text in (".", ".."):
        raise ValueError(f'must be a topic name, 1 to 249 of A-Z a-z 0-9 . _ -, not "{text}"')
    return text


def _read_channel(text: str) -> str:
    if text[0] in "[:" or not text.isprintable():
        raise ValueError(f'must be a channel name, not beginning with [ or :, not "{text}"')
    return text


class ApiToken(NamedTuple):
    """A bearer token of `/v1`, and the channels it reaches: `*` and `?` in `pattern` are wildcards, all else is literal."""

    token: str
    pattern: str
    read_only: bool = False


def read_api_tokens(text: str) -> tuple[ApiToken, ...]:
    """`token=channel-pattern,...`, or `token=read:channel-pattern` for a token that only reads.

    The last `=` of an entry separates the two, as tokens in base64 may end with some.
    """
    tokens = []
    for number, entry in enumerate((entry.strip() for entry in text.split(",")), start=1):
        token, _, pattern = entry.rpartition("=")
        channels = pattern.removeprefix(READ_ONLY)
        if not token or not channels:
            raise ValueError(f"must be token=channel-pattern, or several with commas between; entry {number} is not")
        tokens.append(ApiToken(token, channels, read_only=pattern != channels))
    return tuple(tokens)


def read_ably_keys(text: str) -> tuple[str, ...]:
    """`app.key:secret,...`. A key that checks signatures must not be guessable, nor cut off."""
    keys = tuple(key.strip() for key in text.split(","))
    for number, key in enumerate(keys, start=1):
        if _ABLY_KEY.fullmatch(key) is None:
            raise ValueError(f"must be Ably API keys, app.key:secret, with commas between; entry {number} is not")
        if not can_check(key):
            raise ValueError(
                f"needs secrets of at least {LEAST_KEY_SECRET} characters; that of entry {number} is shorter"
            )
    return keys


def can_check(key: str) -> bool:
    """Whether an Ably key's secret is long enough to check signatures with."""
    return len(key.partition(":")[2]) >= LEAST_KEY_SECRET


def _read_origins(text: str) -> tuple[str, ...]:
    origins = tuple(origin.strip() for origin in text.split(","))
    for origin in origins:
        if origin != "*" and re.fullmatch(r"https?://[^/\s]+", origin) is None:
            raise ValueError(f'must be origins as https://app.example, with commas between, or *, not "{origin}"')
    return origins


def _read_template(text: str) -> ChannelTemplate:
    try:
        return ChannelTemplate(text)
    except ValueError as error:
        raise ValueError(f'must be a channel name with placeholders; in "{text}", {error}') from error


def _read_http_url(text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname or url.username or url.query or url.fragment:
        raise ValueError("must be a URL as http://localhost:8000/v1, without user, query or fragment")
    return text.rstrip("/")


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""Of messages or requests a second; 0 is no limit."""
Size = Annotated[ByteSize, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
UPPER = BeforeValidator(lambda given: given.upper() if isinstance(given, str) else given)
"""For words that may be written in any case."""
LOWER = BeforeValidator(lambda given: given.lower() if isinstance(given, str) else given)
Public = Annotated[bool | Literal["loopback"], _reader(_read_public)]
Pattern = Annotated[InstanceOf[LinearPattern], _reader(_read_pattern)]
AblyKey = _reader(read_ably_key)
StoreUrl = Annotated[str, _reader(_read_store_url)]
Endpoint = Annotated[str, _reader(_read_endpoint)]
Servers = Annotated[str, _reader(_read_servers)]
Topic = Annotated[str, _reader(_read_topic)]
Channel = Annotated[str, _reader(_read_channel)]
Template = Annotated[InstanceOf[ChannelTemplate], _reader(_read_template)]
HttpUrl = Annotated[str, _reader(_read_http_url)]
ApiTokens = Annotated[tuple[ApiToken, ...], _reader(read_api_tokens)]
AblyKeys = Annotated[tuple[str, ...], _reader(read_ably_keys)]
Origins = Annotated[tuple[str, ...], _reader(_read_origins)]
