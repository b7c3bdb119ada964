import itertools
from collections import defaultdict

import orjson

from devtools.bench.load import Load
from devtools.bench.produce import encoded
from topics.codec import Decoder, TokenRecord, encode_token_event
from topics.records import Event

LOAD = Load(name="t", responses=30, tokens=10, open=4, channels=7, seed=3)


def test_the_same_seed_makes_the_same_load_and_another_makes_another() -> None:
    again = Load(name="t", responses=30, tokens=10, open=4, channels=7, seed=3)
    other = Load(name="t", responses=30, tokens=10, open=4, channels=7, seed=4)
    assert [LOAD.texts(n) for n in range(30)] == [again.texts(n) for n in range(30)]
    assert [LOAD.texts(n) for n in range(30)] != [other.texts(n) for n in range(30)]


def test_every_record_comes_once_and_in_order_and_no_more_responses_are_open_than_asked_for() -> None:
    seen: dict[int, list[int]] = defaultdict(list)
    most = 0
    for number, seq, _ in LOAD.in_turns():
        seen[number].append(seq)
        is_open = [n for n, seqs in seen.items() if len(seqs) < len(LOAD.texts(n)) + 2]
        most = max(most, len(is_open))
    assert all(seqs == list(range(len(LOAD.texts(n)) + 2)) for n, seqs in seen.items())
    assert len(seen) == 30
    assert most == 4


def test_open_responses_take_turns() -> None:
    first = [number for number, _, _ in itertools.islice(LOAD.in_turns(), 8)]
    assert first == [0, 1, 2, 3, 0, 1, 2, 3]


def test_responses_left_open_have_no_stop() -> None:
    load = Load(name="t", responses=2, tokens=10, leave_open=True)
    assert [text for _, seq, text in load.in_turns() if seq > 0 and text is None] == []


def test_the_records_are_what_the_producer_for_model_services_writes() -> None:
    load = Load(name="t", responses=1, tokens=60, alternate=True)
    for number, seq, text in load.in_turns():
        value = encoded(load, number, seq, text, 1_700_000_000_000)
        record = Decoder().decode(value)
        assert isinstance(record, TokenRecord)
        if text is not None:
            part = load.part(seq - 1)
            given = {"kind": part, "part": part} if part != "text" else {}
            wanted = encode_token_event(
                Event.TOKEN,
                load.response_id(number),
                seq,
                ts=1_700_000_000_000,
                text=text,
                **given,  # type: ignore[arg-type]
            )
            assert orjson.loads(value) == orjson.loads(wanted)


def test_neighbouring_tokens_of_an_alternating_load_are_of_different_parts() -> None:
    load = Load(name="t", responses=1, tokens=10, alternate=True)
    assert all(load.part(index) != load.part(index + 1) for index in range(10))


def test_an_id_of_another_load_is_of_none() -> None:
    assert LOAD.number(LOAD.response_id(12)) == 12
    for stranger in ("t-3-30", "t-4-1", "u-3-1", "t-3-x", "t"):
        assert LOAD.number(stranger) is None
