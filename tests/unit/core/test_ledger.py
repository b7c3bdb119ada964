"""Whatever comes in whatever order, no offset of an uncovered record is ever passed, and few runs are kept."""

from hypothesis import given
from hypothesis import strategies as st

from processor.core.ledger import MOST_RUNS, Runs

RECORDS = st.lists(st.tuples(st.booleans(), st.integers(0, 300)), max_size=200)


@given(RECORDS, st.lists(st.integers(0, 300), max_size=5))
def test_the_first_uncovered_offset_is_never_past_an_uncovered_record(
    records: list[tuple[bool, int]], covers: list[int]
) -> None:
    runs = Runs()
    batch = 0
    uncovered: dict[int, int] = {}
    for offset, (anew, seq) in enumerate(records):
        batch += anew
        runs.add(batch, offset, seq)
        uncovered[offset] = seq
        assert len(runs) <= MOST_RUNS
    for covered in sorted(covers):
        runs.cover(covered)
        uncovered = {offset: seq for offset, seq in uncovered.items() if seq > covered}
        first = runs.first_uncovered(covered)
        if uncovered:
            assert first is not None
            assert first <= min(uncovered)
        else:
            assert first is None
            assert len(runs) == 0


def test_a_response_that_is_never_snapshotted_for_long_still_lets_go_of_what_is_covered() -> None:
    runs = Runs()
    for offset in range(1_000):
        runs.add(offset, offset, offset)
        if offset >= 500:
            runs.cover(offset - 500)
    first = runs.first_uncovered(499)
    assert first is not None
    assert 300 <= first <= 500
