"""What a caller's token provider raises fails one connection, and does not end the client's tasks."""

from typing import Any

import pytest
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

from topics.producer import TokenProducer


class FailingOnce(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """A provider whose source is away the first time."""

    def __init__(self) -> None:
        self.calls = 0

    async def token(self) -> str:
        self.calls += 1
        if self.calls == 1:
            raise ValueError("hunter2")
        return "t"


def given_to_the_client(producer: TokenProducer) -> Any:
    return producer._delivery._options["sasl_oauth_token_provider"]


async def test_an_error_of_the_callers_token_provider_is_one_that_the_client_retries() -> None:
    provider = given_to_the_client(TokenProducer("nowhere", sasl_oauth_token_provider=FailingOnce()))
    with pytest.raises(KafkaConnectionError, match=r"ValueError$"):
        await provider.token()
    assert await provider.token() == "t"


async def test_extensions_of_the_callers_token_provider_are_sent() -> None:
    class WithExtensions(FailingOnce):
        def extensions(self) -> dict[str, str]:
            return {"logicalCluster": "lkc-1"}

    provider = given_to_the_client(TokenProducer("nowhere", sasl_oauth_token_provider=WithExtensions()))
    assert provider.extensions() == {"logicalCluster": "lkc-1"}
