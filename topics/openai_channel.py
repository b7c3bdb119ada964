"""Determines the channel of a response in OpenAI's format: a header of its first record, else a template."""

import re
from typing import Final

from topics.errors import TokenstreamError
from topics.limits import ChannelPattern, Invalid, check_channel
from topics.openai import CHANNEL_HEADER, Headers, header
from topics.records import Reason

_PLACEHOLDER: Final = re.compile(r"\{(key|response_id|user|header:[^{}]+)\}")
_HEADER: Final = "header:"


class _MissingError(TokenstreamError):
    pass


class ChannelTemplate:
    """A channel name with placeholders: `{key}`, `{response_id}`, `{header:NAME}`, and `{user}`, which only a request
    has.

    Raises ValueError for any other brace.
    """

    __slots__ = ("_template",)

    def __init__(self, template: str) -> None:
        if re.search(r"[{}]", _PLACEHOLDER.sub("", template)):
            raise ValueError("use {key}, {response_id}, {user} or {header:NAME}; no other braces are allowed")
        self._template = template

    @property
    def headers(self) -> tuple[str, ...]:
        """Names of the headers that it takes values from."""
        names = (match[1] for match in _PLACEHOLDER.finditer(self._template))
        return tuple(name.removeprefix(_HEADER) for name in names if name.startswith(_HEADER))

    def fill(
        self, key: bytes | None, response_id: str, headers: Headers | None = (), user: str | None = None
    ) -> str | Invalid:
        def value_of(match: re.Match[str]) -> str:
            name = match[1]
            if name == "response_id":
                return response_id
            if name == "user":
                given = user
            else:
                given = _text(header(headers, name.removeprefix(_HEADER)) if name.startswith(_HEADER) else key)
            if not given:
                raise _MissingError(name)
            return given

        try:
            return _PLACEHOLDER.sub(value_of, self._template)
        except _MissingError as missing:
            return Invalid(Reason.INVALID, f"CHANNEL_TEMPLATE needs {{{missing}}}, which is not there")


def channel_of(
    response_id: str,
    key: bytes | None,
    headers: Headers | None = (),
    template: ChannelTemplate | None = None,
    pattern: ChannelPattern | None = None,
) -> str | Invalid:
    """Returns the channel of a response's first record, or why it has none. Never raises."""
    given = header(headers, CHANNEL_HEADER)
    if given:
        channel = _text(given)
        if channel is None:
            return Invalid(Reason.INVALID, f"header {CHANNEL_HEADER} is not UTF-8")
        return check_channel(channel, pattern) or channel
    if template is None:
        return Invalid(
            Reason.INVALID, f"no channel; set header {CHANNEL_HEADER} on the first record, or CHANNEL_TEMPLATE"
        )
    filled = template.fill(key, response_id, headers)
    return filled if isinstance(filled, Invalid) else check_channel(filled, pattern) or filled


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None
