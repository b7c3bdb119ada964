"""The targets of the relay, and the text for each missed target. Pure."""

from dataclasses import dataclass

from devtools.bench.results import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`limit` is a minimum, or with `at_most` a maximum. `missed` gives the reason for a miss, and the next step."""

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


ADR = "[ADR 11](../contributing/adr/0011-no-compiled-part.md)"
FRAMES_COST = (
    "all channels wait for their answers at the same time, so the run takes the relay's processor time and the "
    "realtime server's, one after the other; 72 % of the relay's is our own code, which would have to be 1.7 "
    f"times as fast, and compiled unchanged the relay needs 4 to 13 % less ({ADR}); next: more relays (`relay "
    "--processes`), or `ABLY_TRANSPORT=rest`, with the frames of up to a hundred channels in one request"
)
TOKENS_COST = (
    "of the relay's processor time, decoding and sequencing are 27 %, transactions 18 %, reading records out of "
    "batches 12 %; 56 % is our own code, which would have to be 1.8 times as fast for 0.65 of the bare loop, and "
    f"compiled unchanged it is no faster in batches ({ADR}); next: pass a fetched batch through decoder and "
    "sequencer in one call"
)
PATIENCE = (
    "about 2 ms of it are the 4 ms for which fetches wait while tokens trickle ([ADR "
    "10](../contributing/adr/0010-fetch-past-the-clients-fetcher.md)), which no compiled part shortens; next: "
    "less patience, for more processor time"
)
SHARED = (
    "relay, broker, realtime server, producer and subscriber share two cores and need most of them, so a token "
    "waits for a core in each of about eight steps; of these the Kafka client alone, writing and reading in one "
    "process, takes 2.5 ms on the idle machine; next: measure with the load on another machine"
)
OPEN = (
    "an open response is about 25 Python objects of 1.8 KB beside its text: its fields (0.5 KB), its id, channel and "
    "metadata (0.4 KB), its channel's entry on a connection (0.3 KB), its timer and its part; the rest is free memory "
    "that opening many at once leaves, more of it where the machine is busy; next: return it to the system once they are open"
)
ORDINARY = (
    "fetching is 26 % of it at 500 tokens/s, sending and acknowledging 35 %, system calls 13 % (27 % at the "
    "default pace); half is our own code, which would have to be about three times as fast, and compiled "
    f"unchanged it is at most 1.3 times ({ADR}); next: a client of Kafka that is compiled"
)
REST = (
    "heartbeats four times a second, by which a takeover learns of its group, are the largest part that is left, "
    f"and then reading all answers, the consumer of `controls`, and the event loop ({ADR}); next: fewer "
    "heartbeats, at the price of slower takeovers"
)
HALVES = (
    "the end of the run, in which fewer and fewer channels have something to send and all final records are written; the "
    f"relay needs less processor time for a token then ({ADR})"
)
SILENT = (
    "beyond the session timeout it is processor time: every open response is read back, asked for or published again, and the machine's two "
    "cores do the subscribers' and the server's share of that as well"
)

TARGETS = (
    Target(
        what="Backlog, required", scenario="backlog", value="tokens a second", limit=100_000, unit="tokens/s",
        missed=TOKENS_COST,
    ),
    Target(
        what="Backlog, desired", scenario="backlog", value="tokens a second", limit=250_000, unit="tokens/s",
        missed=TOKENS_COST,
    ),
    Target(
        what="Backlog, one token per message", scenario="one-token", value="tokens a second", limit=15_000, unit="tokens/s",
        missed=FRAMES_COST,
    ),
    Target(
        what="Latency from producer to reader, 2,000 tokens/s over 100 responses, p50", scenario="steady", value="latency, p50",
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
        what="Relay processor at 500 tokens/s", scenario="sweep", value="relay processor, at 500 tokens/s", limit=10, unit="%",
        at_most=True, missed=ORDINARY,
    ),
    Target(
        what="The same at 2,000 tokens/s", scenario="sweep", value="relay processor, at 2,000 tokens/s", limit=25, unit="%",
        at_most=True, missed=ORDINARY,
    ),
    Target(
        what="The same at the default pace, 1,600 tokens/s", scenario="limits", value="relay processor", limit=20, unit="%",
        at_most=True, missed=ORDINARY,
    ),
    Target(
        what="Produced until received, 1,000 tokens/s, p50", scenario="sweep", value="latency, p50, at 1,000 tokens/s", limit=3,
        unit="ms", at_most=True, missed=PATIENCE,
    ),
    Target(
        what="The same, p99", scenario="sweep", value="latency, p99, at 1,000 tokens/s", limit=8, unit="ms", at_most=True, missed=SHARED
    ),
    Target(
        what="First token at 1,000 tokens/s, p99", scenario="sweep", value="first token, p99, at 1,000 tokens/s", limit=10, unit="ms",
        at_most=True, missed=SHARED,
    ),
    Target(
        what="Backlog, ratio to the loop that only reads", scenario="against", value="tokenstream against the loop", limit=0.65, unit="x",
        missed=TOKENS_COST,
    ),
    Target(
        what="One token a message: second half against the first", scenario="one-token", value="second half against the first", limit=1,
        unit="x", missed=HALVES,
    ),
    Target(
        what="Takeover after kill -9 with 1,000 open responses: longest time one response had none", scenario="takeover-killed",
        value="longest time one response had none", limit=5, unit="s", at_most=True, missed=SILENT,
    ),
    Target(
        what="10 M tokens: rate of the second half, relative to the first", scenario="ten-million", value="second half against the first",
        limit=0.9, unit="x", missed="the profiles of both halves are the same: the machine gave one half less processor time",
    ),
    Target(
        what="10 M tokens: memory in the second half, relative to the first", scenario="ten-million",
        value="memory, second half against the first", limit=1.1, unit="x", at_most=True,
        missed="finished responses are remembered for `FINISHED_TTL`, the newest 10,000 of each partition; memory is flat once that is full",
    ),
    Target(
        what="Memory, idle", scenario="idle", value="memory, idle", limit=90, unit="MiB", at_most=True,
        missed="the libraries' code is most of it; the next step is to import less",
    ),
    Target(
        what="Memory of an open response above twice its text", scenario="idle", value="of that beyond twice its text",
        limit=4_096, unit="bytes", at_most=True, missed=OPEN,
    ),
    Target(
        what="Clean takeover of 1,000 open responses, from assignment to the first token", scenario="takeover",
        value="assigned until its first token", limit=1, unit="s", at_most=True, missed=SHARED,
    ),
    Target(
        what="Cancel: request until the producer's stop is in Kafka, p99", scenario="cancel", value="request to stop, p99",
        limit=150, unit="ms", at_most=True, missed=SHARED,
    ),
    Target(
        what="Processor, idle", scenario="idle", value="processor, idle", limit=0.5, unit="%", at_most=True,
        missed=REST,
    ),
    Target(
        what="Time from start until ready", scenario="idle", value="start until ready", limit=2, unit="s", at_most=True,
        missed="imports take half of it, joining the group and fencing each partition's predecessor the rest; next: import less",
    ),
)  # fmt: skip
