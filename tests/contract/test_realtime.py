"""Tests every implementation of `processor.ports.realtime`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest

from processor.core.framer import Frame
from processor.errors import PublishRefused, PublishRetry, RefusalKind
from processor.ports.realtime import Link, LinkState, RatePace
from support.realtime_stages import CAPABILITIES, STAGES, Scenario, Stage
from support.waiting import until

DEADLINE = 10.0
SHORT = 0.5


@pytest.fixture(params=STAGES)
def on_stage(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    return STAGES[request.param]


Fault = TypeVar("Fault")


def possible(fault: Fault | None) -> Fault:
    """Skips the test where the service cannot have the fault; `CAPABILITIES` lists these."""
    if fault is None:
        pytest.skip("the service cannot have this fault")
    return fault


@pytest.mark.parametrize("name", STAGES)
def test_a_service_has_the_faults_that_are_known_of_it(name: str) -> None:
    async def scenario(stage: Stage) -> None:
        await asyncio.sleep(0)
        faults = (stage.channel_rules, stage.rate_limits, stage.credentials)
        assert tuple(fault is not None for fault in faults) == CAPABILITIES[name]

    STAGES[name](scenario)


def frame(channel: str, number: int, data: str = "Grüße 👋") -> Frame:
    headers = {"responseId": f"r-{channel}", "seq": str(number), "seqEnd": str(number), "offset": str(number - 1)}
    return Frame(
        channel=channel,
        response_id=f"r-{channel}",
        name="token",
        id=f"r-{channel}/token/{number}-{number}/0",
        data=data,
        json=False,
        headers=headers,
    )


@asynccontextmanager
async def running(link: Link) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(link.run())
    try:
        yield
        assert not task.done(), "nothing that the service does ends a link"
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError), repr(ended)


@asynccontextmanager
async def connected(stage: Stage) -> AsyncIterator[Link]:
    link = stage.provider.new_link(lambda: None)
    async with running(link):
        async with asyncio.timeout(20):
            await link.connected()
        yield link


async def publish_again(link: Link, again: Frame) -> None:
    """Until it is acknowledged, as a lane does."""
    async with asyncio.timeout(40):
        while True:
            await link.connected()
            try:
                await link.publish(again, DEADLINE)
            except PublishRetry:
                await asyncio.sleep(0.1)
            else:
                return


def test_acknowledged_frames_are_published_in_order(on_stage: Callable[[Scenario], None]) -> None:
    async def scenario(stage: Stage) -> None:
        async with connected(stage) as link:
            for number in range(1, 6):
                await link.publish(frame("c", number, f"text {number}"), DEADLINE)
        assert stage.published("c") == [
            (f"r-c/token/{number}-{number}/0", "token", f"text {number}") for number in range(1, 6)
        ]

    on_stage(scenario)


def test_channels_publish_side_by_side(on_stage: Callable[[Scenario], None]) -> None:
    channels = [f"c{number}" for number in range(40)]

    async def publish_some(link: Link, channel: str) -> None:
        for number in range(1, 4):
            await link.publish(frame(channel, number), DEADLINE)

    async def scenario(stage: Stage) -> None:
        async with connected(stage) as link:
            await asyncio.gather(*(publish_some(link, channel) for channel in channels))
        for channel in channels:
            assert [each[0] for each in stage.published(channel)] == [frame(channel, n).id for n in range(1, 4)]

    on_stage(scenario)


def test_a_repeated_id_is_acknowledged_and_published_once(on_stage: Callable[[Scenario], None]) -> None:
    async def scenario(stage: Stage) -> None:
        assert stage.provider.profile.duplicate_window > 1
        async with connected(stage) as link:
            await link.publish(frame("c", 1), DEADLINE)
            await link.publish(frame("c", 1), DEADLINE)
        assert len(stage.published("c")) == 1

    on_stage(scenario)


def test_the_largest_frame_is_published_and_a_larger_one_refused(on_stage: Callable[[Scenario], None]) -> None:
    async def scenario(stage: Stage) -> None:
        size = stage.provider.profile.max_frame_bytes
        async with connected(stage) as link:
            await link.publish(frame("c", 1, "x" * (size - 2_048)), DEADLINE)
            with pytest.raises(PublishRefused) as refused:
                await link.publish(frame("c", 2, "x" * (size + 1)), DEADLINE)
            await link.publish(frame("c", 3), DEADLINE)
        assert refused.value.kind is RefusalKind.TOO_LARGE
        assert refused.value.code in stage.provider.profile.refusal_codes
        assert [each[0] for each in stage.published("c")] == [frame("c", 1).id, frame("c", 3).id]

    on_stage(scenario)


def test_a_forbidden_channel_is_refused_and_others_go_on(on_stage: Callable[[Scenario], None]) -> None:
    async def scenario(stage: Stage) -> None:
        possible(stage.channel_rules).forbid("no")
        async with connected(stage) as link:
            with pytest.raises(PublishRefused) as refused:
                await link.publish(frame("no", 1), DEADLINE)
            await link.publish(frame("yes", 1), DEADLINE)
        assert refused.value.kind is RefusalKind.CHANNEL
        assert refused.value.code in stage.provider.profile.refusal_codes
        assert stage.published("no") == []
        assert len(stage.published("yes")) == 1

    on_stage(scenario)


async def publish_until_refused(link: Link) -> None:
    for number in range(1, 4):
        await link.publish(frame("c", number), DEADLINE)


def test_a_refusal_for_the_rate_asks_for_a_lower_pace(on_stage: Callable[[Scenario], None]) -> None:
    async def scenario(stage: Stage) -> None:
        possible(stage.rate_limits).slow("c")
        async with connected(stage) as link:
            with pytest.raises(PublishRetry) as refused:
                await publish_until_refused(link)
            assert refused.value.kind in {RefusalKind.SLOW_CHANNEL, RefusalKind.SLOW_LINK, RefusalKind.SLOW_ALL}
            assert refused.value.code in stage.provider.profile.refusal_codes
            stage.heal()
            await publish_again(link, frame("c", 4))
        assert stage.published("c")[-1][0] == frame("c", 4).id

    on_stage(scenario)


def test_a_frame_without_an_answer_is_undetermined_and_published_once_when_repeated(
    on_stage: Callable[[Scenario], None],
) -> None:
    async def scenario(stage: Stage) -> None:
        async with connected(stage) as link:
            stage.lose_answers()
            began = asyncio.get_running_loop().time()
            with pytest.raises(PublishRetry) as silent:
                await link.publish(frame("c", 1), SHORT)
            assert asyncio.get_running_loop().time() - began < SHORT + 5
            assert (silent.value.kind, silent.value.code) == (RefusalKind.UNDETERMINED, 0)
            stage.heal()
            await publish_again(link, frame("c", 1))
            await publish_again(link, frame("c", 2))
        assert [each[0] for each in stage.published("c")] == [frame("c", 1).id, frame("c", 2).id]

    on_stage(scenario)


def test_a_connection_that_ends_takes_no_frame_with_it(on_stage: Callable[[Scenario], None]) -> None:
    async def scenario(stage: Stage) -> None:
        async with connected(stage) as link:
            await link.publish(frame("c", 1), DEADLINE)
            stage.end_connections()
            for number in range(2, 12):
                await publish_again(link, frame("c", number))
        assert [each[0] for each in stage.published("c")] == [frame("c", number).id for number in range(1, 12)]

    on_stage(scenario)


def test_each_change_of_state_is_announced(on_stage: Callable[[Scenario], None]) -> None:
    async def scenario(stage: Stage) -> None:
        seen: list[LinkState] = []
        link = stage.provider.new_link(lambda: seen.append(link.state))
        assert [link.state] == [LinkState.INITIALIZED]
        async with running(link):
            await until(lambda: link.state is LinkState.CONNECTED)
            assert seen[-1] is LinkState.CONNECTED
            stage.go_away()
            with pytest.raises(PublishRetry):
                await link.publish(frame("c", 1), SHORT)
            await until(lambda: link.state is not LinkState.CONNECTED)
            stage.heal()
            await publish_again(link, frame("c", 1))
            assert seen[-1] is link.state is LinkState.CONNECTED
        assert seen[-1] is link.state is not LinkState.CONNECTED

    on_stage(scenario)


def test_refused_credentials_are_named_and_others_are_taken_up(on_stage: Callable[[Scenario], None]) -> None:
    async def scenario(stage: Stage) -> None:
        credentials = possible(stage.credentials)
        credentials.refuse_credentials()
        link = stage.provider.new_link(lambda: None)
        async with running(link):
            if await says_that_it_is_refused(link):
                assert link.state is not LinkState.CONNECTED
            credentials.change_credentials()
            link.recheck_credentials()
            await publish_again(link, frame("c", 1))
            assert link.refusal is None
        assert len(stage.published("c")) == 1

    async def says_that_it_is_refused(link: Link) -> bool:
        """Connects by its connection, or, without one, by the first publish."""
        await until(lambda: link.refusal is not None or link.state is LinkState.CONNECTED)
        if link.refusal is None:
            with pytest.raises(PublishRetry) as refused:
                await link.publish(frame("c", 1), DEADLINE)
            assert refused.value.kind is RefusalKind.CREDENTIALS
            assert "refuses" in (link.refusal or "")
            return False
        assert "refuses" in link.refusal
        return True

    on_stage(scenario)


def test_a_history_shows_what_was_published(on_stage: Callable[[Scenario], None]) -> None:
    async def scenario(stage: Stage) -> None:
        histories = stage.provider.histories
        async with connected(stage) as link:
            for number in range(1, 4):
                await link.publish(frame("c", number, "x"), DEADLINE)
        history = await histories.read("c", 5.0)
        assert history.ids == {frame("c", number).id for number in range(1, 4)}
        assert history.published["r-c"].seq_end == 3
        assert history.published["r-c"].lengths == {"text": 3}
        assert not history.published["r-c"].stopped
        assert (await histories.read("other", 5.0)).ids == frozenset()

    on_stage(scenario)


def test_a_history_that_cannot_be_read_is_asked_again(on_stage: Callable[[Scenario], None]) -> None:
    async def scenario(stage: Stage) -> None:
        stage.lose_histories()
        with pytest.raises(PublishRetry):
            await stage.provider.histories.read("c", 1.0)
        stage.heal()
        assert (await stage.provider.histories.read("c", 5.0)).ids == frozenset()

    on_stage(scenario)


def test_a_pace_that_is_slowed_down_shows_it_and_recovers(on_stage: Callable[[Scenario], None]) -> None:
    async def scenario(stage: Stage) -> None:
        possible(stage.rate_limits)
        pace: RatePace = stage.provider.new_link(lambda: None).pace
        now = 100.0
        assert pace.share(now) == 1.0
        assert pace.delay(now) == 0.0
        pace.slow_down(now)
        assert 0 < pace.share(now) < 1
        assert pace.delay(now) > 0
        assert pace.delay(now + 100) == 0.0
        assert pace.share(now + 100) == 1.0

    on_stage(scenario)


def test_the_profile_of_a_service_is_usable(on_stage: Callable[[Scenario], None]) -> None:
    async def scenario(stage: Stage) -> None:
        profile = stage.provider.profile
        assert profile.max_frame_bytes >= 32 * 1024, "a stop frame with all its parts needs room"
        assert 0 < profile.ack_deadline <= profile.max_ack_deadline
        assert profile.channels_per_link >= 1

    on_stage(scenario)
