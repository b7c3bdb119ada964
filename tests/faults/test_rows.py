"""Two rows of the fault lab, short: the whole product at once, in front of readers, against the plain program and a store."""

import pytest

from devtools.faultlab import faults
from devtools.faultlab.load import Shape
from devtools.faultlab.results import Result
from devtools.faultlab.rows import AblyRow
from devtools.faultlab.running import run_row
from devtools.faultlab.scenarios import poisoned_with
from devtools.faultlab.stand import Setup, Stand
from devtools.kafka import LocalKafka
from support.waiting import slowness

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

SHORT = Shape(slots=6, channels=3, pause=0.03, shortest=10, longest=60)


def explain(result: Result) -> str:
    return f"{result.not_run} {result.counts} {result.happened}"


async def refused_and_poisoned(stand: Stand) -> None:
    stand.add_faults({"nack": {"share": 0.3, "code": 42911, "seed": 1}})
    await poisoned_with(stand, rounds=2, pause=0.1)
    await stand.progress(100)
    stand.clear_faults()
    stand.mark()
    await stand.progress(50)


async def test_refused_publishes_and_poison_cost_tokenstream_nothing_where_the_plain_program_loses_tokens(
    kafka: LocalKafka,
) -> None:
    row = AblyRow(name="short", title="", run=refused_and_poisoned, setup=Setup(shape=SHORT))
    result = await run_row(row, bootstrap=kafka.bootstrap)
    assert result.passes(exact=True), explain(result)
    assert result.counts["plain"].lost > 0, "a lab that finds nothing in the plain program would find nothing anywhere"


async def storage_away_for_a_moment(stand: Stand) -> None:
    await stand.progress(100)
    await faults.storage_down(stand, 4)


@pytest.mark.long  # a row of the fault lab shows the same
async def test_a_database_that_was_away_holds_everything_in_the_end(kafka: LocalKafka) -> None:
    row = AblyRow(
        name="short", title="", run=storage_away_for_a_moment, setup=Setup(plain=False, postgres=True, shape=SHORT)
    )
    result = await run_row(row, bootstrap=kafka.bootstrap)
    assert result.passes(exact=True), explain(result)
    recovered = result.counts["tokenstream"].recovery
    assert recovered is not None
    assert recovered < 60 * slowness()
