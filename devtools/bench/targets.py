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


FRAMES_COST = (
    "a message takes about 200 us of the relay's processor time here, two thirds of it in the SDK, its websocket "
    "library and the socket (see the profiles), and server, broker and subscriber take the same amount of the same "
    "two cores; next: more relays (`relay --processes`), or a cheaper transport (`ABLY_TRANSPORT=rest` sends the "
    "frames of up to a hundred channels in one request)"
)
TOKENS_COST = (
    "of the relay's processor time for a token, decoding and sequencing are a quarter, reading is a sixth, and its "
    "share of messages and records is most of the rest; starts, stops and final records weigh more in these few "
    "seconds than in the ten million tokens below; next: pass a fetched batch through decoder and sequencer in one "
    "call, which neither the Kafka client nor the decoder supports yet"
)
SHARED = (
    "relay, broker, realtime server, producer and subscriber share two cores and need most of them, so a token "
    "waits for a core in each of about eight steps; of these the Kafka client alone, writing and reading in one "
    "process, takes 2.5 ms on the idle machine; next: measure with the load on another machine"
)
OPEN = (
    "an open response is about a hundred Python objects: its fields, its queue, its part, its uncovered offsets, "
    "two timers, its lane, and its channel's entry on a connection; next: fewer objects, first the queue, which "
    "takes 700 bytes when it is empty"
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
        what="Processor, idle", scenario="idle", value="processor, idle", limit=1, unit="%", at_most=True,
        missed="requests to the broker for twelve partitions, four times a second, are a third of it, and waking the event loop is another third; next: longer waits at the broker while no record arrives",
    ),
    Target(
        what="Time from start until ready", scenario="idle", value="start until ready", limit=2, unit="s", at_most=True,
        missed="imports take half of it, joining the group and fencing each partition's predecessor the rest; next: import less",
    ),
)  # fmt: skip
