"""Every metric of a real relay moves when it should, and back."""

import re
import shutil
import subprocess
from collections import defaultdict

import pytest

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from devtools.lab import laboratory
from devtools.process import TokenstreamProcess
from support.waiting import eventually

pytestmark = pytest.mark.timeout(300)
SAMPLE = re.compile(r"^tokenstream_(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$", re.MULTILINE)


async def samples(relay: TokenstreamProcess) -> dict[str, float]:
    """By name, or `name{labels}`; 0 for what is not there."""
    shown = SAMPLE.finditer(await relay.text("/metrics"))
    names = {found["name"] + (f"{{{found['labels']}}}" if found["labels"] else ""): found["value"] for found in shown}
    return defaultdict(float, {name: float(value) for name, value in names.items()})


async def test_a_stream_moves_every_step_of_delivery_and_they_add_up(
    kafka: LocalKafka, make_topics: MakeTopics
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics(partitions=1)) as lab:
        relay = await lab.relay()
        await lab.stream(responses=6, tokens=40, channels=2, pause=0.01)
        await lab.all_finished()

        async def counted() -> dict[str, float]:
            found = await samples(relay)
            assert found['responses_finished_total{status="complete"}'] == 6
            return found

        now = await eventually(counted, deadline=30, every=0.1)
        assert now["tokens_total"] == now["tokens_per_frame_sum"] == 240
        frames = now['frames_published_total{name="token"}']
        assert now["tokens_per_frame_count"] == now["delivery_seconds_count"] == now["queue_seconds_count"] == frames
        assert now["messages_saved_total"] == 240 - frames > 0
        assert now["first_token_seconds_count"] == now["response_seconds_count"] == 6
        # Between two frames: one fewer than frames for each response.
        assert now["stall_seconds_count"] == now["publish_seconds_count"] - 6
        assert now["takeovers_total"] == now["takeover_seconds_count"] == 1
        assert now["transaction_seconds_count"] > 0
        steps = now["consume_seconds_sum"] + now["queue_seconds_sum"] + now["publish_seconds_sum"]
        # Of `publish_seconds` the starts and stops have no token; `ts` is in whole milliseconds.
        assert now["delivery_seconds_sum"] <= steps + 0.002 * frames
        assert now["event_loop_lag_seconds_count"] > 0
        assert now['ready{dependency="kafka"}'] == now['ready{dependency="realtime"}'] == 1


async def test_a_service_that_does_not_answer_shows_as_age_in_flight_and_not_ready_and_goes_again(
    kafka: LocalKafka, make_topics: MakeTopics
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics(partitions=1)) as lab:
        relay = await lab.relay()
        partition = f'{{partition="0",topic="{lab.names.tokens}"}}'
        lab.realtime.faults.add({"nack": {"code": 42911}})
        async with lab.streaming(responses=2, channels=2, pause=0.05):

            async def stuck() -> bool:
                now = await samples(relay)
                assert now[f"oldest_unsent_seconds{partition}"] > 2
                assert now[f"partition_open_responses{partition}"] == now["open_responses"] == 2
                assert now['pace_ratio{scope="connection"}'] < 1
                assert now['paces_lowered{scope="connection"}'] >= 1
                assert now['publish_failures_total{code="42911"}'] > 0
                assert now["publish_retries_total"] > 0
                assert now["publishes_in_flight"] == 2
                assert now["owned_partitions"] == 1
                return True

            await eventually(stuck, deadline=60, every=0.3)
            lab.realtime.faults.clear()
            lab.realtime.faults.add({"down": {"seconds": 120}})

            async def not_ready() -> bool:
                now = await samples(relay)
                return now['ready{dependency="realtime"}'] == 0 and now['ready{dependency="kafka"}'] == 1

            await eventually(not_ready, deadline=60, every=0.3)
            lab.realtime.faults.clear()
        await lab.all_finished()

        async def well_again() -> bool:
            now = await samples(relay)
            assert now[f"oldest_unsent_seconds{partition}"] == now["publishes_in_flight"] == 0
            assert now[f"consumed_offset{partition}"] == now[f"committed_offset{partition}"] > 0
            assert now[f"consumer_lag_records{partition}"] == 0
            assert now['ready{dependency="realtime"}'] == 1
            return True

        await eventually(well_again, deadline=60, every=0.3)


async def test_promtool_finds_nothing_to_say_against_the_scrape(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics(partitions=1)) as lab:
        relay = await lab.relay()
        text = await relay.text("/metrics")
        promtool = shutil.which("promtool")
        assert promtool, "install Debian's package prometheus"
        checked = subprocess.run(
            [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
