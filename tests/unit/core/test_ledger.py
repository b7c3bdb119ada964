"""Whatever comes in whatever order, no offset of an uncovered record is ever passed, and few runs are kept."""

from typing import Any

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


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.booleans(), st.integers(1, 3)),
        st.tuples(st.just("begin to write"), st.integers(0, 60)),
        st.tuples(st.just("written")),
    ),
    max_size=300,
)


@given(STEPS)
def test_what_may_be_committed_never_goes_back(steps: list[tuple[Any, ...]]) -> None:
    """Records come while another is being written, as they do."""
    runs, offset, seq, batch, covered = Runs(), 0, 0, 0, -1
    writing: int | None = None
    committed = 0
    for step in steps:
        if step[0] == "read":
            batch += step[1]
            for _ in range(step[2]):
                runs.add(batch, offset, seq)
                offset, seq = offset + 1, seq + 1
        elif step[0] == "begin to write" and writing is None:
            writing = max(covered, min(seq - 1, covered + step[1]))
            runs.promise(writing)
        elif step[0] == "written" and writing is not None:
            runs.cover(writing)
            covered, writing = writing, None
        reached = covered if writing is None else writing
        first = runs.first_uncovered(reached)
        assert (offset if first is None else first) <= reached + 1, "past an uncovered record"
        if step[0] != "read" and reached >= 0:  # a commit names this offset
            assert (offset if first is None else first) >= committed
            committed = offset if first is None else first
        assert len(runs) <= 2 * MOST_RUNS
