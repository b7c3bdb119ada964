"""`tokenstream responses`: show, list and delete what is stored."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from processor.cli.cancel import cancel
from processor.cli.shared import (
    Config,
    Json,
    console,
    escaped,
    run_async,
    visible,
    when,
)
from processor.cli.stored import opened_store, store_settings
from processor.errors import Fatal

if TYPE_CHECKING:
    from processor.ports.store import Page, StoredResponse
    from topics.records import Status

app = typer.Typer(help="Stored responses.", no_args_is_help=True)
app.command()(cancel)


class ResponseMissing(Fatal):
    """The store does not have it."""


@app.command()
def get(
    response: Annotated[str, typer.Argument(metavar="ID")],
    *,
    text: Annotated[
        bool,
        typer.Option(
            "--text",
            help="Print only the answer's text: exactly, or on a terminal with control characters made visible.",
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the stored record.")] = False,
    config: Config = None,
) -> None:
    """Show one response."""
    settings = store_settings(config)

    async def work() -> None:
        async with opened_store(settings) as store:
            stored = await store.get(response)
        if stored is None:
            raise ResponseMissing(f"There is no response {visible(response)!r} in the store.")
        if json:
            print(escaped(stored.value.decode()))
        elif text:
            sys.stdout.write(visible(stored.record.text) if sys.stdout.isatty() else stored.record.text)
        else:
            _print_record(stored)

    run_async(work())


@app.command("list")
def list_channel(
    channel: Annotated[str, typer.Argument()],
    limit: Annotated[int, typer.Option(min=1, max=500)] = 50,
    before: Annotated[str | None, typer.Option(metavar="CURSOR", help="Cursor of the previous page.")] = None,
    status: Annotated[str | None, typer.Option(help="One or more statuses, separated by commas.")] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """List a channel's responses, newest first."""
    wanted = _statuses(status)
    settings = store_settings(config)

    async def work() -> None:
        async with opened_store(settings) as store:
            page = await store.list_channel(channel, limit=limit, before=before, status=wanted)
        if json:
            for item in page.items:
                print(escaped(item.value.decode()))
        else:
            _print_page(page)

    run_async(work())


@app.command()
def delete(
    response: Annotated[str, typer.Argument(metavar="ID")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also delete a response that has not finished.")] = False,
    config: Config = None,
) -> None:
    """Delete a finished response permanently: write a tombstone to the log, then delete it from the store."""
    settings = store_settings(config)
    if not yes and sys.stdin.isatty():
        typer.confirm(f"Delete response {visible(response)} for good?", abort=True)

    async def work() -> None:
        from processor.archive.retention import delete_response
        from processor.kafka.tombstones import KafkaTombstones
        from processor.service.kafka_connection import kafka_connection

        tombstones = KafkaTombstones(lambda: kafka_connection(settings), responses_topic=settings.responses_topic)
        async with opened_store(settings) as store:
            try:
                await delete_response(store, tombstones, response, force=force)
            finally:
                await tombstones.close()
        print(
            f"Deleted {visible(response)}. Ably's history and the topics keep their copies until their retention ends."
        )

    run_async(work())


def _statuses(given: str | None) -> "frozenset[Status] | None":
    from topics.records import Status

    if given is None:
        return None
    try:
        return frozenset(Status(name.strip()) for name in given.split(","))
    except ValueError:
        known = ", ".join(Status)
        raise typer.BadParameter(f"{given!r} is not of {known}", param_hint="--status") from None


def _print_record(stored: "StoredResponse") -> None:
    record = stored.record
    rows = {
        "response": record.response_id,
        "channel": record.channel,
        "status": f"{record.status}{f' ({record.reason})' if record.reason else ''}",
        "error": str(record.error) if record.error else "",
        "started": when(record.started_at),
        "finished": when(record.finished_at),
        "tokens": str(record.tokens),
        "gaps": ", ".join(f"{first}-{last}" for first, last in record.gaps),
        "metadata": str(record.metadata) if record.metadata else "",
        "usage": str(record.usage) if record.usage else "",
    }
    for name, value in rows.items():
        if value:
            print(f"{name:<10}{visible(value)}")
    for part in record.parts:
        print(f"\n[{visible(part.part)}] {part.kind}, {part.length} characters{f', {part.info}' if part.info else ''}")
        print(visible(part.text))


def _print_page(page: "Page") -> None:
    from rich.table import Table

    if not page.items:
        print("There are no such responses.")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("response", "status", "started", "tokens", "text"):
        table.add_column(name, overflow="ellipsis" if name == "text" else "fold", no_wrap=name == "text")
    for item in page.items:
        record = item.record
        beginning = visible(record.text[:120]).replace("\n", " ")
        table.add_row(
            visible(record.response_id), record.status, when(record.started_at), str(record.tokens), beginning
        )
    console().print(table)
    if page.next:
        print(f"There is more: --before {page.next}")
