"""Each fault is injected as specified, when it should be, and as often; the same seed gives the same faults."""

from typing import Any

import pytest

from devtools.emulator.auth import Key, Keyring, authorize_token, matches
from devtools.emulator.faults import KINDS, parse
from devtools.emulator.limits import RateWindow
from devtools.emulator.tokens import TokenRequests
from devtools.emulator.wire import Action, Flag, Format, Message, ProtocolMessage, decode, encode
from support.emulator_world import World


def outcome(frame: ProtocolMessage | None) -> int | str:
    if frame is None:
        return "silence"
    return "ack" if frame.error is None else frame.error.code


def outcomes(world: World, link: int, count: int, channel: str = "c") -> list[int | str]:
    return [outcome(world.publish(link, channel, str(number), serial=number)) for number in range(count)]


@pytest.mark.parametrize("code", [40160, 40400, 40101, 42910, 42911, 42913, 42917, 50003, 93002])
def test_any_code_can_refuse_the_publishes_of_a_channel(world: World, code: int) -> None:
    link = world.connect()
    world.switch({"nack": {"code": code, "channel": "^bad:"}})
    assert outcomes(world, link, 2, "bad:1") == [code, code]
    assert outcomes(world, link, 2, "good:1") == ["ack", "ack"]


def test_a_share_is_drawn_from_the_seed() -> None:
    def run(seed: int) -> list[int | str]:
        world = World()
        world.switch({"nack": {"code": 42911, "share": 0.3, "seed": seed}})
        return outcomes(world, world.connect(), 200)

    assert run(1) == run(1) != run(2)
    assert 40 < run(1).count(42911) < 80


def test_skip_every_and_times_say_which_are_struck(world: World) -> None:
    world.switch({"nack": {"code": 1, "skip": 2, "every": 3, "times": 2}})
    struck = [answer != "ack" for answer in outcomes(world, world.connect(), 12)]
    assert [number for number, was in enumerate(struck) if was] == [4, 7]


def test_a_dropped_answer_silences_the_connection_until_it_resumes(world: World) -> None:
    link, reader = world.connect(), world.connect()
    world.attach(reader, "c")
    world.switch({"drop_ack": {"times": 1, "skip": 1}})
    assert outcomes(world, link, 3) == ["ack", "silence", "silence"]
    assert world.heard(reader) == ["0", "1", "2"]
    again = world.connect(resume=world.connection_key(link))
    assert outcome(world.publish(again, "c", "1", serial=1)) == "ack"
    assert world.heard(reader) == ["0", "1", "2"]


def test_a_dropped_publish_is_neither_accepted_nor_answered(world: World) -> None:
    link, reader = world.connect(), world.connect()
    world.attach(reader, "c")
    world.switch({"drop_publish": {"times": 1, "skip_only": True}})
    assert outcomes(world, link, 2) == ["silence", "ack"]
    assert world.heard(reader) == ["1"]


def test_late_answers_stay_in_order_and_are_merged(world: World) -> None:
    link = world.connect()
    world.switch({"delay_ack": {"ms": 500, "channel": "slow"}})
    assert outcome(world.publish(link, "slow", "x", serial=1)) == "silence"
    assert outcome(world.publish(link, "fast", "x", serial=2)) == "silence"
    assert world.protocol.next_wake() == pytest.approx(world.now + 0.5)
    world.wait(0.5)
    answer = world.last(link) if world.last(link).action == Action.ACK else world.frames[link][-2]
    assert (answer.msg_serial, answer.count) == (1, 2)


def test_a_refusal_waits_for_the_answers_before_it(world: World) -> None:
    link = world.connect()
    world.switch({"batch_ack": {"count": 3, "ms": 9000}, "nack": {"code": 42911, "skip": 1, "times": 1}})
    assert outcomes(world, link, 2) == ["silence", "silence"]
    world.publish(link, "c", "x", serial=2)
    told = [(frame.action, frame.msg_serial) for frame in world.frames[link][1:]]
    assert told == [(Action.ACK, 0), (Action.NACK, 1), (Action.ACK, 2)]


@pytest.mark.parametrize(
    ("at", "accepted", "answered"), [("before", [], 0), ("after", ["x"], 0), ("answered", ["x"], 1)]
)
def test_a_cut_at_a_publish_leaves_it_in_a_known_state(
    world: World, at: str, accepted: list[str], answered: int
) -> None:
    link, reader = world.connect(), world.connect()
    world.attach(reader, "c")
    world.switch({"cut": {"publishes": 1, "at": at, "times": 1}})
    world.publish(link, "c", "x")
    assert world.closed[link] is True
    assert world.heard(reader) == accepted
    assert world.actions(link).count(Action.ACK) == answered


def test_an_injection_by_time_repeats(world: World) -> None:
    world.switch({"disconnected": {"seconds": 5, "code": 80003}})
    first = world.connect()
    world.wait(5.0)
    second = world.connect(resume=world.connection_key(first))
    world.wait(5.0)
    for link in (first, second):
        assert outcome(next(f for f in world.frames[link] if f.action == Action.DISCONNECTED)) == 80003


DISCONNECTS: list[tuple[dict[str, Any], tuple[int, int] | None]] = [
    ({}, (80003, 400)),
    ({"code": 50003, "status": 503}, (50003, 503)),
    ({"code": 80003, "status": 500}, (80003, 500)),
    ({"code": 40142}, (40142, 401)),
    ({"code": None}, None),
]


@pytest.mark.parametrize(("rule", "error"), DISCONNECTS)
def test_every_way_to_be_disconnected(world: World, rule: dict[str, Any], error: tuple[int, int] | None) -> None:
    link = world.connect()
    world.switch({"disconnected": rule})
    frame = world.last(link)
    assert frame.action == Action.DISCONNECTED
    assert (frame.error and (frame.error.code, frame.error.status_code)) == error
    assert world.closed[link] is False


def test_a_disconnected_that_leaves_the_socket_open(world: World) -> None:
    link = world.connect()
    world.switch({"disconnected": {"code": None, "close": False}})
    assert link not in world.closed
    assert outcomes(world, link, 1) == ["ack"]


@pytest.mark.parametrize("code", [40101, 80000, 50000])
def test_a_connection_error_ends_it_for_good(world: World, code: int) -> None:
    link = world.connect()
    world.switch({"error": {"code": code}})
    assert (world.last(link).action, outcome(world.last(link))) == (Action.ERROR, code)
    again = world.connect(resume=world.connection_key(link))
    assert world.connection_id(again) != world.connection_id(link)


def test_channels_can_fail_detach_and_lose_continuity(world: World) -> None:
    link = world.connect()
    for channel in ("a:1", "a:2", "b:1"):
        world.attach(link, channel)
    world.switch({"discontinuity": {"channel": "^a:"}})
    told = world.frames[link][-2:]
    assert [(frame.action, frame.channel, outcome(frame)) for frame in told] == [
        (Action.ATTACHED, "a:1", 80020), (Action.ATTACHED, "a:2", 80020),
    ]  # fmt: skip
    assert all(frame.flags is not None and not frame.flags & Flag.RESUMED for frame in told)
    world.switch({"channel_error": {"channel": "a:1", "code": 40160}, "detached": {"channel": "a:2"}})
    assert [(frame.action, frame.channel) for frame in world.frames[link][-2:]] == [
        (Action.ERROR, "a:1"), (Action.DETACHED, "a:2"),
    ]  # fmt: skip
    for channel in ("a:1", "a:2", "b:1"):
        world.publish(world.connect(), channel, channel)
    assert world.heard(link) == ["b:1"]


def test_a_refused_resume_loses_the_channels_continuity(world: World) -> None:
    link = world.connect()
    position = world.attach(link, "c")[0].channel_serial
    world.switch({"refuse_resume": {"times": 1}, "cut": {}})
    again = world.connect(resume=world.connection_key(link))
    assert outcome(world.last(again)) == 80018
    attached = world.attach(again, "c", channel_serial=position)[0]
    assert attached.flags is not None
    assert not attached.flags & Flag.RESUMED


def test_connects_can_be_refused_in_the_protocol(world: World) -> None:
    world.switch({"refuse_connect": [{"code": 80000, "times": 1}, {"code": 50003, "disconnected": True, "times": 1}]})
    assert world.last(world.connect()).action == Action.ERROR
    assert world.last(world.connect()).action == Action.DISCONNECTED
    assert world.last(world.connect()).action == Action.CONNECTED


def test_connected_can_be_late(world: World) -> None:
    world.switch({"delay_connected": {"ms": 300}})
    link = world.connect()
    assert world.frames[link] == []
    world.wait(0.3)
    assert world.frames[link][0].action == Action.CONNECTED


def test_a_frozen_socket_stays_open(world: World) -> None:
    link = world.connect()
    world.switch({"freeze": {}})
    assert world.frozen == {link}
    assert link not in world.closed


def test_limits_refuse_the_51st_message_in_a_second(world: World) -> None:
    world.switch({"limits": {}})
    one, two = world.connect(), world.connect()
    assert outcomes(world, one, 51) == ["ack"] * 50 + [42911]
    assert outcomes(world, two, 1) == [42913]
    assert outcomes(world, two, 1, "other") == ["ack"]
    world.wait(1.0)
    assert outcome(world.publish(one, "c", "x", serial=99)) == "ack"


def test_twenty_times_the_rate_ends_the_connection(world: World) -> None:
    world.switch({"limits": {}})
    link = world.connect()
    assert outcomes(world, link, 1001)[-2:] == [42911, 42921]
    assert world.last(link).action == Action.ERROR
    assert link in world.closed


def test_a_subscriber_over_its_rate_loses_messages_and_is_told(world: World) -> None:
    world.switch({"limits": {"connection": 1000, "per_channel": 1000, "severe": 5000}})
    link, reader = world.connect(), world.connect()
    world.attach(reader, "c")
    outcomes(world, link, 80)
    assert world.heard(reader) == [str(number) for number in range(50)]
    assert (world.last(reader).action, outcome(world.last(reader))) == (Action.ATTACHED, 80020)


def test_a_mistake_in_a_fault_is_told() -> None:
    wrong: list[object] = [
        {"nak": {}},
        {"nack": {}},
        {"nack": {"code": 1, "chanel": "x"}},
        {"cut": {"publishes": 0}},
        [],
    ]
    for spec in wrong:
        with pytest.raises(ValueError, match=r"."):
            parse(spec)
    with pytest.raises(ValueError, match="channel"):
        parse({"nack": {"code": 1, "channel": 3}})


def test_rules_are_listed_with_how_often_they_struck(world: World) -> None:
    world.switch({"nack": {"code": 42911, "times": 1}})
    outcomes(world, world.connect(), 3)
    (listed,) = world.protocol.faults.listed()
    assert listed["nack"]["code"] == 42911
    assert listed["struck"] == 1


def test_every_kind_can_be_made_from_json() -> None:
    needed = {"code": 42911, "ms": 1.0}
    for name, kind in KINDS.items():
        fields = {key: value for key, value in needed.items() if key in kind.__struct_fields__}
        assert type(parse({name: fields})[0]) is kind


def test_a_window_holds_any_trailing_second() -> None:
    window = RateWindow(2)
    assert [window.admits(1, now) for now in (0.0, 0.5, 0.75, 1.0, 1.25, 1.5)] == [True, True, False, True, False, True]


@pytest.mark.parametrize(
    ("resource", "channel", "answer"),
    [
        ("*", "a:b", True),
        ("a:*", "a:b", True),
        ("a:*", "a:b:c", True),
        ("a:*", "a", False),
        ("a:*:c", "a:b:c", True),
        ("a:*:c", "a:b:d", False),
        ("a", "a:b", False),
        ("a:b", "a:b", True),
        ("[*]*", "a", True),
    ],
)
def test_capability_wildcards(resource: str, channel: str, answer: bool) -> None:
    assert matches(resource, channel) is answer


def test_a_token_request_is_answered_with_a_token_of_its_capability() -> None:
    key = Key.parse("local.key:secret")
    body = {"keyName": key.name, "capability": '{"a":["subscribe"]}', "clientId": "me", "ttl": 5000}
    details = TokenRequests(Keyring(key)).answer(body, 1000.0, trusted=True)
    grant = authorize_token(Keyring(key), details["token"], 1004.0)
    assert grant.client_id == "me"
    assert grant.allows("subscribe", "a")
    assert not grant.allows("publish", "a")
    assert details["expires"] - details["issued"] == 5000


def test_a_message_survives_both_formats() -> None:
    sent = ProtocolMessage(
        action=Action.MESSAGE, channel="c", messages=[Message(data="häl😀", extras={"n": [1, None]})]
    )
    for encoding in Format:
        assert decode(encode(sent, encoding), encoding) == sent


def test_bytes_become_base64_in_json_only() -> None:
    sent = ProtocolMessage(action=Action.MESSAGE, messages=[Message(data=b"\xff", encoding="cipher")])
    (message,) = decode(encode(sent, Format.JSON), Format.JSON).messages or [Message()]
    assert (message.data, message.encoding) == ("/w==", "cipher/base64")
    (message,) = decode(encode(sent, Format.MSGPACK), Format.MSGPACK).messages or [Message()]
    assert (message.data, message.encoding) == (b"\xff", "cipher")


def test_half_a_surrogate_pair_in_json_does_not_end_the_connection() -> None:
    frame = decode(rb'{"action":15,"messages":[{"data":"a\ud83d"}]}', Format.JSON)
    assert frame.messages is not None
    assert frame.messages[0].data == "a\ufffd"
