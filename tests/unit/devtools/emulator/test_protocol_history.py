"""History, appends and ephemeral messages of the realtime protocol, without sockets or clocks."""

from devtools.emulator.channels import Bounds, Page
from devtools.emulator.wire import Message, MessageAction
from support.emulator_world import World, code, serials

# -- history, appends, ephemeral messages


def history(world: World, page: Page) -> list[object]:
    return [message.data for message in world.protocol.channels.get("c").history(page)[0]]


def test_history_pages_without_overlap_both_ways(world: World) -> None:
    link = world.connect()
    for number in range(5):
        world.publish(link, "c", [Message(data=f"{number}a"), Message(data=f"{number}b")], serial=number)
    channel = world.protocol.channels.get("c")
    forwards = [f"{number}{half}" for number in range(5) for half in "ab"]
    for page, wanted in ((Page(limit=3), forwards[::-1]), (Page(limit=3, forwards=True), forwards)):
        found, cursor = channel.history(page)
        while cursor is not None:
            more, cursor = channel.history(Page(limit=3, forwards=page.forwards, cursor=cursor))
            found += more
        assert [message.data for message in found] == wanted


def test_history_until_a_position_includes_it_and_nothing_later(world: World) -> None:
    link = world.connect()
    world.publish(link, "c", "1", serial=1)
    position = world.attach(link, "c")[0].channel_serial
    world.publish(link, "c", "2", serial=2)
    assert history(world, Page(until=position)) == ["1"]


def test_what_is_older_than_the_time_to_live_or_over_the_bounds_is_gone() -> None:
    world = World(Bounds(ttl=10.0, channel_messages=3))
    link = world.connect()
    for number in range(5):
        world.publish(link, "c", str(number), serial=number)
    assert history(world, Page()) == ["4", "3", "2"]
    world.wait(11.0)
    assert history(world, Page()) == []


def test_appends_come_as_they_are_to_who_saw_the_message_else_whole_at_first(world: World) -> None:
    link, reader, later = world.connect(), world.connect(), world.connect()
    world.attach(reader, "c")
    (serial,) = serials(world.publish(link, "c", Message(name="n", data="Hel"), serial=1))
    world.attach(later, "c")
    world.publish(link, "c", Message(action=MessageAction.APPEND, serial=serial, data="lo"), serial=2)
    world.publish(link, "c", Message(action=MessageAction.APPEND, serial=serial, data="!"), serial=3)
    assert world.heard(reader) == ["Hel", "lo", "!"]
    assert world.heard(later) == ["Hello", "!"]
    names = [message.name for frame in world.frames[reader] for message in frame.messages or ()]
    assert names == ["n", "n", "n"]


def test_an_appended_message_is_one_in_history(world: World) -> None:
    link, reader, late = world.connect(), world.connect(), world.connect()
    world.attach(reader, "c")
    (serial,) = serials(world.publish(link, "c", Message(name="n", data="Hel"), serial=1))
    world.publish(link, "c", Message(action=MessageAction.APPEND, serial=serial, data="lo"), serial=2)
    world.publish(link, "c", Message(action=MessageAction.APPEND, serial=serial, data="!"), serial=3)
    assert world.heard(reader) == ["Hel", "lo", "!"]
    assert history(world, Page()) == ["Hello!"]
    world.attach(late, "c", params={"rewind": "1"})
    assert world.heard(late) == ["Hello!"]
    missing = Message(action=MessageAction.APPEND, serial="01-000@other:000", data="x")
    assert code(world.publish(link, "c", missing, serial=4)) == 40400


def test_a_resumed_reader_gets_a_changed_message_once_and_whole(world: World) -> None:
    link, reader = world.connect(), world.connect()
    (serial,) = serials(world.publish(link, "c", Message(data="a"), serial=1))
    position = world.attach(reader, "c")[0].channel_serial
    world.drop(reader)
    for number, letter in enumerate("bc"):
        world.publish(link, "c", Message(action=MessageAction.APPEND, serial=serial, data=letter), serial=2 + number)
    again = world.connect(resume=world.connection_key(reader))
    world.attach(again, "c", channel_serial=position)
    assert world.heard(again) == ["abc"]


def test_an_update_replaces_and_a_delete_marks(world: World) -> None:
    link, reader = world.connect(), world.connect()
    world.attach(reader, "c")
    (serial,) = serials(world.publish(link, "c", "a", serial=1))
    world.publish(link, "c", Message(action=MessageAction.UPDATE, serial=serial, data="b"), serial=2)
    world.publish(link, "c", Message(action=MessageAction.DELETE, serial=serial), serial=3)
    assert world.heard(reader) == ["a", "b", None]


def test_ephemeral_messages_are_delivered_and_kept_nowhere(world: World) -> None:
    link, reader = world.connect(), world.connect()
    position = world.attach(reader, "c")[0].channel_serial
    world.publish(link, "c", Message(data="gone", extras={"ephemeral": True}), serial=1)
    world.publish(link, "c", "kept", serial=2)
    assert world.heard(reader) == ["gone", "kept"]
    assert history(world, Page()) == ["kept"]
    again = world.connect()
    world.attach(again, "c", channel_serial=position)
    assert world.heard(again) == ["kept"]


def test_an_updated_message_keeps_its_versions_and_appends_make_none(world: World) -> None:
    link = world.connect()
    (serial,) = serials(world.publish(link, "c", Message(name="n", data="a"), serial=1))
    for number, (action, data) in enumerate(
        [(MessageAction.UPDATE, "b"), (MessageAction.APPEND, "c"), (MessageAction.DELETE, None)], start=2
    ):
        world.publish(link, "c", Message(action=action, serial=serial, data=data), serial=number)
    channel = world.protocol.channels.peek("c")
    assert channel is not None
    assert [message.data for message in channel.versions(serial)] == ["a", "b", None]
