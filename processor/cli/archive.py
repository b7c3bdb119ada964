"""`tokenstream archive migrate|prune|compact` and `verify`: maintain the store as a whole."""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from processor.cli.shared import EXIT_FAILED, Config, Json, print_json, run_async, visible
from processor.cli.stored import opened_store, store_settings
from processor.errors import Fatal

if TYPE_CHECKING:
    from processor.archive.verify import VerifyReport
    from processor.ports.store import Progress

IDS_SHOWN = 20
DATED = re.compile(r"\d{4}-\d\d-\d\d.*")


class NotCompactable(Fatal):
    """The store keeps no days to compact."""


def migrate(config: Config = None) -> None:
    """Bring the store's schema up to date."""
    settings = store_settings(config)

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
    settings = store_settings(config)

    async def work() -> None:
        async with opened_store(settings) as store:
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
    settings = store_settings(config)

    async def work() -> None:
        from processor.archive.compact import compact as compact_store
        from processor.archive.objects import ObjectStore

        async with opened_store(settings) as store:
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
    from processor.config.kafka import responses_batch_bytes
    from processor.service.kafka_connection import kafka_connection

    start = _moment(since)
    settings = store_settings(config)
    failed = False

    async def work() -> None:
        nonlocal failed
        async with opened_store(settings) as store:
            with _progress("Reading the log") as progress:
                report = await verify_store(
                    store,
                    lambda: kafka_connection(settings),
                    responses_topic=settings.responses_topic,
                    since=start,
                    repair=repair,
                    progress=progress,
                    max_batch_bytes=responses_batch_bytes(settings),
                )
        failed = not report.whole and report.repaired < _wrong(report)
        if json:
            print_json(_report_fields(report))
        else:
            _print_report(report, repair=repair)

    run_async(work())
    if failed:
        sys.exit(EXIT_FAILED)


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
