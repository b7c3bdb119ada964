"""What a replay makes of dead letters, decided without Kafka."""

import json

import pytest

from processor.kafka.dead_letter_reader import Source, StoredDeadLetter
from processor.kafka.replay import ReplayImpossible, plan_replay, plan_single


def letter(offset: int, *, reason: str = "unpublishable", partition: int = 3, **fields: object) -> StoredDeadLetter:
    own = {"reason": reason, "topic": "tokens", "partition": str(partition), "offset": str(offset), "time": "5"}
    return StoredDeadLetter(
        partition=0,
        offset=100 + offset,
        timestamp=1,
        key=b"chat:1",
        value=json.dumps({"v": 1, "responseId": "r", **fields}).encode(),
        headers=tuple((f"tokenstream-{name}", value.encode()) for name, value in own.items()),
    )


START = letter(0, event="start", seq=0, channel="chat:1", metadata={"model": "m"})
STOP = letter(9, event="stop", seq=4, usage={"outputTokens": 3})


def token(offset: int, seq: int | None, text: str, **more: object) -> StoredDeadLetter:
    given = {"event": "token", "text": text, **more}
    return letter(offset, **(given if seq is None else {**given, "seq": seq}))  # type: ignore[arg-type]


def test_records_are_put_in_the_order_of_their_sequence_numbers() -> None:
    plan = plan_replay([STOP, token(5, 3, "c"), token(3, 1, "a"), START, token(2, 2, "b")], "r")
    assert [record.text for record in plan.tokens] == ["a", "b", "c"]
    assert plan.stop is not None
    assert plan.stop.usage == {"outputTokens": 3}
    assert (plan.channel, plan.new_metadata) == ("chat:1", {"model": "m", "replayOf": "r"})
    assert plan.partition == 3


def test_records_without_sequence_numbers_are_put_in_the_order_of_the_log() -> None:
    letters = [token(7, None, "b"), token(2, None, "a"), letter(9, event="stop"), letter(1, event="start", channel="c")]
    plan = plan_replay(letters, "r")
    assert [record.text for record in plan.tokens] == ["a", "b"]


def test_a_dead_letter_that_is_there_twice_counts_once() -> None:
    plan = plan_replay([START, token(1, 1, "a"), token(1, 1, "a"), token(8, 1, "a"), STOP], "r")
    assert [record.text for record in plan.tokens] == ["a"]


def test_a_response_that_was_partly_delivered_has_no_start_to_take_its_channel_from() -> None:
    plan = plan_replay([token(2, 2, "b"), STOP], "r")
    assert plan.channel is None
    assert plan.new_metadata == {"replayOf": "r"}


def test_what_is_missing_between_its_records_is_told() -> None:
    assert plan_replay([START, token(1, 1, "a"), token(6, 6, "b")], "r").missing == ((2, 5),)


def test_what_the_channel_refused_is_not_mixed_with_dead_letters_of_other_reasons() -> None:
    strange = letter(20, reason="response_id_reused", event="start", seq=0, channel="other")
    plan = plan_replay([strange, token(2, 2, "b"), STOP], "r")
    assert plan.channel is None


def test_dead_letters_of_other_reasons_are_replayed_where_no_channel_refused_any() -> None:
    letters = [
        letter(0, reason="channel_forbidden", event="start", seq=0, channel="chat:1"),
        letter(1, reason="no_start", event="token", seq=1, text="a"),
        letter(2, reason="no_start", event="stop", seq=2),
    ]
    plan = plan_replay(letters, "r")
    assert plan.channel == "chat:1"
    assert [record.text for record in plan.tokens] == ["a"]


def test_dead_letters_that_are_no_token_records_are_left_out_and_counted() -> None:
    plan = plan_replay([START, letter(1, event="nonsense", seq=1), token(2, 2, "b")], "r")
    assert plan.left_out == 1
    with pytest.raises(ReplayImpossible, match="invalid"):
        plan_replay([letter(1, reason="invalid", event="nonsense")], "r")


def test_a_response_without_dead_letters_is_told_so() -> None:
    with pytest.raises(ReplayImpossible, match="dead-letters list"):
        plan_replay([START], "another")


def test_a_single_record_is_a_response_of_its_own_that_ends_well() -> None:
    plan = plan_single(token(2, 7, "alone"))
    assert [record.text for record in plan.tokens] == ["alone"]
    assert not plan.whole


def test_half_a_surrogate_pair_comes_back_as_it_was() -> None:
    assert plan_replay([token(1, 1, "\ud83d"), token(2, 2, "\ude00")], "r").tokens[0].text == "\ud83d"


@pytest.mark.parametrize("text", ["", "tokens", "tokens:1", "tokens:x:1", ":1:2", "tokens:1:-2"])
def test_a_source_is_topic_partition_and_offset(text: str) -> None:
    with pytest.raises(ValueError, match="TOPIC:PARTITION:OFFSET"):
        Source.parse(text)
    assert Source.parse("a.b:1:2") == Source("a.b", 1, 2)
