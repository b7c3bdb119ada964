"""The command line. Each command reads settings, builds what it needs, and turns our errors into one plain sentence."""

import asyncio
import gc
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.main import get_command

from processor.cli import archive as cli_archive
from processor.cli import commands
from processor.cli import dead_letters as cli_dead_letters
from processor.cli import responses as cli_responses
from processor.cli import tools as cli_tools
from processor.cli import top_command as cli_top
from processor.cli.shared import EXIT_FAILED, EXIT_SETTINGS, Config, read_settings, run_async
from processor.errors import SettingsError, TokenstreamError

if TYPE_CHECKING:
    from processor.config.settings import Settings

app = typer.Typer(
    name="tokenstream",
    help="Puts LLM tokens from Kafka in order, publishes them to realtime channels, and keeps the finished responses.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
topics_app = typer.Typer(help="The Kafka topics.", no_args_is_help=True)
app.add_typer(topics_app, name="topics")
app.add_typer(cli_dead_letters.app, name="dead-letters")
app.add_typer(cli_responses.app, name="responses")
app.command()(cli_archive.verify)
app.command()(cli_tools.produce)
app.command()(cli_tools.tail)
app.command()(cli_tools.doctor)
app.command()(cli_tools.skip)
app.command()(cli_top.top)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"tokenstream {version('tokenstream')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@cache
def command() -> Callable[[], object]:
    """Returns the command line, built once per process: what starts processes as forks builds it before."""
    return get_command(app)


def main() -> None:
    """Entry point. Exit codes: 0 a clean stop, 2 a wrong setting (one line a mistake), 1 anything else."""
    gc.set_threshold(100_000, 50, 1000)  # what is imported stays: walking it again and again is a tenth of a start
    try:
        command()()
    except TokenstreamError as error:
        sys.exit(report(error))
    except BaseExceptionGroup as group:
        ours = _first_of_ours(group)
        if ours is None:
            raise
        sys.exit(report(ours))


def report(error: TokenstreamError) -> int:
    """Prints it for people; returns the exit code."""
    if isinstance(error, SettingsError):
        for mistake in error.mistakes:
            print(mistake, file=sys.stderr)
        return EXIT_SETTINGS
    print(f"tokenstream: {error}", file=sys.stderr)
    return EXIT_FAILED


def _first_of_ours(group: BaseExceptionGroup[BaseException]) -> TokenstreamError | None:
    for error in group.exceptions:
        found = _first_of_ours(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, TokenstreamError):
            return found
    return None


def _serve(config: Path | None, *roles: str) -> None:
    from processor.service.service import Role, serve

    settings = _prepared(config, *roles)
    run_async(serve(settings, frozenset(Role(role) for role in roles)))


def _prepared(config: Path | None, *roles: str) -> "Settings":
    """The settings, checked for these roles; logging is set up by them."""
    from processor.ably import LOGGERS
    from processor.telemetry.log import configure_logging

    settings = read_settings(config, require_ably="relay" in roles)
    if roles == ("gateway",):
        settings = settings.model_copy(update={"realtime": "direct"})  # there is no other gateway
    if "api" in roles and settings.probe_channel is not None and settings.ably_key is None:
        raise SettingsError(["TOKENSTREAM_ABLY_KEY: must be set where TOKENSTREAM_PROBE_CHANNEL is"])
    configure_logging(settings.log_level, settings.log_format, sys.stderr, secrets=settings.secrets, quoting=LOGGERS)
    return settings


@app.command()
def run(config: Config = None) -> None:
    """Run all roles in one process: relay, archive, api, and with REALTIME=direct the gateway."""
    gateway = ("gateway",) if read_settings(config).realtime == "direct" else ()
    _serve(config, "relay", "archive", "api", *gateway)


@app.command()
def relay(
    config: Config = None,
    *,
    processes: Annotated[
        int,
        typer.Option(min=1, help="Number of relays, one core each; they listen on HTTP_PORT and the ports after it."),
    ] = 1,
) -> None:
    """Relay tokens from Kafka to realtime channels."""
    if processes == 1:
        _serve(config, "relay")
        return
    from processor.service.processes import run_processes

    sys.exit(asyncio.run(run_processes(_prepared(config, "relay"), processes, config)))


@app.command()
def api(config: Config = None) -> None:
    """Serve finished and open responses over HTTP."""
    _serve(config, "api")


@app.command()
def gateway(config: Config = None) -> None:
    """Serve frames to readers as server-sent events (REALTIME=direct)."""
    _serve(config, "gateway")


@app.command()
def bridge(config: Config = None) -> None:
    """Serve OpenAI's API in front of a model server, and write every response to Kafka."""
    from processor.service.bridge_role import serve_bridge

    run_async(serve_bridge(_prepared(config, "bridge")))


archive_app = typer.Typer(help="Store finished responses; subcommands maintain the store.", invoke_without_command=True)
app.add_typer(archive_app, name="archive")
archive_app.command()(cli_archive.migrate)
archive_app.command()(cli_archive.prune)
archive_app.command()(cli_archive.compact)


@archive_app.callback()
def archive(context: typer.Context, config: Config = None) -> None:
    """Store finished responses; subcommands maintain the store."""
    if context.invoked_subcommand is None:
        _serve(config, "archive")


@topics_app.command("apply")
def topics_apply(
    config: Config = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Number of partitions of tokens and responses; 12 for new topics.")
    ] = None,
    *,
    split_live_responses: Annotated[
        bool, typer.Option(help="Add partitions to existing topics even though that splits open responses.")
    ] = False,
) -> None:
    """Create or correct the topics, and print what changed."""
    from processor.kafka.topics_admin import apply
    from processor.service.kafka_connection import kafka_connection
    from processor.service.service import topics_wanted

    settings = read_settings(config)

    async def work() -> None:
        changes = await apply(
            kafka_connection(settings),
            topics_wanted(settings),
            partitions=partitions,
            split_live_responses=split_live_responses,
        )
        for change in changes:
            print(change)
        if not changes:
            print("The topics are as they should be; nothing was changed.")

    run_async(work())


@topics_app.command("check")
def topics_check(config: Config = None) -> None:
    """Compare the topics with their specification: one line per difference, and exit code 1 if there is any."""
    from processor.kafka.topics_admin import check
    from processor.service.kafka_connection import kafka_connection
    from processor.service.service import topics_wanted

    settings = read_settings(config)
    differences = asyncio.run(check(kafka_connection(settings), topics_wanted(settings)))
    for difference in differences:
        print(difference)
    if differences:
        sys.exit(EXIT_FAILED)
    print("The topics are as they should be.")


commands.add_to(app, commands.installed())
