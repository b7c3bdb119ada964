"""Rows of the fault lab without a realtime service, as the lab runs them; the one with 500 readers is left to `make faults`."""

import pytest

from devtools.faultlab.direct_rows import DIRECT_ROWS, DirectRow
from devtools.faultlab.direct_running import run_direct_row
from devtools.kafka import LocalKafka

MANY = 100
"""Readers beyond which a row is not run here."""


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("row", [row for row in DIRECT_ROWS if row.setup.readers < MANY], ids=lambda row: row.name)
async def test_no_reader_loses_or_repeats_a_token(kafka: LocalKafka, row: DirectRow) -> None:
    result = await run_direct_row(row, kafka.bootstrap)
    assert result.passes(exact=row.exact), f"{result.counts} {result.happened}"
    assert result.struck
