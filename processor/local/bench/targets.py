"""What the relay is held to, and what is said where it misses. Pure."""

from dataclasses import dataclass

from processor.local.bench.results import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`limit` is a least value, or with `at_most` a largest one. `missed` says why, and what comes next."""

    what: str
    scenario: str
    value: str
    limit: float
    unit: str
    missed: str
    at_most: bool = False

    def measured(self, report: Report) -> float | None:
        """None where its scenario was not run."""
        result = report.find(self.scenario)
        return result.get(self.value) if result is not None else None

    def is_met(self, measured: float) -> bool:
        return measured <= self.limit if self.at_most else measured >= self.limit


FRAMES_COST = (
    "every message is a call of the SDK, a websocket frame each way and a task's turn, and the double that answers takes part of "
    "the same two cores; next: hand the frames of many channels to the connection in one turn of the loop"
)
TOKENS_COST = (
    "reading and decoding alone, as the loop that only reads does it, come near this rate on this machine, and the relay sequences "
    "and keeps each record besides; next: take a fetched batch through decoder and sequencer in one call"
)
SHARED = (
    "relay, broker, realtime server, producer and subscriber share two cores, so a token waits for a core at each of four hops; "
    "next: measure with the load on another machine, and write to a socket once for all frames of a turn"
)
SLOT = (
    "each of these responses has a channel of its own, whose object in the SDK alone takes 9 KiB, and is kept a minute after its "
    "last message; next: release channels sooner, or publish without the SDK's channel objects"
)

TARGETS = (
    Target(
        what="Backlog, required", scenario="backlog", value="tokens a second", limit=100_000, unit="tokens/s",
        missed=TOKENS_COST,
    ),
    Target(
        what="Backlog, sought", scenario="backlog", value="tokens a second", limit=250_000, unit="tokens/s",
        missed=TOKENS_COST,
    ),
    Target(
        what="Backlog, one token a message", scenario="one-token", value="tokens a second", limit=15_000, unit="tokens/s",
        missed=FRAMES_COST,
    ),
    Target(
        what="Produced until received, 2,000 tokens/s over 100 responses, p50", scenario="steady", value="latency, p50",
        limit=3, unit="ms", at_most=True, missed=SHARED,
    ),
    Target(
        what="The same, p99", scenario="steady", value="latency, p99", limit=10, unit="ms", at_most=True, missed=SHARED
    ),
    Target(
        what="First token under that load, p99", scenario="steady", value="first token, p99", limit=15, unit="ms",
        at_most=True, missed=SHARED,
    ),
    Target(
        what="10 M tokens: second half against the first", scenario="ten-million", value="second half against the first",
        limit=0.9, unit="x", missed="the rate falls as the run goes on",
    ),
    Target(
        what="10 M tokens: memory, second half against the first", scenario="ten-million",
        value="memory, second half against the first", limit=1.1, unit="x", at_most=True,
        missed="finished responses are remembered for `FINISHED_TTL`, the newest 10,000 of each partition; memory is flat once that is full",
    ),
    Target(
        what="Memory, idle", scenario="idle", value="memory, idle", limit=90, unit="MiB", at_most=True,
        missed="the libraries' code is most of it; the next step is to import less",
    ),
    Target(
        what="Memory of an open response beyond twice its text", scenario="idle", value="of that beyond twice its text",
        limit=4_096, unit="bytes", at_most=True, missed=SLOT,
    ),
    Target(
        what="Clean takeover of 1,000 open responses, from assignment to the first token", scenario="takeover",
        value="assigned until its first token", limit=1, unit="s", at_most=True, missed=SHARED,
    ),
    Target(
        what="Processor, idle", scenario="idle", value="processor, idle", limit=1, unit="%", at_most=True,
        missed="twelve partitions are asked for records and the group is told of every quarter of a second; the next step is to wait longer while nothing comes",
    ),
    Target(
        what="Start until ready", scenario="idle", value="start until ready", limit=2, unit="s", at_most=True,
        missed="imports take most of it, and joining the group the rest; the next step is to import less",
    ),
)  # fmt: skip
