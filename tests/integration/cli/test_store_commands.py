"""Looking after the store from the command line: responses, archive migrate and prune, verify."""

import asyncio
import re
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from devtools.kafka import LocalKafka
from devtools.terminal import Terminal, start
from processor.archive.stores import open_store
from processor.ports.store import Entry, Position
from support.command_line import kafka_environment, tokenstream
from support.records import entry, record
from support.waiting import eventually
from topics.codec import encode_response
from topics.controls import ControlRecord, decode_control
from topics.limits import Invalid
from topics.records import Status
from topics.specs import TopicNames


def store_settings(directory: Path) -> dict[str, str]:
    return {"TOKENSTREAM_STORE_URL": f"sqlite:///{directory / 'store.db'}"}


async def keep(environment: dict[str, str], *entries: Entry) -> None:
    store = open_store(environment["TOKENSTREAM_STORE_URL"])
    await store.start()
    await store.upsert_batch(entries)
    await store.close()


async def test_responses_are_listed_and_shown(tmp_path: Path) -> None:
    environment = store_settings(tmp_path)
    assert "Migrated from nothing to" in (await tokenstream("archive", "migrate", environment=environment)).out
    kept = [entry(f"r-{number}", offset=number, started_at=10**12 + number, text="\x1b[1mHé") for number in range(3)]
    await keep(environment, *kept, entry("r-open", offset=9, started_at=10**12 + 9, status=Status.STREAMING))

    listed = await tokenstream(
        "responses", "list", "chat:1", "--limit", "2", "--status", "complete", environment=environment
    )
    assert re.findall(r"^r-\S+", listed.out, re.MULTILINE) == ["r-2", "r-1"]
    cursor = re.search(r"--before (\S+)", listed.out)
    assert cursor is not None
    rest = await tokenstream(
        "responses", "list", "chat:1", "--status", "complete", "--before", cursor[1], "--json", environment=environment
    )
    assert [line["responseId"] for line in rest.json] == ["r-0"]

    shown = await tokenstream("responses", "get", "r-1", environment=environment)
    assert "␛[1mHé" in shown.out
    assert "\x1b" not in shown.out
    text = await tokenstream("responses", "get", "r-1", "--text", environment=environment)
    assert text.out == "\x1b[1mHé"
    missing = await tokenstream("responses", "get", "nobody", environment=environment)
    assert (missing.code, missing.err) == (1, "tokenstream: There is no response 'nobody' in the store.\n")


async def test_a_terminal_never_obeys_a_model(tmp_path: Path) -> None:
    environment = store_settings(tmp_path)
    await tokenstream("archive", "migrate", environment=environment)
    text = "\x1b[2J\x07\x9b2J \u202edesrever\u2066 é"
    await keep(environment, entry("r-1", text=text))
    piped = await tokenstream("responses", "get", "r-1", "--text", environment=environment)
    assert piped.out == text
    for command in (("get", "r-1", "--json"), ("list", "chat:1", "--json")):
        shown = await tokenstream("responses", *command, environment=environment)
        assert not set(shown.out) & set("\x1b\x07\x9b\u202e\u2066")
        assert shown.json[0]["parts"][0]["text"] == text
    with Terminal() as terminal:
        process = await start("responses", "get", "r-1", "--text", environment=environment, terminal=terminal.slave)
        assert await process.wait() == 0
        await eventually(lambda: "desrever" in terminal.shown())
        assert "␛[2J␇" in terminal.shown()


async def test_pruning_counts_first_and_deletes_then(tmp_path: Path) -> None:
    environment = store_settings(tmp_path)
    await keep(environment, entry("r-1"), entry("r-2", channel="logs:1"))
    arguments = ("archive", "prune", "--older-than", "1d", "--channel", "chat:*")
    dry = await tokenstream(*arguments, "--dry-run", "--json", environment=environment)
    assert dry.json[0]["responses"] == 1
    done = await tokenstream(*arguments, environment=environment)
    assert done.out.startswith("Deleted 1 responses")
    assert (await tokenstream("responses", "get", "r-1", environment=environment)).code == 1
    assert (await tokenstream("responses", "get", "r-2", environment=environment)).code == 0


async def test_what_the_store_lacks_is_found_and_mended_and_what_is_deleted_stays_so(
    kafka: LocalKafka, topic_names: TopicNames, tmp_path: Path
) -> None:
    environment = {**store_settings(tmp_path), **kafka_environment(kafka.bootstrap, topic_names)}
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        for response_id in ("r-1", "r-2"):
            value = encode_response(record(response_id))
            sent = await producer.send_and_wait(topic_names.responses, value, key=response_id.encode(), partition=1)
            if response_id == "r-1":
                await keep(environment, Entry.of(Position(1, sent.offset), value))

    found = await tokenstream("verify", "--json", environment=environment)
    assert found.code == 1
    assert '"missing": ["r-2"]' in found.out
    mended = await tokenstream("verify", "--repair", "--since", "2020-01-01", environment=environment)
    assert (mended.code, "1 mended" in mended.out) == (0, True)
    deleted = await tokenstream("responses", "delete", "r-2", "--yes", environment=environment)
    assert deleted.code == 0
    whole = await tokenstream("verify", environment=environment)
    assert (whole.code, "1 equal in the store" in whole.out) == (0, True), whole


async def test_finished_days_of_an_object_store_are_compacted(tmp_path: Path) -> None:
    environment = {"TOKENSTREAM_STORE_URL": f"file://{tmp_path}/objects"}
    await keep(environment, entry("r-1"), entry("r-2"))
    done = await tokenstream("archive", "compact", "--json", environment=environment)
    assert done.json == [{"days": 1, "responses": 2, "unchangedDays": 0}]
    assert len(list((tmp_path / "objects").rglob("*.parquet"))) == 1
    refused = await tokenstream("archive", "compact", environment=store_settings(tmp_path))
    assert (refused.code, "only object stores" in refused.err) == (1, True)


async def test_a_cancel_is_written_for_the_channel_given_or_stored(
    kafka: LocalKafka, topic_names: TopicNames, tmp_path: Path
) -> None:
    environment = kafka_environment(kafka.bootstrap, topic_names) | store_settings(tmp_path)
    await tokenstream("archive", "migrate", environment=environment)
    await keep(environment, entry("r-done"), entry("r-open", channel="chat:7", status=Status.STREAMING))

    done = await tokenstream("responses", "cancel", "r-done", environment=environment)
    assert (done.code, done.out) == (0, "The response r-done has ended: nothing to cancel.\n")
    unknown = await tokenstream("responses", "cancel", "r-new", environment=environment)
    assert unknown.code == 1
    assert "--channel" in unknown.err
    wrong = await tokenstream("responses", "cancel", "r-new", "--channel", "[x", environment=environment)
    assert wrong.code == 2
    stored = await tokenstream("responses", "cancel", "r-open", environment=environment)
    assert (stored.code, stored.out) == (0, "Requested the end of r-open.\n")
    given = ("responses", "cancel", "r-new", "--channel", "chat:8", "--reason", "runaway")
    assert (await tokenstream(*given, environment=environment)).code == 0

    found: list[tuple[bytes | None, ControlRecord | Invalid]] = []
    async with AIOKafkaConsumer(
        topic_names.controls, bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest"
    ) as consumer:
        async with asyncio.timeout(30):
            while len(found) < 2:
                record = await consumer.getone()
                found.append((record.key, decode_control(record.value)))
    records = {key: control for key, control in found if isinstance(control, ControlRecord)}
    assert {key: (each.channel, each.reason) for key, each in records.items()} == {
        b"r-open": ("chat:7", None),
        b"r-new": ("chat:8", "runaway"),
    }
