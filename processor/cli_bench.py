"""`tokenstream bench`: how fast, how late, how much memory; measured on this machine, every token checked."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from processor.cli_shared import quiet_logs, run_async

if TYPE_CHECKING:
    from processor.local.bench.scenarios import Wanted

SCENARIOS = {
    "backlog": "Everything is in Kafka before the relay starts, and nothing limits its pace.",
}

Tokens = Annotated[int | None, typer.Option(min=1, help="Tokens a response, at least; a fifth more at most.")]
Responses = Annotated[int | None, typer.Option(min=1, help="Responses.")]
Channels = Annotated[int | None, typer.Option(min=1, help="Channels that they share.")]
Rate = Annotated[float | None, typer.Option(min=0.1, help="Tokens a second, of all responses, where there is a pace.")]
Seconds = Annotated[float | None, typer.Option(min=1, help="How long a run may take, or lasts where it has a length.")]
Partitions = Annotated[int | None, typer.Option(min=1, help="Partitions of the topics.")]
Relays = Annotated[int | None, typer.Option(min=1, help="Relay processes.")]
Seed = Annotated[int, typer.Option(help="Makes the same load again.")]
NoRollUp = Annotated[bool, typer.Option("--no-roll-up", help="Tokens that can't share a message: one token a message.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the figures here; other scenarios' stay.")]

app = typer.Typer(help="Measure, on this machine, with every token checked.", no_args_is_help=True)


def _register(name: str, what: str) -> None:
    def command(
        tokens: Tokens = None,
        responses: Responses = None,
        open_: Annotated[int | None, typer.Option("--open", min=1, help="Responses open at once.")] = None,
        channels: Channels = None,
        rate: Rate = None,
        seconds: Seconds = None,
        partitions: Partitions = None,
        relays: Relays = None,
        seed: Seed = 1,
        *,
        no_roll_up: NoRollUp = False,
        json: JsonFile = None,
    ) -> None:
        from processor.local.bench.scenarios import Wanted

        wanted = Wanted(
            tokens=tokens,
            responses=responses,
            open=open_,
            channels=channels,
            rate=rate,
            seconds=seconds,
            partitions=partitions,
            relays=relays,
            seed=seed,
            no_roll_up=no_roll_up,
        )
        _run([name], wanted, json)

    command.__doc__ = what
    app.command(name)(command)


def _run(names: Sequence[str], wanted: "Wanted", json: Path | None) -> None:
    from processor.local.bench.main import run_bench

    quiet_logs()

    async def work() -> None:
        await run_bench(names, wanted, json=json)

    run_async(work())


for _name, _what in SCENARIOS.items():
    _register(_name, _what)
