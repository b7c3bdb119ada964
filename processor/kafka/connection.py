"""The connection options of Kafka: one value that every aiokafka client is made from."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias, TypedDict

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

from processor.errors import Retryable, SettingsError


class TokenUnreadable(Retryable, KafkaConnectionError):  # type: ignore[misc]  # aiokafka has no types
    """The token of a new connection can't be read. One of the library's errors: any other ends its tasks, not the attempt."""


class BearerToken(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """`read` returns the token. A thread calls it for each connection: brokers end the connections of old tokens.

    Where `read` raises, that connection is not made, and the client tries the next.
    """

    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read

    async def token(self) -> str:
        """Raises TokenUnreadable, whatever `read` raises."""
        try:
            return await asyncio.to_thread(self._read)
        except Exception as error:
            why = str(error) if isinstance(error, SettingsError) else type(error).__name__
            raise TokenUnreadable(why) from error


class ClientArguments(TypedDict):
    bootstrap_servers: str
    client_id: str
    security_protocol: str
    ssl_context: ssl.SSLContext | None
    sasl_mechanism: str
    sasl_plain_username: str | None
    sasl_plain_password: str | None
    sasl_oauth_token_provider: AbstractTokenProvider | None


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """`bootstrap_servers` is "host:port,host:port"; the rest is as aiokafka names it. The password is not in `repr`."""

    bootstrap_servers: str
    client_id: str = "tokenstream"
    security_protocol: str = "PLAINTEXT"
    ssl_context: ssl.SSLContext | None = None
    sasl_mechanism: str = "PLAIN"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token_provider: AbstractTokenProvider | None = field(default=None, repr=False)

    def arguments(self) -> ClientArguments:
        """Returns the keyword arguments that every aiokafka client takes."""
        return {
            "bootstrap_servers": self.bootstrap_servers,
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
            "ssl_context": self.ssl_context,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password,
            "sasl_oauth_token_provider": self.token_provider,
        }


ConnectionSource: TypeAlias = Callable[[], KafkaConnection]
"""Returns how Kafka is reached now. Called for each client: secrets and certificates rotate. Raises KafkaUnavailable."""
