"""`tokenstream produce`, `tail` and `doctor`: try, watch and diagnose a deployment."""

import asyncio
import json as jsons
import re
import sys
import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from processor.cli.shared import EXIT_FAILED, Config, Json, print_json, quiet_logs, read_settings, run_async, visible
from processor.errors import Fatal, KafkaUnavailable

if TYPE_CHECKING:
    from processor.ably.ably import AblyOptions
    from processor.ably.subscription import Subscription
    from processor.cli.doctor import CheckResult
    from processor.config.settings import Settings
    from processor.direct.subscription import FramesSubscription
    from topics.producer import ResponseWriter

WORD = re.compile(r"\s*\S+\s*")
LINES_AHEAD = 1_000
EXAMINED_CHANNEL = "tokenstream:doctor"


class NotProducible(Fatal):
    """What was given makes no response."""


class ChannelUnknown(Fatal):
    """The channel of the response is unknown."""


def produce(
    channel: Annotated[str, typer.Option(help="Channel of the response.")],
    response_id: Annotated[str | None, typer.Option(help="Id of the response; random by default.")] = None,
    part: Annotated[str | None, typer.Option(help="Part of the tokens; defaults to the kind.")] = None,
    kind: Annotated[str | None, typer.Option(help="Kind of the part: text, reasoning, tool_call, ...")] = None,
    metadata: Annotated[str | None, typer.Option(metavar="JSON", help="Metadata of the response.")] = None,
    *,
    words: Annotated[
        bool, typer.Option("--words/--lines", help="Split the text into a token per word, or per line.")
    ] = True,
    rate: Annotated[float, typer.Option(min=0, help="Largest number of tokens per second; 0 sets no limit.")] = 0.0,
    config: Config = None,
) -> None:
    """Write standard input to the tokens topic as one response, and print its id."""
    given = _object(metadata)
    settings = read_settings(config)
    quiet_logs()

    async def work() -> None:
        from processor.service.kafka_connection import kafka_connection
        from topics.producer import DeliveryError, TokenProducer

        try:
            async with TokenProducer(
                **kafka_connection(settings).arguments(),
                topic=settings.tokens_topic,
                controls_topic=settings.controls_topic,
            ) as producer:
                response = producer.response(channel, metadata=given, response_id=response_id)
                async with response:
                    tokens = await _write(response, words=words, rate=rate, kind=kind, part=part)
        except DeliveryError as error:
            raise KafkaUnavailable(f"The response was not written whole: {error}.") from error
        except ValueError as error:
            raise NotProducible(f"This can't be produced: {error}.") from error
        print(response.response_id)
        print(f"{tokens} tokens to channel {visible(channel)}", file=sys.stderr)

    run_async(work())


def skip(
    partition: Annotated[int, typer.Argument(min=0, help="Partition of the topic, as /readyz names it.")],
    offset: Annotated[int, typer.Argument(min=0, help="Offset that cannot be read, as /readyz names it.")],
    config: Config = None,
    *,
    topic: Annotated[
        str | None, typer.Option(help="The topic, as /readyz names it, if it is not the tokens topic.")
    ] = None,
    force: Annotated[
        bool, typer.Option(help="Skip even if records before the offset are not committed; they are lost.")
    ] = False,
) -> None:
    """Give up a corrupt batch that stops a partition: the partition's log then begins after the batch.

    Deletes nothing where the partition can be read at that offset.
    """
    settings = read_settings(config)
    quiet_logs()

    async def work() -> None:
        from processor.kafka.skip import skip as give_up
        from processor.service.kafka_connection import kafka_connection

        name = topic or settings.tokens_topic
        reader = _group_of(settings, name)
        connection = kafka_connection(settings)
        skipped = await give_up(connection, name, partition, offset, group_id=None if force else reader)
        print(
            f"{name}-{partition} begins at offset {skipped.end} now; it began at {skipped.first}."
            f" Given up: {skipped.end - offset} offsets from {offset} ({skipped.cause})."
        )

    run_async(work())


def _group_of(settings: "Settings", topic: str) -> str | None:
    """The group without whose commit a record of the topic must not be given up; None if the topic has none.

    Raises NothingToSkip for a topic that is not read in this way.
    """
    from processor.kafka.skip import NothingToSkip

    groups = {
        settings.tokens_topic: settings.kafka_group_id,
        settings.responses_topic: settings.archive_group_id,
        settings.frames_topic: None,
    }
    if topic not in groups:
        raise NothingToSkip(f"Topic {topic} is not one of {', '.join(groups)}. Give the topic that /readyz names.")
    return groups[topic]


async def _write(response: "ResponseWriter", *, words: bool, rate: float, kind: str | None, part: str | None) -> int:
    tokens = 0
    async for line in _stdin_lines():
        for token in WORD.findall(line) or [line] if words else [line]:
            await response.token(token, kind=kind, part=part)
            tokens += 1
            if rate:
                await asyncio.sleep(1 / rate)
    return tokens


async def _stdin_lines() -> AsyncIterator[str]:
    """Read by a thread that nobody waits for: a terminal's line may never come."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue(LINES_AHEAD)

    def read() -> None:
        try:
            for line in sys.stdin:
                asyncio.run_coroutine_threadsafe(lines.put(line), loop).result()
            asyncio.run_coroutine_threadsafe(lines.put(None), loop).result()
        except RuntimeError:
            pass  # the loop was closed: the response has ended

    threading.Thread(target=read, daemon=True).start()
    while (line := await lines.get()) is not None:
        yield line


def _object(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        given = jsons.loads(text)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise typer.BadParameter("it is no JSON object", param_hint="--metadata")
    return given


def tail(
    channel: Annotated[str | None, typer.Argument(metavar="[CHANNEL]")] = None,
    response: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Only this response, until it ends; its channel is read from the store."),
    ] = None,
    count: Annotated[
        int, typer.Option(min=0, help="Stop after this number of responses have ended; 0 never stops.")
    ] = 0,
    *,
    history: Annotated[
        bool, typer.Option("--history", help="Also show responses that ended before, as far as the transport has them.")
    ] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Watch responses as readers get them, one column each. Ctrl-C ends it."""
    if channel is None and response is None:
        raise typer.BadParameter("give a CHANNEL or --response ID")
    settings = read_settings(config, require_ably=True)
    quiet_logs()

    async def work() -> None:
        from processor.cli import tail as tailing

        name = channel or await _channel_of(settings, str(response))
        async with _subscription(settings, name) as subscription:
            follower = tailing.Follower(subscription, settings.ably_client_id, only=response, ended=history)
            show: tailing.Show
            if json:
                show = tailing.JsonLines(print_json)
            elif sys.stdout.isatty():
                show = tailing.TailLanes(visible)
            else:
                show = tailing.PlainLines(lambda text: print(text, flush=True), visible)
            await tailing.run(follower, show, 1 if response else count)

    run_async(work())


def _subscription(settings: "Settings", channel: str) -> "Subscription | FramesSubscription":
    if settings.realtime == "direct":
        from processor.direct.subscription import FramesSubscription
        from processor.service.kafka_connection import connection_source

        return FramesSubscription(connection_source(settings), settings.frames_topic, channel)
    from processor.ably.subscription import Subscription

    options = _ably(settings)
    assert options is not None
    return Subscription(options, channel)


async def _channel_of(settings: "Settings", response: str) -> str:
    from processor.archive.stores import open_store

    store = open_store(settings.store_url)
    try:
        await store.start()
        stored = await store.get(response)
    finally:
        await store.close()
    if stored is None:
        raise ChannelUnknown(f"The store has no record of response {visible(response)} yet: give its channel, too.")
    return stored.record.channel


def _ably(settings: "Settings") -> "AblyOptions | None":
    from processor.ably.ably import AblyOptions
    from processor.errors import SettingsError

    def key() -> str:
        secret = settings.current_secret("ably_key")
        if secret is None:
            raise SettingsError(["TOKENSTREAM_ABLY_KEY: must be set"])
        return secret

    if settings.ably_key is None:
        return None
    return AblyOptions(
        key=key, client_id=settings.ably_client_id, endpoint=settings.ably_endpoint, tls=settings.ably_tls
    )


def doctor(
    channel: Annotated[
        str | None, typer.Option(help="Channel to check the key's capabilities on; nothing is published.")
    ] = None,
    *,
    json: Json = False,
    config: Config = None,
) -> None:
    """Check Kafka, the topics, the realtime service, the key and the store; exit code 1 if one fails."""
    settings = read_settings(config)
    quiet_logs()
    findings: list[CheckResult] = []

    async def work() -> None:
        from processor.cli.doctor import examine
        from processor.service.kafka_connection import kafka_connection
        from processor.service.service import topics_wanted

        about = channel or settings.probe_channel or EXAMINED_CHANNEL
        findings.extend(
            await examine(settings, kafka_connection(settings), topics_wanted(settings), _ably(settings), about)
        )

    run_async(work())
    for finding in findings:
        if json:
            print_json({"name": finding.name, "ok": finding.ok, "detail": finding.detail, "remedy": finding.remedy})
        else:
            _print_finding(finding)
    if any(finding.ok is False for finding in findings):
        sys.exit(EXIT_FAILED)


def _print_finding(finding: "CheckResult") -> None:
    state = {True: "ok", False: "failing", None: "unknown"}[finding.ok]
    print(f"{finding.name:<13}{state:<9}{visible(finding.detail)}")
    if finding.remedy:
        print(f"{'':<22}-> {finding.remedy}")
