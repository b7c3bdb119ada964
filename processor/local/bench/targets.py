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
    "a message costs the SDK's own encoding, a websocket frame and a task switch; the next step is to send frames of many "
    "channels in one turn of the loop"
)
TOKENS_COST = (
    "decoding and sequencing one record costs what `make profile` shows; the next step is to decode a fetched batch at once "
    "instead of a record at a time"
)
SHARED = (
    "relay, broker, realtime server and subscriber share two cores, so a token waits for a core at times; the next step is "
    "to measure with the load on another machine"
)
SLOT = "per-channel objects of the SDK and of the lane weigh more than the response itself; the next step is to release idle channels sooner"

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
