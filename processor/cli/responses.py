"""`tokenstream responses`, `archive migrate|prune` and `verify`: look after what is stored."""

import contextlib
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from processor.cli.cancel import cancel
from processor.cli.shared import (
    EXIT_FAILED,
    Config,
    Json,
    console,
    escaped,
    print_json,
    quiet_logs,
    read_settings,
    run_async,
    visible,
    when,
)
from processor.errors import Fatal

if TYPE_CHECKING:
    from pathlib import Path

    from processor.archive.verify import VerifyReport
    from processor.config.settings import Settings
    from processor.ports.store import Page, Progress, ResponseStore, StoredResponse
    from topics.records import Status

app = typer.Typer(help="Stored responses.", no_args_is_help=True)
app.command()(cancel)

IDS_SHOWN = 20


class NotCompactable(Fatal):
    """The store keeps no days to compact."""


class ResponseMissing(Fatal):
    """The store does not have it."""


DATED = re.compile(r"\d{4}-\d\d-\d\d.*")


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
    settings = _settings(config)

    async def work() -> None:
        async with _store(settings) as store:
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
    settings = _settings(config)

    async def work() -> None:
        async with _store(settings) as store:
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
    settings = _settings(config)
    if not yes and sys.stdin.isatty():
        typer.confirm(f"Delete response {visible(response)} for good?", abort=True)

    async def work() -> None:
        from processor.archive.retention import delete_response
        from processor.kafka.tombstones import KafkaTombstones

        tombstones = KafkaTombstones(settings.kafka_client_options, responses_topic=settings.responses_topic)
        async with _store(settings) as store:
            try:
                await delete_response(store, tombstones, response, force=force)
            finally:
                await tombstones.close()
        print(
            f"Deleted {visible(response)}. Ably's history and the topics keep their copies until their retention ends."
        )

    run_async(work())


def migrate(config: Config = None) -> None:
    """Bring the store's schema up to date."""
    settings = _settings(config)

    async def work() -> None:
        from processor.archive.sql import SqlStore
        from processor.archive.stores import open_store

        store = open_store(settings.store_url)
        try:
            if not isinstance(store, SqlStore):
                print("This store has no schema; nothing was changed.")
                return
            before, after = await store.migrate()
        finally:
            await store.close()
        print(
            f"The schema is {after} already." if before == after else f"Migrated from {before or 'nothing'} to {after}."
        )

    run_async(work())


def prune(
    older_than: Annotated[str, typer.Option(metavar="AGE", help="Age since the last change: 30d, 12h or 2w.")],
    channel: Annotated[
        str, typer.Option(metavar="PATTERN", help="Only channels that match this pattern; `*` and `?` are wildcards.")
    ] = "*",
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and delete nothing.")] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Delete old responses from the store."""
    from processor.archive.retention import prune as prune_store

    seconds = _age(older_than, "--older-than")
    settings = _settings(config)

    async def work() -> None:
        async with _store(settings) as store:
            with _progress("Pruning") as progress:
                report = await prune_store(
                    store,
                    older_than_seconds=seconds,
                    channel_pattern=channel,
                    dry_run=dry_run,
                    progress=progress,
                )
        if json:
            print_json({"responses": report.responses, "bytes": report.bytes, "dryRun": dry_run})
        else:
            print(f"{'Would delete' if dry_run else 'Deleted'} {report.responses} responses, {report.bytes:,} bytes.")

    run_async(work())


def compact(json: Json = False, config: Config = None) -> None:
    """Write finished days of an object store as Parquet files for analysis; the responses remain."""
    settings = _settings(config)

    async def work() -> None:
        from processor.archive.compact import compact as compact_store
        from processor.archive.objects import ObjectStore

        async with _store(settings) as store:
            if not isinstance(store, ObjectStore):
                raise NotCompactable(
                    "TOKENSTREAM_STORE_URL names a database: only object stores (s3, gs, az, file) are compacted."
                )
            with _progress("Compacting") as progress:
                report = await compact_store(store, progress=progress)
        if json:
            print_json({"days": report.days, "responses": report.responses, "unchangedDays": report.unchanged_days})
        else:
            print(
                f"{report.days} days with {report.responses} responses written; {report.unchanged_days} are as they were."
            )

    run_async(work())


def verify(
    since: Annotated[
        str | None,
        typer.Option(metavar="AGE|TIME", help="Only records written since this time or age: 2d, 2025-11-23T10:00Z."),
    ] = None,
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Store what is missing or different.")] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Compare Kafka's finished responses with the store; exit code 1 if they differ and were not repaired."""
    from processor.archive.verify import verify as verify_store

    start = _moment(since)
    settings = _settings(config)
    failed = False

    async def work() -> None:
        nonlocal failed
        async with _store(settings) as store:
            with _progress("Reading the log") as progress:
                report = await verify_store(
                    store,
                    settings.kafka_client_options,
                    responses_topic=settings.responses_topic,
                    since=start,
                    repair=repair,
                    progress=progress,
                )
        failed = not report.whole and report.repaired < _wrong(report)
        if json:
            print_json(_report_fields(report))
        else:
            _print_report(report, repair=repair)

    run_async(work())
    if failed:
        sys.exit(EXIT_FAILED)


def _settings(config: "Path | None") -> "Settings":
    settings = read_settings(config)
    quiet_logs()
    return settings


@contextlib.asynccontextmanager
async def _store(settings: "Settings") -> "AsyncIterator[ResponseStore]":
    from processor.archive.stores import open_store

    store = open_store(settings.store_url)
    try:
        await store.start()
        yield store
    finally:
        await store.close()


@contextlib.contextmanager
def _progress(what: str) -> "Iterator[Progress]":
    """A bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, advance=done, total=total)


def _parsed(parse: Callable[[str], int], text: str, option: str) -> int:
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _age(text: str, option: str) -> int:
    from processor.archive.retention import read_age

    return _parsed(read_age, text, option)


def _moment(since: str | None) -> int | None:
    """In milliseconds since the epoch; a time without an offset is UTC."""
    from datetime import UTC, datetime

    from processor.clock import Clock

    if since is None:
        return None
    if DATED.fullmatch(since) is None:
        return Clock().wall_ms() - 1000 * _age(since, "--since")

    def parse(text: str) -> int:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)

    return _parsed(parse, since, "--since")


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


def _wrong(report: "VerifyReport") -> int:
    return len(report.missing) + len(report.different) + len(report.undeleted)


def _report_fields(report: "VerifyReport") -> dict[str, object]:
    return {
        "finished": report.finished,
        "equal": report.equal,
        "earlier": report.earlier,
        "deleted": report.deleted,
        "unreadable": report.unreadable,
        "missing": report.missing,
        "different": report.different,
        "undeleted": report.undeleted,
        "repaired": report.repaired,
    }


def _print_report(report: "VerifyReport", *, repair: bool) -> None:
    print(
        f"{report.finished} finished responses on the log: {report.equal} equal in the store, {report.deleted} deleted."
    )
    if report.earlier:
        print(f"{report.earlier} stored from an earlier final record, which is never replaced.")
    for name, ids in (("missing", report.missing), ("different", report.different), ("undeleted", report.undeleted)):
        if ids:
            shown = ", ".join(visible(one) for one in ids[:IDS_SHOWN])
            more = f" and {len(ids) - IDS_SHOWN} more (--json lists all)" if len(ids) > IDS_SHOWN else ""
            print(f"{len(ids)} {name}: {shown}{more}")
    if report.unreadable:
        print(f"{report.unreadable} records are none: `tokenstream dead-letters list --reason store_refused`.")
    if repair:
        print(f"{report.repaired} mended.")
    elif not report.whole:
        print("--repair mends them; if the archive is behind, it mends them by itself.")
