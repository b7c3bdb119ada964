"""The realtime protocol's rules, without sockets or clocks."""

import pytest

from devtools.emulator.auth import Key, issue_token
from devtools.emulator.wire import Action, Auth, Flag, Message, ProtocolMessage
from support.emulator_world import KEY, World, code, serials


def token(capability: dict[str, list[str]], ttl: float = 600.0, client_id: str | None = None) -> str:
    return issue_token(Key.parse(KEY), capability, client_id, ttl, 1000.0)


# -- connecting


def test_a_right_key_is_connected_and_told_its_connection_key(world: World) -> None:
    link = world.connect()
    welcome = world.last(link)
    assert welcome.action == Action.CONNECTED
    assert welcome.connection_details is not None
    assert welcome.connection_details.connection_key == welcome.connection_key


def test_a_wrong_key_ends_the_connection_with_40101(world: World) -> None:
    link = world.connect(key="local.key:wrong")
    assert world.last(link).action == Action.ERROR
    assert code(world.last(link)) == 40101
    assert world.closed[link] is False


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("nonsense", 40101),
        ("a.b.c", 40144),
        (token({"*": ["*"]})[:-3] + "AAA", 40144),
        (issue_token(Key.parse("other.key:secret"), {"*": ["*"]}, None, 60.0, 1000.0), 40400),
    ],
)
def test_what_is_no_token_of_the_key_is_refused(world: World, text: str, refusal: int) -> None:
    assert code(world.last(world.connect(token=text))) == refusal


def test_a_token_that_ended_is_refused_so_that_clients_renew_it(world: World) -> None:
    assert code(world.last(world.connect(token=token({"*": ["*"]}, ttl=-1.0)))) == 40142


def test_a_token_that_ends_later_is_asked_for_anew_and_then_disconnected(world: World) -> None:
    link = world.connect(token=token({"*": ["*"]}, ttl=100.0))
    world.wait(71.0)
    assert Action.AUTH in world.actions(link)
    world.wait(30.0)
    assert world.last(link).action == Action.DISCONNECTED
    assert code(world.last(link)) == 40142


def test_a_new_token_keeps_the_connection(world: World) -> None:
    link = world.connect(token=token({"*": ["*"]}, ttl=100.0))
    answer = world.send(link, ProtocolMessage(action=Action.AUTH, auth=Auth(access_token=token({"a": ["*"]}))))
    assert answer[0].action == Action.CONNECTED
    assert answer[0].connection_id == world.connection_id(link)
    world.wait(200.0)
    assert link not in world.closed


def test_a_client_id_other_than_the_tokens_is_refused(world: World) -> None:
    link = world.connect(token=token({"*": ["*"]}, client_id="me"), client_id="you")
    assert code(world.last(link)) == 40102


def test_a_lost_connection_is_resumed_by_its_key(world: World) -> None:
    link = world.connect()
    world.drop(link)
    world.wait(119.0)
    again = world.connect(resume=world.connection_key(link))
    assert world.connection_id(again) == world.connection_id(link)
    assert world.last(again).error is None


def test_a_connection_lost_for_two_minutes_cannot_be_resumed(world: World) -> None:
    link = world.connect()
    world.drop(link)
    world.wait(121.0)
    again = world.connect(resume=world.connection_key(link))
    assert world.connection_id(again) != world.connection_id(link)
    assert code(world.last(again)) == 80008


def test_the_newest_socket_takes_a_connection_over(world: World) -> None:
    link = world.connect()
    again = world.connect(resume=world.connection_key(link))
    assert link in world.closed
    assert world.publish(link, "c", "late") is None
    assert world.publish(again, "c", "now") is not None


def test_a_closed_connection_cannot_be_resumed(world: World) -> None:
    link = world.connect()
    assert world.send(link, ProtocolMessage(action=Action.CLOSE))[0].action == Action.CLOSED
    again = world.connect(resume=world.connection_key(link))
    assert world.connection_id(again) != world.connection_id(link)


def test_heartbeats_are_answered_and_sent(world: World) -> None:
    link = world.connect()
    assert world.send(link, ProtocolMessage(action=Action.HEARTBEAT, id="x"))[0].id == "x"
    world.wait(10.0)
    assert world.last(link).action == Action.HEARTBEAT
    assert world.protocol.next_wake() <= world.now + 15.0


# -- publishing


def test_a_publish_is_acknowledged_and_delivered_in_order_to_all(world: World) -> None:
    publisher, reader = world.connect(), world.connect()
    world.attach(reader, "c")
    world.attach(publisher, "c")
    found = [serials(world.publish(publisher, "c", str(n), serial=n))[0] for n in range(1500)]
    assert found == sorted(set(found))
    assert world.heard(reader) == world.heard(publisher) == [str(n) for n in range(1500)]
    positions = [frame.channel_serial for frame in world.frames[reader] if frame.messages]
    assert positions == sorted(positions, key=str)


def test_without_echo_the_publisher_hears_nothing_of_its_own(world: World) -> None:
    link = world.connect(echo=False)
    world.attach(link, "c")
    world.publish(link, "c", "x")
    assert world.heard(link) == []


def test_the_same_id_is_acknowledged_again_and_not_delivered_for_two_minutes(world: World) -> None:
    publisher, other, reader = world.connect(), world.connect(), world.connect()
    world.attach(reader, "c")
    first = serials(world.publish(publisher, "c", Message(id="x", data="1")))
    world.wait(119.0)
    assert serials(world.publish(other, "c", Message(id="x", data="2"))) == first
    assert world.heard(reader) == ["1"]
    world.wait(2.0)
    assert serials(world.publish(other, "c", Message(id="x", data="3"))) != first
    assert world.heard(reader) == ["1", "3"]


def test_an_id_counts_per_channel(world: World) -> None:
    link = world.connect()
    assert serials(world.publish(link, "a", Message(id="x"))) != serials(world.publish(link, "b", Message(id="x")))


def test_a_resend_without_an_id_is_known_by_connection_and_serial(world: World) -> None:
    link, reader = world.connect(), world.connect()
    world.attach(reader, "c")
    first = serials(world.publish(link, "c", "1", serial=7))
    world.drop(link)
    again = world.connect(resume=world.connection_key(link))
    assert serials(world.publish(again, "c", "1", serial=7)) == first
    assert world.heard(reader) == ["1"]


def test_an_array_is_known_by_its_base_and_its_ids_must_follow_it(world: World) -> None:
    link = world.connect()
    array = [Message(id="b:0"), Message(id="b:1")]
    first = serials(world.publish(link, "c", array))
    assert len(first) == 2
    assert serials(world.publish(link, "c", [Message(id="b:0"), Message(id="b:1")], serial=1)) == first
    for wrong in (["b:1", "b:0"], ["b:0", "c:1"], ["b:0", None], ["0", "1"]):
        assert code(world.publish(link, "c", [Message(id=one) for one in wrong])) == 40031


def test_more_than_64_kib_is_refused_and_exactly_that_is_not(world: World) -> None:
    link = world.connect()
    size = 70_000
    assert serials(world.publish(link, "c", Message(name="n", data="x" * 65_535), size=size))
    assert code(world.publish(link, "c", Message(name="n", data="x" * 65_536), size=size)) == 40009
    assert code(world.publish(link, "c", Message(data="é" * 32_769), size=size)) == 40009
    assert code(world.publish(link, "c", Message(data="x" * 65_000, extras={"h": "y" * 600}), size=size)) == 40009
    assert code(world.publish(link, "c", [Message(data="x" * 40_000), Message(data="x" * 40_000)], size=size)) == 40009


def test_a_publish_the_token_does_not_grant_is_refused(world: World) -> None:
    link = world.connect(token=token({"mine:*": ["publish"], "yours:*": ["subscribe"]}))
    assert serials(world.publish(link, "mine:1", "x"))
    assert code(world.publish(link, "yours:1", "x")) == 40160


def test_a_bound_client_id_is_filled_in_and_another_refused(world: World) -> None:
    link, reader = world.connect(client_id="me"), world.connect()
    world.attach(reader, "c")
    world.publish(link, "c", "x")
    messages = world.last(reader).messages
    assert messages is not None
    assert messages[0].client_id == "me"
    assert code(world.publish(link, "c", Message(client_id="you"))) == 40012


# -- attaching


def test_rewind_sends_the_newest_then_goes_live(world: World) -> None:
    link = world.connect()
    for number in range(5):
        world.publish(link, "c", str(number), serial=number)
        world.wait(10.0)
    counted, timed, qualified = world.connect(), world.connect(), world.connect()
    world.attach(counted, "c", params={"rewind": "2"})
    world.attach(timed, "c", params={"rewind": "25s"})
    world.attach(qualified, "[?rewind=1]c")
    world.publish(link, "c", "live", serial=9)
    assert world.heard(counted) == ["3", "4", "live"]
    assert world.heard(timed) == ["3", "4", "live"]
    assert world.heard(qualified) == ["4", "live"]
    assert {frame.channel for frame in world.frames[qualified] if frame.channel} == {"[?rewind=1]c"}


def test_a_rewind_that_cannot_be_read_fails_the_channel(world: World) -> None:
    assert world.attach(world.connect(), "c", params={"rewind": "soon"})[0].action == Action.ERROR


def test_attaching_from_a_known_position_replays_what_followed_it(world: World) -> None:
    link, reader = world.connect(), world.connect()
    world.attach(reader, "c")
    world.publish(link, "c", "1", serial=1)
    position = world.last(reader).channel_serial
    world.drop(reader)
    world.publish(link, "c", "2", serial=2)
    again = world.connect(resume=world.connection_key(reader))
    attached = world.attach(again, "c", channel_serial=position)[0]
    assert attached.flags is not None
    assert attached.flags & Flag.RESUMED
    assert attached.flags & Flag.HAS_BACKLOG
    assert world.heard(again) == ["2"]


def test_attaching_from_a_position_too_old_says_so_and_sends_what_is_kept(world: World) -> None:
    link, reader = world.connect(), world.connect()
    position = world.attach(reader, "c")[0].channel_serial
    world.publish(link, "c", "1", serial=1)
    world.wait(100.0)
    world.publish(link, "c", "2", serial=2)
    world.wait(30.0)
    again = world.connect()
    attached = world.attach(again, "c", channel_serial=position)[0]
    assert attached.flags is not None
    assert not attached.flags & Flag.RESUMED
    assert code(attached) == 90003
    assert world.heard(again) == ["2"]


def test_attaching_needs_a_capability_and_reading_needs_subscribe(world: World) -> None:
    world_key = world.connect()
    link = world.connect(token=token({"a": ["history"], "b": ["publish"], "c": ["subscribe"]}))
    assert code(world.attach(link, "a")[0]) == 40160
    assert world.attach(link, "b")[0].action == Action.ATTACHED
    world.attach(link, "c")
    world.publish(world_key, "b", "unheard", serial=1)
    world.publish(world_key, "c", "heard", serial=2)
    assert world.heard(link) == ["heard"]


def test_a_detached_channel_hears_nothing(world: World) -> None:
    link, reader = world.connect(), world.connect()
    world.attach(reader, "c")
    assert world.send(reader, ProtocolMessage(action=Action.DETACH, channel="c"))[0].action == Action.DETACHED
    world.publish(link, "c", "x")
    assert world.heard(reader) == []


@pytest.mark.parametrize("name", ["", ":hell", "[broken", "[?rewind=1]", "[?rewind=1]:hell"])
def test_a_channel_name_that_can_not_be_is_refused_with_40010_and_the_connection_goes_on(
    world: World, name: str
) -> None:
    link = world.connect()
    (answer,) = world.attach(link, name)
    assert (answer.action, answer.channel, code(answer)) == (Action.ERROR, name, 40010)
    assert code(world.publish(link, name, "x")) == 40010
    assert link not in world.closed


def test_the_modes_parameter_outdoes_the_flags_and_is_echoed(world: World) -> None:
    link = world.connect()
    (attached,) = world.attach(link, "c", params={"modes": "subscribe,presence"}, flags=Flag.PUBLISH)
    assert attached.flags == Flag.SUBSCRIBE | Flag.PRESENCE
    assert attached.params == {"modes": "subscribe,presence"}
    (refused,) = world.attach(link, "d", params={"modes": "shout"})
    assert code(refused) == 40000


def test_a_channel_attached_without_the_publish_mode_takes_no_publishes(world: World) -> None:
    link = world.connect()
    world.attach(link, "c", flags=Flag.SUBSCRIBE)
    assert code(world.publish(link, "c", "x")) == 40160
    answer = world.publish(link, "d", "x", serial=1)
    assert answer is not None
    assert answer.action == Action.ACK


def test_what_continues_an_attachment_is_not_rewound(world: World) -> None:
    link, reader = world.connect(), world.connect()
    world.publish(link, "c", "old")
    world.attach(reader, "c", params={"rewind": "1"}, flags=Flag.ATTACH_RESUME)
    assert world.heard(reader) == []


def test_a_key_that_can_be_no_connections_is_refused_with_80018(world: World) -> None:
    link = world.connect()
    key = world.last(link).connection_key
    assert key is not None
    assert code(world.last(world.connect(resume="no-key"))) == 80018
    assert code(world.last(world.connect(resume="other!key"))) == 80018
    world.drop(link)
    world.wait(121.0)
    world.wait(6.0)
    assert code(world.last(world.connect(resume=key))) == 80008


def test_a_key_with_a_capability_may_do_only_that(world: World) -> None:
    world.protocol.keys.add(Key("local.less", "secret", {"a": ("publish",)}))
    link = world.connect(key="local.less:secret")
    answer = world.publish(link, "a", "x")
    assert answer is not None
    assert answer.action == Action.ACK
    assert code(world.publish(link, "b", "x", serial=1)) == 40160
    assert code(world.last(world.connect(key="local.other:secret"))) == 40101
