"""The counting of the fault lab finds what is wrong in copies that are wrong."""

import pytest

from devtools.judge.texts import Seen, Tally, recovery, see
from devtools.produced import Produced

TOKENS = [("text", "Hel<1>"), ("reasoning", "wörld <2>"), ("text", "\U0001f600<3>"), ("text", "<4>")]


def given() -> Produced:
    produced = Produced("r", "chat:0", ended=True)
    for part, text in TOKENS:
        produced.add(part, text)
    return produced


def texts_in_order() -> list[str]:
    return [text for _, text in TOKENS]


def published(*pieces: str, stopped: bool = True) -> Tally:
    tally = Tally()
    tally.published(given(), pieces, stopped=stopped)
    return tally


def test_a_whole_copy_is_faultless_however_it_is_cut_into_frames() -> None:
    for pieces in (texts_in_order(), ["".join(texts_in_order())]):
        tally = published(*pieces)
        assert not tally.lost
        assert not tally.problems
        assert (tally.out_of_order, tally.repeated_as_published) == (0, 0)


@pytest.mark.parametrize("missing", [0, 1, 2, 3])
def test_a_missing_token_is_lost_wherever_it_is(missing: int) -> None:
    pieces = texts_in_order()
    del pieces[missing]
    assert published(*pieces).lost == {("r", missing + 1)}


def test_a_token_published_again_is_repeated_and_not_out_of_order() -> None:
    one, two, three, four = texts_in_order()
    tally = published(one, two, one, two, three, four)
    assert (tally.repeated_as_published, tally.out_of_order, tally.lost) == (2, 0, set())


def test_a_token_behind_a_later_one_is_out_of_order() -> None:
    one, two, three, four = texts_in_order()
    assert published(one, three, two, four).out_of_order == 1
    assert published(four, three, two, one).out_of_order == 3


def test_text_that_was_not_produced_is_told_and_counts_for_no_token() -> None:
    one, _, three, four = texts_in_order()
    tally = published(one, "World <2>", three, four, "tail")
    assert tally.lost == {("r", 2)}
    assert any("not produced" in problem for problem in tally.problems)


def test_a_torn_token_is_not_taken_for_a_whole_one() -> None:
    assert see(given(), ["Hel", "<1>"]) == Seen((), foreign=2)


def test_a_response_without_its_stop_is_unfinished() -> None:
    assert published(*texts_in_order(), stopped=False).unfinished == {"r"}


def test_a_reader_who_shows_a_token_twice_is_counted_apart_from_what_was_published() -> None:
    tally = Tally()
    tally.read(given(), {"text": "Hel<1>Hel<1>\U0001f600<3><4>", "reasoning": "wörld <2>"}, stopped=True)
    assert (tally.repeated_for_reader, tally.repeated_as_published, tally.lost) == (1, 0, set())


def test_a_store_with_one_token_in_another_part_is_not_what_was_produced() -> None:
    tally = Tally()
    tally.stored(given(), {"text": "Hel<1>wörld <2>\U0001f600<3><4>"}, stopped=True)
    assert tally.problems == ["stored: r is not what was produced"]


def test_a_token_missing_in_several_places_is_lost_once() -> None:
    tally = published(*texts_in_order()[:3])
    tally.read(given(), {"text": "Hel<1>\U0001f600<3>", "reasoning": "wörld <2>"}, stopped=True)
    tally.stored(given(), {}, stopped=False)
    assert tally.lost == {("r", number) for number in (1, 2, 3, 4)}
    assert tally.unfinished == {"r"}


def test_recovery_is_the_longest_silence_of_any_channel() -> None:
    frames = {"a": [1.0, 9.0, 12.0, 19.0], "b": [1.0, 14.0, 19.5]}
    assert recovery(frames, 10.0, 20.0) == pytest.approx(7.0)
    assert recovery(frames, 10.0, 12.5) is None
    assert recovery(frames | {"c": [9.0]}, 10.0, 20.0) is None
