"""The effects that the protocol requests of its shell, in order. A link is one socket, by the number that the shell
gave it.
"""

from dataclasses import dataclass

from devtools.emulator.wire import ProtocolMessage


@dataclass(frozen=True, slots=True)
class Send:
    link: int
    message: ProtocolMessage


@dataclass(frozen=True, slots=True)
class Fanout:
    """The same frame to many links: encoded once per format."""

    links: tuple[int, ...]
    message: ProtocolMessage


@dataclass(frozen=True, slots=True)
class Close:
    """Closes the socket after what was sent; `abrupt` aborts it, and what was not yet written is lost."""

    link: int
    abrupt: bool = False


@dataclass(frozen=True, slots=True)
class Freeze:
    """The socket stays open; nothing is written to it or read from it any more."""

    link: int


Effect = Send | Fanout | Close | Freeze
