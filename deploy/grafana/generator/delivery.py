"""The delivery board: how tokens become frames and are acknowledged, and what prevents it."""

from deploy.grafana.generator.bridge import bridge
from deploy.grafana.generator.model import Bars, Board, Graph, Heat, Levels, Panel, Query, Row, Unit
from deploy.grafana.generator.probe import probe
from deploy.grafana.generator.promql import (
    RARE,
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
    quantiles,
)

NO_RELAY = "no relay"
NO_TOKENS = "no tokens"
STAGES = (("consume", "until read"), ("queue", "until sent"), ("publish", "until acknowledged"))


def board() -> Board:
    return Board(
        uid="tokenstream-delivery",
        title="tokenstream / Delivery",
        description="Latency by stage, publishes and refusals, roll-up, connections and rates, partitions, ends of responses, cancels, the probe, the bridge.",
        rows=(
            Row("Latency", latency()),
            Row("Publishes and roll-up", publishes()),
            Row("Connections and rates", connections()),
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
            title="Delivery by stage, mean",
            description="From the `ts` of a token until it is read from Kafka, until its frame is sent, and until that is "
            "acknowledged. *Until read* grows with lag and clock differences, *until sent* with rate limits, "
            "*until acknowledged* with the network and the realtime service.",
            unit=Unit.SECONDS,
            no_value=NO_TOKENS,
            queries=tuple(Query(mean(f"tokenstream_{stage}_seconds"), name) for stage, name in STAGES),
            stacked=True,
        ),
        Graph(
            title="Delivery by stage, p99",
            description="The same three stages, each by itself. Percentiles do not add up.",
            unit=Unit.SECONDS,
            no_value=NO_TOKENS,
            queries=tuple(Query(quantile(0.99, f"tokenstream_{stage}_seconds"), name) for stage, name in STAGES),
        ),
        Heat(
            title="Delivery, distribution",
            description="Time from the `ts` of a token to the acknowledgement of its frame: the number of frames by time. "
            "Two bands show two groups of channels that differ.",
            unit=Unit.SECONDS,
            no_value=NO_TOKENS,
            queries=(Query(rate("tokenstream_delivery_seconds_bucket", by=("le",)), "{{le}}"),),
        ),
        Graph(
            title="First token",
            description="Time from reading a start to the acknowledgement of the first token. It includes the time that "
            "the model takes. The dashed line is the objective.",
            unit=Unit.SECONDS,
            no_value="no starts",
            queries=quantiles("tokenstream_first_token_seconds"),
            levels=Levels(bad=2.5),
        ),
        Graph(
            title="Stalls",
            description="Time between two frames of one open response: how long a reader sees no new text. It includes "
            "pauses of the model service.",
            unit=Unit.SECONDS,
            no_value=NO_TOKENS,
            queries=quantiles("tokenstream_stall_seconds"),
        ),
        Graph(
            title="Response duration",
            description="Time from the start of a response to its end.",
            unit=Unit.SECONDS,
            no_value="no responses ended",
            queries=quantiles("tokenstream_response_seconds"),
        ),
    )


def publishes() -> tuple[Panel, ...]:
    return (
        Graph(
            title="Frames published, by name",
            description="Frames that the realtime service acknowledged. It counts each as a message.",
            unit=Unit.FRAMES_RATE,
            no_value=NO_RELAY,
            queries=(Query(rate("tokenstream_frames_published_total", by=("name",)), "{{name}}"),),
            stacked=True,
        ),
        Graph(
            title="Refusals, by code",
            description="Publishes refused or not answered, by error code of the realtime service.",
            unit=Unit.MESSAGES_RATE,
            no_value="nothing refused",
            queries=(Query(REFUSED_BY_CODE, "{{code}}"),),
            stacked=True,
        ),
        Graph(
            title="Retries, and publishes in flight",
            description="Frames sent again with the same id, per second, and frames that wait for their acknowledgement "
            "now. A channel has at most one in flight.",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(
                Query(rate("tokenstream_publish_retries_total"), "retries per second"),
                Query(gauge("tokenstream_publishes_in_flight"), "in flight"),
            ),
        ),
        Graph(
            title="Tokens per frame",
            description="Roll-up: tokens that arrive while a publish is in flight are sent as one frame. It rises when a "
            "channel is slow or its rate is limited; no action is necessary.",
            unit=Unit.COUNT,
            no_value=NO_TOKENS,
            queries=(
                Query(mean("tokenstream_tokens_per_frame"), "mean"),
                Query(quantile(0.99, "tokenstream_tokens_per_frame"), "p99"),
            ),
        ),
        Graph(
            title="Messages saved by roll-up",
            description="Share of tokens that needed no message of their own, and that the realtime service does not "
            "bill.",
            unit=Unit.SHARE,
            no_value=NO_TOKENS,
            queries=(Query(share(rate("tokenstream_messages_saved_total"), TOKENS_OUT), "saved"),),
        ),
        Graph(
            title="Publish, from send to acknowledgement",
            description="Round trip to the realtime service.",
            unit=Unit.SECONDS,
            no_value="no publishes",
            queries=quantiles("tokenstream_publish_seconds"),
        ),
    )


def connections() -> tuple[Panel, ...]:
    return (
        Graph(
            title="Connections, by state",
            description="Connections of all relays. Suspended and failed ones are replaced. If many are, check the "
            "network and the key.",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(Query(f"{gauge('tokenstream_ably_connections', by=('state',))} > 0", "{{state}}"),),
            stacked=True,
        ),
        Graph(
            title="Lowest pace, share of the configured rate",
            description="1: no rate is reduced. After a refusal for its rate, a channel or a connection slows down, and "
            "recovers step by step.",
            unit=Unit.SHARE,
            no_value=NO_RELAY,
            queries=(Query(lowest("tokenstream_pace_ratio", by=("scope",)), "{{scope}}"),),
        ),
        Graph(
            title="Delayed by the rate limiter",
            description="Channels and connections below their configured rate, and the mean number of channels that wait "
            "(seconds waited per second).",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(
                Query(gauge("tokenstream_paces_lowered", by=("scope",)), "{{scope}}: reduced rate"),
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
            description="Age of the oldest unacknowledged token; the ten highest. If a line rises by one second per "
            "second, the partition is stuck.",
            unit=Unit.SECONDS,
            no_value=NO_RELAY,
            queries=(Query(most(10, highest("tokenstream_oldest_unsent_seconds", by=PARTITION)), BY_PARTITION),),
            levels=Levels(bad=30),
        ),
        Graph(
            title="Records read, by partition",
            description="Records per second that the owner reads; the ten highest. Zero while there is lag: the partition "
            "is paused or stuck.",
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
            title="Read and not committed, by partition",
            description="Records after the committed offset, which the next owner reads again after a crash; the ten "
            "highest.",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(Query(most(10, f"max by (topic, partition) ({uncommitted})"), BY_PARTITION),),
        ),
        Graph(
            title="Partitions owned and paused",
            description="By process. A partition is paused while its share of MAX_BUFFERED_BYTES is used up; its records "
            "stay in Kafka.",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(
                Query(f"{owned} > 0", f"owned {BY_PROCESS}"),
                Query(f"{gauge('tokenstream_paused_partitions', by=PROCESS)} and {owned} > 0", f"paused {BY_PROCESS}"),
            ),
        ),
        Graph(
            title="Text in memory",
            description="Unsent text and early tokens (at most MAX_BUFFERED_BYTES), and the text of open responses (at "
            "most MAX_TRANSCRIPT_BYTES).",
            unit=Unit.BYTES,
            no_value=NO_RELAY,
            queries=(
                Query(gauge("tokenstream_buffered_bytes"), "unsent"),
                Query(gauge("tokenstream_transcript_bytes"), "open responses"),
            ),
        ),
        Graph(
            title="Rebalances and takeovers, 5 min",
            description="Assignments received, and partitions taken over. Each rollout causes a few. If they continue, a "
            "relay does not stay in the group: check its log.",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(
                Query(increase("tokenstream_rebalances_total", over="5m"), "rebalances"),
                Query(increase("tokenstream_takeovers_total", over="5m"), "takeovers"),
            ),
        ),
        Graph(
            title="Takeover duration",
            description="Time from an assignment to the first record read: the longest wait of readers when the owner of "
            "a partition changes cleanly.",
            unit=Unit.SECONDS,
            no_value="no takeover in this time",
            queries=(
                Query(quantile(0.5, "tokenstream_takeover_seconds", over=RARE), "p50"),
                Query(quantile(0.99, "tokenstream_takeover_seconds", over=RARE), "p99"),
            ),
        ),
        Graph(
            title="Transaction duration",
            description="Time that a Kafka transaction takes. It has snapshots, final records, dead letters and offsets.",
            unit=Unit.SECONDS,
            no_value="no transactions",
            queries=(
                Query(quantile(0.5, "tokenstream_transaction_seconds"), "p50"),
                Query(quantile(0.99, "tokenstream_transaction_seconds"), "p99"),
            ),
        ),
        Graph(
            title="Transaction retries",
            description="Kafka transactions that failed and were retried. No record is lost, but offsets do not advance "
            "meanwhile.",
            unit=Unit.RATE,
            no_value=NO_RELAY,
            queries=(Query(rate("tokenstream_transaction_retries_total"), "retries"),),
        ),
    )


def ends() -> tuple[Panel, ...]:
    return (
        Graph(
            title="Responses started and ended",
            description="Responses that started, and responses that ended, by status.",
            unit=Unit.RESPONSES_RATE,
            no_value=NO_RELAY,
            queries=(
                Query(rate("tokenstream_responses_started_total"), "started"),
                Query(rate("tokenstream_responses_finished_total", by=("status",)), "{{status}}"),
            ),
        ),
        Graph(
            title="Gaps and repeats",
            description="Gaps: sequence numbers that never arrived, announced to readers. Repeats: records dropped "
            "because their event was accepted before, for example after a retry of a producer or a takeover.",
            unit=Unit.RATE,
            no_value=NO_RELAY,
            queries=(
                Query(rate("tokenstream_gaps_total"), "gaps"),
                Query(rate("tokenstream_duplicates_total"), "repeats"),
            ),
        ),
        Bars(
            title="Dead letters, by reason, 1 h",
            description="Records that could not be delivered in the last hour. The table in docs/operations/runbook.md "
            "has the meaning of each reason, and what to do.",
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
            description="*honoured*: the producer wrote the stop. *late*: the response had ended, or another stop arrived "
            "first. *forced*: no stop arrived within CANCEL_TIMEOUT, and the relay ended the response. "
            "*unknown*: the api knew no such response.",
            unit=Unit.RATE,
            no_value=NO_RELAY,
            queries=(Query(rate("tokenstream_cancels_total", by=("outcome",)), "{{outcome}}"),),
            stacked=True,
        ),
        Graph(
            title="Time to stop",
            description="Time from the request for a cancel to the acknowledgement of its stop. Values at CANCEL_TIMEOUT "
            "are forced cancels.",
            unit=Unit.SECONDS,
            no_value="no cancels",
            queries=quantiles("tokenstream_cancel_seconds", over=RARE),
        ),
        Graph(
            title="Forced cancels, share",
            description="Share of the cancels of open responses that no producer obeyed. Check that the producers read "
            "the controls topic.",
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
