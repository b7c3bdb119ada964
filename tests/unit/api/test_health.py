"""What probes are told."""

import asyncio

from processor.api.health import Check, look


async def test_a_check_that_raises_is_failing_with_its_words() -> None:
    def ask() -> None:
        raise RuntimeError("no\nway")

    assert (await look(Check("kafka", ask))).line == "kafka: failing - no way"


async def test_a_check_that_passes_is_ok() -> None:
    async def ask() -> None:
        await asyncio.sleep(0)

    assert (await look(Check("store", ask))).line == "store: ok"
    assert (await look(Check("store", lambda: "full"))).line == "store: failing - full"
