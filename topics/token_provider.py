"""The caller's token provider, as aiokafka can bear it: any error but its own would end its tasks, not one connection."""

from collections.abc import Mapping
from typing import Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError


class RetriedTokens(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """Raises KafkaConnectionError for whatever `provider` raises: the connection is tried again."""

    def __init__(self, provider: AbstractTokenProvider) -> None:
        self._provider = provider

    async def token(self) -> str:
        try:
            token: str = await self._provider.token()
        except Exception as error:
            raise KafkaConnectionError(f"the token provider raised {type(error).__name__}") from error
        return token

    def extensions(self) -> Mapping[str, str]:
        try:
            found: Mapping[str, str] = self._provider.extensions()
        except Exception as error:
            raise KafkaConnectionError(f"the token provider raised {type(error).__name__}") from error
        return found


def retrying_tokens(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of a client with its token provider, if there is one, wrapped."""
    provider = options.get("sasl_oauth_token_provider")
    if not isinstance(provider, AbstractTokenProvider):
        return dict(options)  # aiokafka refuses what is no provider
    return {**options, "sasl_oauth_token_provider": RetriedTokens(provider)}
