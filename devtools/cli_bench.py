"""`tokenstream bench`: measures throughput, latency and memory on this machine, and checks every token."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from processor.cli.shared import quiet_logs, run_async

if TYPE_CHECKING:
    from devtools.bench.main import Outputs
    from devtools.bench.scenarios import Wanted

SCENARIOS = {
    "backlog": "Everything is in Kafka before the relay starts, and nothing limits its pace.",
    "one-token": "The same with tokens that can't share a message.",
    "steady": "Tokens at a pace, and when subscribers have them.",
    "sweep": "The same at several paces.",
    "burst": "Many responses at once.",
    "small": "A backlog of many small responses.",
    "huge": "A backlog of a few huge responses.",
    "hot-channel": "A backlog of responses that share one channel.",
    "limits": "Ably's own limits, and the default pace.",
    "network": "A slow network to the realtime service.",
    "slow-store": "A store that is locked nearly all of the time.",
    "scaling": "The backlog with 1, 2 and 4 relays.",
    "takeover": "A relay is stopped, then killed, with 1,000 responses open on its partition.",
    "crash": "One of two relays is killed.",
    "cancel": "Responses are cancelled over HTTP: how soon the producer's stop is in Kafka.",
    "idle": "Start, memory and processor of a relay with nothing to do.",
    "memory": "Open and ended responses and huge records beyond what may be kept of them.",
    "bridge": "Requests to a model server through a bridge, and past it.",
    "direct": "The same load by Ably's protocol and by a gateway, in turn: how late tokens arrive by either.",
    "gateway": "One gateway with many idle and busy readers: memory, processor, and how late events arrive.",
    "peers": "The same loads through Centrifugo, beside the relay. Needs `make centrifugo`.",
    "ten-million": "A backlog of ten million tokens. Takes minutes.",
}

Tokens = Annotated[int | None, typer.Option(min=1, help="Tokens a response, at least; a fifth more at most.")]
Responses = Annotated[int | None, typer.Option(min=1, help="Responses.")]
Open = Annotated[int | None, typer.Option("--open", min=1, help="Responses open at once.")]
Channels = Annotated[int | None, typer.Option(min=1, help="Channels that they share.")]
Rate = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        help="Tokens a second, of all responses, where there is a pace; frames a second of one channel, of a gateway.",
    ),
]
Seconds = Annotated[float | None, typer.Option(min=1, help="How long a run may take, or lasts where it has a length.")]
Partitions = Annotated[int | None, typer.Option(min=1, help="Partitions of the topics.")]
Relays = Annotated[int | None, typer.Option(min=1, help="Relay processes.")]
IdleReaders = Annotated[int | None, typer.Option(min=0, help="Readers with nothing to read, of a gateway.")]
BusyReaders = Annotated[int | None, typer.Option(min=1, help="Readers with something to read, of a gateway.")]
Rounds = Annotated[int | None, typer.Option(min=1, help="How often each is measured, where several are in turn.")]
Seed = Annotated[int, typer.Option(help="Makes the same load again.")]
NoRollUp = Annotated[bool, typer.Option("--no-roll-up", help="Tokens that can't share a message: one token a message.")]
Against = Annotated[bool, typer.Option("--against", help="The same backlog through a plain program, and a bare loop.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the figures here; other scenarios' stay.")]
Images = Annotated[Path | None, typer.Option("--images", help="Draw the plots into this directory.")]
Document = Annotated[Path | None, typer.Option("--document", help="Write the tables into this Markdown page.")]

app = typer.Typer(help="Measure, on this machine, with every token checked.", no_args_is_help=True)


@app.command()
def standard(
    seed: Seed = 1,
    *,
    against: Against = False,
    json: JsonFile = None,
    images: Images = None,
    document: Document = None,
) -> None:
    """All scenarios but the one of minutes, one after the other."""
    from devtools.bench.main import Outputs
    from devtools.bench.scenarios import STANDARD, Wanted

    _run(STANDARD, Wanted(seed=seed, against=against), Outputs(json, images, document))


@app.command()
def report(
    json: Annotated[Path, typer.Option("--json", help="Figures that a bench has written.")],
    *,
    images: Images = None,
    document: Document = None,
) -> None:
    """Measure nothing: show, draw and write again what a JSON file holds."""
    from devtools.bench.main import Outputs, show_again

    show_again(json, Outputs(None, images, document))


def _register(name: str, what: str) -> None:
    def command(
        tokens: Tokens = None,
        responses: Responses = None,
        open_: Open = None,
        channels: Channels = None,
        rate: Rate = None,
        seconds: Seconds = None,
        partitions: Partitions = None,
        relays: Relays = None,
        idle_readers: IdleReaders = None,
        busy_readers: BusyReaders = None,
        rounds: Rounds = None,
        seed: Seed = 1,
        *,
        no_roll_up: NoRollUp = False,
        against: Against = False,
        json: JsonFile = None,
        images: Images = None,
        document: Document = None,
    ) -> None:
        from devtools.bench.main import Outputs
        from devtools.bench.scenarios import Wanted

        wanted = Wanted(
            tokens=tokens,
            responses=responses,
            open=open_,
            channels=channels,
            rate=rate,
            seconds=seconds,
            partitions=partitions,
            relays=relays,
            idle_readers=idle_readers,
            busy_readers=busy_readers,
            rounds=rounds,
            seed=seed,
            no_roll_up=no_roll_up,
            against=against,
        )
        _run([name], wanted, Outputs(json, images, document))

    command.__doc__ = what
    app.command(name)(command)


def _run(names: Sequence[str], wanted: "Wanted", outputs: "Outputs") -> None:
    from devtools.bench.main import run_bench

    quiet_logs()

    async def work() -> None:
        await run_bench(names, wanted, outputs)

    run_async(work())


for _name, _what in SCENARIOS.items():
    _register(_name, _what)


@app.command()
def model(
    responses: Annotated[int, typer.Option(min=1, help="Responses open at the busiest moment.")] = 1_000_000,
    tokens_per_second: Annotated[float, typer.Option(min=0.1, help="Tokens a second of one response.")] = 40.0,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of one response.")] = 400,
    frames_per_second: Annotated[float, typer.Option(min=0.1, help="ABLY_CHANNEL_RATE: messages a second.")] = 5.0,
    round_trip: Annotated[float, typer.Option(min=0.1, help="Milliseconds to an acknowledgement.")] = 50.0,
    subscribers: Annotated[int, typer.Option(min=0, help="Readers of each channel.")] = 1,
    busy: Annotated[float, typer.Option(min=0.0, max=1.0, help="The month's mean, as a share of the peak.")] = 0.3,
    price: Annotated[float | None, typer.Option(min=0, help="Your price of a million messages.")] = None,
    figures: Annotated[
        Path | None, typer.Option("--figures", help="JSON of a bench on your machine; without, usual ones.")
    ] = None,
) -> None:
    """What a deployment of some size takes: relays, partitions, brokers, connections, messages."""
    from rich.console import Console

    from devtools.bench.model import Demand, capacity, measured_from
    from devtools.bench.results import read_report
    from devtools.bench.show import needs

    demand = Demand(
        responses=responses,
        tokens_per_second=tokens_per_second,
        tokens=tokens,
        frames_per_second=frames_per_second,
        round_trip=round_trip / 1000,
        subscribers=subscribers,
        busy=busy,
    )
    measured = measured_from(read_report(figures) if figures is not None else None)
    needs(Console(), demand, measured, capacity(demand, measured), price)
