"""Whatever the SDK raises while a channel is followed, its user gets errors of our own."""

import socket

import pytest

from processor.ably.ably import AblyOptions
from processor.ably.subscription import Subscription, SubscriptionUnavailable


async def test_a_history_of_a_service_that_is_away_is_unavailable() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, and nothing listens
        endpoint = f"127.0.0.1:{nobody.getsockname()[1]}"
        subscription = Subscription(
            AblyOptions(key=lambda: "local.key:secret", client_id="reader", endpoint=endpoint, tls=False), "chat:1"
        )
        with pytest.raises(SubscriptionUnavailable, match="The history of chat:1 can't be read"):
            await subscription.history()
