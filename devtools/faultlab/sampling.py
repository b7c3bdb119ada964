"""Memory and lag, second by second, while the realtime service is away and model services write on."""

import asyncio
import time

from aiokafka.errors import KafkaError

from devtools.faultlab.lag import LagProbe
from devtools.faultlab.processes import resident
from devtools.faultlab.results import Sample
from devtools.faultlab.stand import Stand

CALM = 15.0
DOWN = 150.0
AFTER = 25.0


async def sampled(stand: Stand) -> None:
    async with LagProbe(stand.around.bootstrap, stand.names.tokens) as probe:
        sampling = asyncio.create_task(_sample(stand, probe))
        try:
            await asyncio.sleep(CALM)
            stand.say(f"realtime down for {DOWN:.0f} s")
            for side in stand.sides:
                side.realtime.faults.add({"down": {"seconds": DOWN}})
            stand.down = True
            await asyncio.sleep(DOWN)
            stand.down = False
            stand.mark()
            stand.say("up again")
            await asyncio.sleep(AFTER)
            await stand.until_all_channels_move()
        finally:
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)


async def _sample(stand: Stand, probe: LagProbe) -> None:
    began = time.monotonic()
    while True:
        try:
            lags = [await probe.lag(side.group) for side in stand.sides]
        except (KafkaError, TimeoutError) as error:
            stand.say(f"a second without a sample: {type(error).__name__}")
            await asyncio.sleep(1)
            continue
        memory = [resident(side.relays) for side in stand.sides]
        stand.samples.append(
            Sample(
                at=round(time.monotonic() - began, 1),
                down=stand.down,
                memory={side.name: round(one, 1) for side, one in zip(stand.sides, memory, strict=True)},
                lag={side.name: one for side, one in zip(stand.sides, lags, strict=True)},
            )
        )
        await asyncio.sleep(1)
