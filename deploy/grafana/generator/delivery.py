"""The delivery board: how tokens become frames and are acknowledged, and what prevents it."""

from deploy.grafana.generator.bridge import bridge
from deploy.grafana.generator.model import Bars, Board, Graph, Heat, Levels, Panel, Query, Row, Unit
from deploy.grafana.generator.promql import (
    RARE,
    WINDOW,
    gauge,
    highest,
    increase,
    lowest,
    mean,
    quantile,
    rate,
    series,
    share,
)
from deploy.grafana.generator.questions import (
    BY_PARTITION,
    BY_PROCESS,
    PARTITION,
    PROCESS,
    REFUSED_BY_CODE,
    TOKENS_OUT,
    most,
)

NO_RELAY = "no relay"
NO_TOKENS = "no tokens"
STAGES = (("consume", "until read"), ("queue", "until sent"), ("publish", "until acknowledged"))


def board() -> Board:
    return Board(
        uid="tokenstream-delivery",
        title="tokenstream / Delivery",
        description="Latency and where it comes from, publishes and refusals, roll-up, connections and pace, partitions, and how responses end.",
        rows=(
            Row("Latency", latency()),
            Row("Publishes and roll-up", publishes()),
            Row("Connections and pace", connections()),
            Row("Partitions", partitions()),
            Row("Ends and losses", ends()),
            Row("Cancels", cancels()),
            Row("The probe", probe()),
            Row("The bridge", bridge()),
        ),
    )


def latency() -> tuple[Panel, ...]:
    return (
        Graph(
            title="Where the time goes, on average",
            description="A token's way: from its ts until it is read from Kafka, until its frame is sent, until that is acknowledged. "
            "*Until read* grows with lag and with clocks that differ; *until sent* with the pace and with one publish in flight per "
            "channel; *until acknowledged* with the network and the realtime service.",
            unit=Unit.SECONDS,
            no_value=NO_TOKENS,
            queries=tuple(Query(mean(f"tokenstream_{stage}_seconds"), name) for stage, name in STAGES),
            stacked=True,
        ),
        Graph(
            title="Where the time goes, p99",
            description="The same three, each by itself: p99s do not add up.",
            unit=Unit.SECONDS,
            no_value=NO_TOKENS,
            queries=tuple(Query(quantile(0.99, f"tokenstream_{stage}_seconds"), name) for stage, name in STAGES),
        ),
        Heat(
            title="Delivery",
            description="From a token's ts to its frame's acknowledgement: how many frames took how long. Two bands are two kinds of "
            "channels, or two kinds of readers' regions.",
            unit=Unit.SECONDS,
            no_value=NO_TOKENS,
            queries=(Query(rate("tokenstream_delivery_seconds_bucket", by=("le",)), "{{le}}"),),
        ),
        Graph(
            title="First token",
            description="From reading a start to the acknowledgement of the first token; the model's own thinking is in it.",
            unit=Unit.SECONDS,
            no_value="no starts",
            queries=quantiles("tokenstream_first_token_seconds"),
            levels=Levels(bad=2.5),
        ),
        Graph(
            title="Stalls",
            description="Between two frames of one open response, as a reader sees its text stand still. Model services that pause are in it.",
            unit=Unit.SECONDS,
            no_value=NO_TOKENS,
            queries=quantiles("tokenstream_stall_seconds"),
        ),
        Graph(
            title="Response duration",
            description="From a response's start to its end.",
            unit=Unit.SECONDS,
            no_value="no responses ended",
            queries=quantiles("tokenstream_response_seconds"),
        ),
    )


def publishes() -> tuple[Panel, ...]:
    return (
        Graph(
            title="Frames published, by name",
            description="Frames acknowledged: what the realtime service counts as messages.",
            unit=Unit.FRAMES_RATE,
            no_value=NO_RELAY,
            queries=(Query(rate("tokenstream_frames_published_total", by=("name",)), "{{name}}"),),
            stacked=True,
        ),
        Graph(
            title="Refusals, by code",
            description="Publishes refused or unanswered, by the realtime service's code.",
            unit=Unit.MESSAGES_RATE,
            no_value="nothing refused",
            queries=(Query(REFUSED_BY_CODE, "{{code}}"),),
            stacked=True,
        ),
        Graph(
            title="Sent again, and in flight",
            description="Frames sent once more with the same id, and frames sent and not acknowledged at this moment: at most one per channel.",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(
                Query(rate("tokenstream_publish_retries_total"), "sent again, per second"),
                Query(gauge("tokenstream_publishes_in_flight"), "in flight"),
            ),
        ),
        Graph(
            title="Tokens per frame",
            description="Roll-up: what arrives while a publish is unacknowledged leaves as one frame. Rises when a channel is slow or its "
            "rate is bounded, and that is how it should be.",
            unit=Unit.COUNT,
            no_value=NO_TOKENS,
            queries=(
                Query(mean("tokenstream_tokens_per_frame"), "mean"),
                Query(quantile(0.99, "tokenstream_tokens_per_frame"), "p99"),
            ),
        ),
        Graph(
            title="Messages saved by roll-up",
            description="The share of tokens that needed no message of their own: what roll-up takes off the realtime service's bill.",
            unit=Unit.SHARE,
            no_value=NO_TOKENS,
            queries=(Query(share(rate("tokenstream_messages_saved_total"), TOKENS_OUT), "saved"),),
        ),
        Graph(
            title="Publish, send to acknowledgement",
            description="The round trip to the realtime service.",
            unit=Unit.SECONDS,
            no_value="no publishes",
            queries=quantiles("tokenstream_publish_seconds"),
        ),
    )


def connections() -> tuple[Panel, ...]:
    return (
        Graph(
            title="Connections, by state",
            description="Of all relays. Suspended or failed ones are replaced; many at once are a network or a key that fails.",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(Query(f"{gauge('tokenstream_ably_connections', by=('state',))} > 0", "{{state}}"),),
            stacked=True,
        ),
        Graph(
            title="Pace, lowest share of the rate set",
            description="1: nobody is slowed. After a refusal for the rate a channel or connection goes slower, then slowly recovers.",
            unit=Unit.SHARE,
            no_value=NO_RELAY,
            queries=(Query(lowest("tokenstream_pace_ratio", by=("scope",)), "{{scope}}"),),
        ),
        Graph(
            title="Held back by the pace",
            description="Channels and connections slower than set, and how many channels wait for their turn on average "
            "(seconds waited per second).",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(
                Query(gauge("tokenstream_paces_lowered", by=("scope",)), "{{scope}} lowered"),
                Query(rate("tokenstream_pace_wait_seconds_total"), "channels waiting"),
            ),
        ),
    )


def partitions() -> tuple[Panel, ...]:
    owned = gauge("tokenstream_owned_partitions", by=PROCESS)
    uncommitted = f"{series('tokenstream_consumed_offset')} - {series('tokenstream_committed_offset')}"
    return (
        Graph(
            title="Oldest unsent token, by partition",
            description="The ten worst. A line that rises by a second a second is a partition that is stuck.",
            unit=Unit.SECONDS,
            no_value=NO_RELAY,
            queries=(Query(most(10, highest("tokenstream_oldest_unsent_seconds", by=PARTITION)), BY_PARTITION),),
            levels=Levels(bad=30),
        ),
        Graph(
            title="Records read, by partition",
            description="How fast each partition's position moves; a flat zero with lag is a paused or stuck partition. The ten busiest.",
            unit=Unit.RECORDS_RATE,
            no_value=NO_RELAY,
            queries=(
                Query(
                    most(
                        10,
                        f"sum by (topic, partition) (deriv({series('tokenstream_consumed_offset')}[$__rate_interval]))",
                    ),
                    BY_PARTITION,
                ),
            ),
        ),
        Graph(
            title="Read and not yet durable, by partition",
            description="Records above the committed offset: what a crash would make the successor read again. The ten most.",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(Query(most(10, f"max by (topic, partition) ({uncommitted})"), BY_PARTITION),),
        ),
        Graph(
            title="Partitions owned and paused",
            description="By process. Paused: the partition's share of MAX_BUFFERED_BYTES is used up, Kafka holds the rest.",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(
                Query(f"{owned} > 0", f"owned {BY_PROCESS}"),
                Query(f"{gauge('tokenstream_paused_partitions', by=PROCESS)} and {owned} > 0", f"paused {BY_PROCESS}"),
            ),
        ),
        Graph(
            title="Text in memory",
            description="Unsent text and early tokens (bounded by MAX_BUFFERED_BYTES), and texts of open responses (MAX_TRANSCRIPT_BYTES).",
            unit=Unit.BYTES,
            no_value=NO_RELAY,
            queries=(
                Query(gauge("tokenstream_buffered_bytes"), "unsent"),
                Query(gauge("tokenstream_transcript_bytes"), "open responses"),
            ),
        ),
        Graph(
            title="Rebalances and takeovers, 5 min",
            description="Assignments received, and partitions taken over. A few with each rollout; steady ones mean that a relay does not "
            "hold its place in the group.",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(
                Query(increase("tokenstream_rebalances_total", over="5m"), "rebalances"),
                Query(increase("tokenstream_takeovers_total", over="5m"), "takeovers"),
            ),
        ),
        Graph(
            title="Takeover duration",
            description="From an assignment to the first token read: what readers of a partition wait at most when its owner changes cleanly.",
            unit=Unit.SECONDS,
            no_value="no takeover in this time",
            queries=(
                Query(quantile(0.5, "tokenstream_takeover_seconds", over=RARE), "p50"),
                Query(quantile(0.99, "tokenstream_takeover_seconds", over=RARE), "p99"),
            ),
        ),
        Graph(
            title="Kafka transactions",
            description="How long a transaction takes (snapshots, final records, dead letters and offsets together), and how many are tried again.",
            unit=Unit.SECONDS,
            no_value="no transactions",
            queries=(
                Query(quantile(0.5, "tokenstream_transaction_seconds"), "p50"),
                Query(quantile(0.99, "tokenstream_transaction_seconds"), "p99"),
            ),
        ),
        Graph(
            title="Transactions tried again",
            description="Kafka transactions that failed and were tried once more. Nothing is lost by it, but offsets stand still meanwhile.",
            unit=Unit.RATE,
            no_value=NO_RELAY,
            queries=(Query(rate("tokenstream_transaction_retries_total"), "tried again"),),
        ),
    )


def ends() -> tuple[Panel, ...]:
    return (
        Graph(
            title="Responses started and ended",
            description="Started, and ended by status.",
            unit=Unit.RESPONSES_RATE,
            no_value=NO_RELAY,
            queries=(
                Query(rate("tokenstream_responses_started_total"), "started"),
                Query(rate("tokenstream_responses_finished_total", by=("status",)), "{{status}}"),
            ),
        ),
        Graph(
            title="Gaps and repeats",
            description="Gaps: sequence numbers that never came, announced to readers. Repeats: records dropped because their event was "
            "taken in before, as after a producer's retry or a takeover.",
            unit=Unit.RATE,
            no_value=NO_RELAY,
            queries=(
                Query(rate("tokenstream_gaps_total"), "gaps"),
                Query(rate("tokenstream_duplicates_total"), "repeats"),
            ),
        ),
        Bars(
            title="Dead letters, by reason, 1 h",
            description="What each reason means and what to do about it: the table in docs/operations/runbook.md.",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(Query(increase("tokenstream_dead_letters_total", over="1h", by=("reason",)), "{{reason}}"),),
            levels=Levels(watch=1, bad=100),
        ),
    )


def cancels() -> tuple[Panel, ...]:
    return (
        Graph(
            title="Cancels, by outcome",
            description="*honoured*: the producer wrote the stop. *late*: the response had ended, or another stop came first. *forced*: no stop "
            "came within CANCEL_TIMEOUT, and the relay ended it while the model went on. *unknown*: the api knew no such response.",
            unit=Unit.RATE,
            no_value=NO_RELAY,
            queries=(Query(rate("tokenstream_cancels_total", by=("outcome",)), "{{outcome}}"),),
            stacked=True,
        ),
        Graph(
            title="Time to stop",
            description="From the request for a cancel to the acknowledgement of the stop it led to. A step at CANCEL_TIMEOUT: forced ones.",
            unit=Unit.SECONDS,
            no_value="no cancels",
            queries=quantiles("tokenstream_cancel_seconds", over=RARE),
        ),
        Graph(
            title="Forced, share",
            description="Of the cancels of open responses, those that no producer obeyed: it does not read the controls topic, or can't.",
            unit=Unit.SHARE,
            no_value="no cancels",
            queries=(
                Query(
                    share(
                        rate("tokenstream_cancels_total", 'outcome="forced"'),
                        rate("tokenstream_cancels_total", 'outcome=~"forced|honoured"'),
                    ),
                    "forced",
                ),
            ),
            levels=Levels(watch=0.01, bad=0.5),
        ),
    )


def probe() -> tuple[Panel, ...]:
    return (
        Graph(
            title="Probes, by result, 5 min",
            description="Synthetic responses sent through everything and read back from the channel and the store. Anything but ok is what "
            "a reader would have met.",
            unit=Unit.COUNT,
            no_value="no probe",
            queries=(Query(increase("tokenstream_probe_responses_total", over=RARE, by=("result",)), "{{result}}"),),
            stacked=True,
        ),
        Graph(
            title="Probe: made to seen",
            description="From making a probe's token to a reader's having it: the whole way, with the realtime service's own.",
            unit=Unit.SECONDS,
            no_value="no probe",
            queries=quantiles("tokenstream_probe_seconds", over=RARE),
        ),
        Graph(
            title="Probe: tokens lost, repeated, out of order, 5 min",
            description="As a reader of the channel saw them. Zero, always.",
            unit=Unit.COUNT,
            no_value="no probe",
            queries=tuple(
                Query(increase(f"tokenstream_probe_{name}_total", over=RARE), name.replace("_", " "))
                for name in ("lost", "repeated", "out_of_order")
            ),
            stacked=True,
        ),
    )


def quantiles(histogram: str, over: str = WINDOW) -> tuple[Query, ...]:
    return tuple(Query(quantile(part, histogram, over=over), f"p{part * 100:g}") for part in (0.5, 0.95, 0.99))
