"""An EventSource in Chromium reads a gateway without any code of ours, and resumes with Last-Event-ID."""

import asyncio
from typing import Any

import pytest

from processor.api.access import Access, fixed_tokens
from processor.config.values import ApiToken
from support.gateway_log import start, stop, token
from support.scenarios import run_scenarios
from support.served_gateway import CuttingProxy, Served, serving
from support.waiting import eventually

TOKENS = 300
CUT_AT = (60, 180)
READERS = Access(open=False, tokens=fixed_tokens(ApiToken("a-secret-of-the-reader", "chat:*", read_only=True)))


async def publish_and_cut(served: Served, proxy: CuttingProxy) -> str:
    """A response whose readers lose their connections twice. Returns its text."""
    text = ""
    await eventually(served.clients, deadline=60)
    served.publish(start())
    for number in range(1, TOKENS + 1):
        word = f"word{number} "
        served.publish(token(number, len(text), word))
        text += word
        if number in CUT_AT:
            proxy.cut()
            await eventually(lambda: not served.clients(), deadline=60)
            await eventually(served.clients, deadline=60)
        await asyncio.sleep(0.005)
    served.publish(stop(TOKENS + 1, {"text": text}))
    return text


@pytest.mark.timeout(240)
async def test_an_event_source_resumes_where_it_was_cut() -> None:
    served = Served(access=READERS, cors_origins=("*",))
    async with serving(served), CuttingProxy(served.port) as proxy:
        query = "access_token=a-secret-of-the-reader"
        address = f"http://127.0.0.1:{proxy.port}/v1/channels/chat%3A1/events?{query}"
        reading = asyncio.create_task(run_scenarios("event_source_scenarios.mjs", address, "resumes"))
        text = await publish_and_cut(served, proxy)
        outcome: dict[str, Any] = (await reading)["resumes"]
    assert outcome.get("error") is None, outcome["error"]
    assert outcome["measured"]["text"] == text
