"""`tokenstream dead-letters`: list, show and replay records that could not be delivered."""

import heapq
from typing import TYPE_CHECKING, Annotated, Any

import typer

from processor.cli.shared import Config, Json, console, print_json, quiet_logs, read_settings, run_async, visible, when

if TYPE_CHECKING:
    from pathlib import Path

    from processor.config.settings import Settings
    from processor.kafka.dead_letter_reader import DeadLetterReader, StoredDeadLetter
    from processor.kafka.replay import Replayer, ReplayPlan

app = typer.Typer(help="List, show and replay records that could not be delivered.", no_args_is_help=True)

ResponseOption = Annotated[str | None, typer.Option("--response", metavar="ID", help="Of this response.")]
VALUE_SHOWN = 2_000


@app.command("list")
def list_letters(
    reason: Annotated[str | None, typer.Option(help="Only with this reason, e.g. `unpublishable`.")] = None,
    response: ResponseOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of dead letters to list, the newest first.")] = 50,
    json: Json = False,
    config: Config = None,
) -> None:
    """List dead letters, oldest first."""
    _known_reason(reason)
    settings = _settings(config)

    async def work() -> None:
        newest: list[tuple[tuple[int, int, int], StoredDeadLetter]] = []
        total = 0
        async for letter in _reader(settings).read():
            if (reason and letter.reason != reason) or (response and letter.response_id != response):
                continue
            total += 1
            entry = ((letter.time, letter.partition, letter.offset), letter)
            (heapq.heappush if len(newest) < limit else heapq.heappushpop)(newest, entry)
        letters = [letter for _, letter in sorted(newest, key=lambda entry: entry[0])]
        if json:
            for letter in letters:
                print_json(_fields(letter))
        else:
            _print_table(letters, total)

    run_async(work())


@app.command()
def show(
    place: Annotated[
        str | None, typer.Argument(metavar="[PARTITION:OFFSET]", help="Place of the dead letter in its topic.")
    ] = None,
    response: ResponseOption = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Show complete dead letters: reason, origin, headers and value."""
    at = _place(place)
    if (at is None) == (response is None):
        raise typer.BadParameter("give either PARTITION:OFFSET or --response ID")
    settings = _settings(config)

    async def work() -> None:
        reader = _reader(settings)
        if at is not None:
            letters = [await reader.at(*at)]
        else:
            letters = await _of_response(reader, str(response))
        for letter in letters:
            if json:
                print_json({**_fields(letter), **_contents(letter)})
            else:
                _print_whole(letter)

    run_async(work())


@app.command()
def replay(
    response: ResponseOption = None,
    source: Annotated[
        str | None, typer.Option(metavar="TOPIC:PARTITION:OFFSET", help="Only the record that came from this place.")
    ] = None,
    channel: Annotated[str | None, typer.Option(help="Channel to publish on; defaults to the response's own.")] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Write a failed response to the tokens topic again, as a new response whose metadata names the old one."""
    if (source is None) == (response is None):
        raise typer.BadParameter("give either --response ID or --source TOPIC:PARTITION:OFFSET")
    settings = _settings(config)

    async def work() -> None:
        replayer = _replayer(settings)
        plan = await replayer.complete(await _plan(_reader(settings), response, source), channel)
        told = _plan_fields(plan)
        if not dry_run:
            done = await replayer.put_back(plan)
            told |= {"responseId": done.response_id, "records": done.records}
        if json:
            print_json(told)
        else:
            _print_replay(plan, told)

    run_async(work())


def _settings(config: "Path | None") -> "Settings":
    settings = read_settings(config)
    quiet_logs()
    return settings


def _reader(settings: "Settings") -> "DeadLetterReader":
    from processor.kafka.dead_letter_reader import DeadLetterReader
    from processor.service.kafka_connection import kafka_connection

    return DeadLetterReader(kafka_connection(settings), settings.dead_letters_topic)


def _replayer(settings: "Settings") -> "Replayer":
    from processor.config.kafka import responses_batch_bytes
    from processor.kafka.replay import Replayer
    from processor.service.kafka_connection import kafka_connection

    return Replayer(
        kafka_connection(settings),
        tokens_topic=settings.tokens_topic,
        responses_topic=settings.responses_topic,
        max_batch_bytes=responses_batch_bytes(settings),
    )


async def _plan(reader: "DeadLetterReader", response: str | None, source: str | None) -> "ReplayPlan":
    from processor.kafka.dead_letter_reader import Source
    from processor.kafka.replay import ReplayImpossible, plan_replay, plan_single

    if response is not None:
        return plan_replay([letter async for letter in reader.read()], response)
    try:
        wanted = Source.parse(str(source))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--source") from None
    async for letter in reader.read():
        if letter.source == wanted:
            return plan_single(letter)
    raise ReplayImpossible(f"No dead letter came from {wanted}: `dead-letters list` shows what there is.")


async def _of_response(reader: "DeadLetterReader", response: str) -> "list[StoredDeadLetter]":
    from processor.kafka.dead_letter_reader import DeadLetterMissing

    letters = [letter async for letter in reader.read() if letter.response_id == response]
    if not letters:
        raise DeadLetterMissing(f"No dead letter is of response {visible(response)}.")
    return letters


def _known_reason(reason: str | None) -> None:
    from topics.records import Reason

    if reason is not None and reason not in set(Reason):
        raise typer.BadParameter(f"{reason!r} is not one of {', '.join(Reason)}", param_hint="--reason")


def _place(place: str | None) -> tuple[int, int] | None:
    if place is None:
        return None
    numbers = place.split(":")
    if len(numbers) != 2 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise typer.BadParameter(f"{place!r} is not PARTITION:OFFSET, as `dead-letters list` shows it under place")
    return int(numbers[0]), int(numbers[1])


def _fields(letter: "StoredDeadLetter") -> dict[str, Any]:
    source = letter.source
    return {
        "partition": letter.partition,
        "offset": letter.offset,
        "time": letter.time,
        "reason": letter.reason,
        "detail": letter.detail,
        "responseId": letter.response_id,
        "source": source and {"topic": source.topic, "partition": source.partition, "offset": source.offset},
        "size": len(letter.value or b""),
        "cut": letter.is_cut,
    }


def _contents(letter: "StoredDeadLetter") -> dict[str, Any]:
    def text(value: bytes | None) -> str | None:
        return None if value is None else value.decode(errors="backslashreplace")

    return {
        "key": text(letter.key),
        "headers": [[name, text(value)] for name, value in letter.headers],
        "value": text(letter.value),
    }


def _print_table(letters: "list[StoredDeadLetter]", total: int) -> None:
    from rich.table import Table

    if not letters:
        print("There are no such dead letters.")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("place", "time", "reason", "response", "source", "detail"):
        table.add_column(name, overflow="fold")
    for letter in letters:
        table.add_row(
            f"{letter.partition}:{letter.offset}",
            when(letter.time),
            visible(letter.reason),
            visible(letter.response_id or ""),
            visible(str(letter.source or "")),
            visible(letter.detail),
        )
    console().print(table)
    if total > len(letters):
        print(f"These are the newest {len(letters)} of {total}; --limit shows more.")


def _print_whole(letter: "StoredDeadLetter") -> None:
    contents = _contents(letter)
    print(f"{letter.partition}:{letter.offset}  {when(letter.time)}  {visible(letter.reason)}")
    for name, value in (("why", letter.detail), ("from", str(letter.source or "")), ("key", contents["key"])):
        if value:
            print(f"  {name:<8}{visible(value)}")
    for name, value in contents["headers"]:
        if not name.startswith("tokenstream-"):
            print(f"  header  {visible(name)}: {visible(value)}")
    print(f"  value   {len(letter.value or b'')} bytes{', cut' if letter.is_cut else ''}")
    print("\n".join(f"    {line}" for line in visible(_pretty(letter.value)).splitlines()))


def _pretty(value: bytes | None) -> str:
    import json

    if value is None:
        return "null"
    try:
        text = json.dumps(json.loads(value), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        text = value.decode(errors="backslashreplace")
    return text if len(text) <= VALUE_SHOWN else f"{text[:VALUE_SHOWN]}... (--json shows all)"


def _plan_fields(plan: "ReplayPlan") -> dict[str, Any]:
    return {
        "replayOf": plan.old_id,
        "channel": plan.channel,
        "tokens": len(plan.tokens),
        "metadata": plan.new_metadata,
        "stop": plan.stop.reason if plan.stop else None,
        "missing": plan.missing,
        "leftOut": plan.left_out,
    }


def _print_replay(plan: "ReplayPlan", told: dict[str, Any]) -> None:
    what = f"{len(plan.tokens)} tokens of response {visible(plan.old_id)} to channel {visible(str(plan.channel))}"
    if "responseId" in told:
        print(f"Replayed {what}, as response {told['responseId']}.")
    else:
        print(f"Would replay {what}.")
    if plan.missing:
        print(
            f"No dead letter has {', '.join(f'{first}-{last}' for first, last in plan.missing)}; it closes up over them."
        )
    if plan.left_out:
        print(f"{plan.left_out} dead letters are left out: they are no valid token records, or repeat others.")
    if plan.stop is None and plan.whole:
        print("The dead letters hold no stop: it ends with reason error, code replay_incomplete.")
