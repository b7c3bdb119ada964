"""How the text of a setting becomes its value. Each reader raises ValueError with the words that follow the variable's name.

Readers take text, as the environment gives it, and pass anything else on: a value that is already of its type is left to the type.
A message quotes what was given only where that can't be a secret.
"""

import math
import re
from collections.abc import Callable
from typing import Annotated, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import BeforeValidator, InstanceOf

from processor.config.patterns import LinearPattern
from topics.openai_channel import ChannelTemplate

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(|B|KiB|MiB|GiB)", re.IGNORECASE)
_UNITS: Final = {"": 1, "b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_HOST_PORT: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")
_ABLY_KEY: Final = re.compile(r"[\w-]+\.[\w-]+:\S+")
_TRUE: Final = ("true", "1", "yes", "on")
_FALSE: Final = ("false", "0", "no", "off")
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


def _read_seconds(text: str) -> float:
    seconds = _number(text)
    if seconds is None or seconds <= 0:
        raise ValueError(f'must be a number of seconds above 0, not "{text}"')
    return seconds


def _read_rate(text: str) -> float:
    rate = _number(text)
    if rate is None or rate < 0:
        raise ValueError(f'must be a number of messages a second, or 0 for no limit, not "{text}"')
    return rate


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def read_size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    size = int(float(match[1]) * _UNITS[match[2].lower()]) if match else 0
    if size <= 0:
        raise ValueError(f'must be a number of bytes above 0, as 1048576 or 64MiB, not "{text}"')
    return size


def _read_bool(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(f'must be true or false, not "{text}"')


def _read_public(text: str) -> bool | str:
    if text.lower() == LOOPBACK:
        return LOOPBACK
    try:
        return _read_bool(text)
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


def whole(least: int, most: int | None = None) -> BeforeValidator:
    """A whole number within inclusive bounds."""
    bounds = f"from {least} to {most}" if most is not None else f"of at least {least}"

    def read(text: str) -> int:
        number = int(text) if re.fullmatch(r"\d{1,18}", text) else -1
        if number < least or (most is not None and number > most):
            raise ValueError(f'must be a whole number {bounds}, not "{text}"')
        return number

    return _reader(read)


def one_of(*choices: str) -> BeforeValidator:
    """One of a few words, written in any case."""

    def read(text: str) -> str:
        for choice in choices:
            if text.lower() == choice.lower():
                return choice
        raise ValueError(f'must be one of {", ".join(choices)}, not "{text}"')

    return _reader(read)


Seconds = Annotated[float, _reader(_read_seconds)]
Rate = Annotated[float, _reader(_read_rate)]
Size = Annotated[int, _reader(read_size)]
Count = Annotated[int, whole(1)]
Flag = Annotated[bool, _reader(_read_bool)]
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
