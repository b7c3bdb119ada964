"""The overview board, to be read in ten seconds: whether tokens flow, their latency, refusals, what is stuck, and why."""

from deploy.grafana.generator.model import NEUTRAL, Bars, Board, Graph, Levels, Query, Row, Stat, Unit
from deploy.grafana.generator.promql import gauge, highest, increase, quantile, rate, total
from deploy.grafana.generator.questions import (
    ARCHIVE_LAG,
    BY_PARTITION,
    FAILING,
    FAILING_BY_DEPENDENCY,
    NOT_CONNECTED,
    OLDEST_UNSENT,
    PARTITION,
    PROBE_HARM,
    REFUSED,
    REFUSED_BY_CODE,
    RELAY_LAG,
    TOKENS_IN,
    TOKENS_OUT,
    most,
)

NO_RELAY = "no relay"


def board() -> Board:
    return Board(
        uid="tokenstream-overview",
        title="tokenstream / Overview",
        description="Throughput, latency, refusals, stuck partitions, losses, and their causes.",
        rows=(
            Row("Throughput and latency", (*flowing(), *lateness())),
            Row("Refusals, delays, losses", (*refused_and_stuck(), *harm())),
            Row("History", curves()),
            Row("Causes", reasons()),
        ),
    )


def flowing() -> tuple[Stat, ...]:
    return (
        Stat(
            title="Tokens in",
            description="Token events that relays read from Kafka and accept. If it is zero while model services write, "
            "no relay reads: check the relays.",
            unit=Unit.TOKENS_RATE,
            no_value=NO_RELAY,
            queries=(Query(TOKENS_IN, "in"),),
            decimals=0,
        ),
        Stat(
            title="Tokens out",
            description="Tokens that the realtime service acknowledged. It follows *Tokens in* within a second; if it "
            "stays lower, tokens queue in the relays.",
            unit=Unit.TOKENS_RATE,
            no_value=NO_RELAY,
            queries=(Query(TOKENS_OUT, "out"),),
            decimals=0,
        ),
        Stat(
            title="Open responses",
            description="Responses that have started and not ended, over all relays.",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(Query(gauge("tokenstream_open_responses"), "open"),),
        ),
    )


def lateness() -> tuple[Stat, ...]:
    return (
        Stat(
            title="Delivery, p99",
            description="Time from the `ts` of a token to the acknowledgement of its frame. Objective: 99 % within 0.5 s.",
            unit=Unit.SECONDS,
            no_value="no tokens",
            queries=(Query(quantile(0.99, "tokenstream_delivery_seconds"), "p99"),),
            levels=Levels(watch=0.25, bad=0.5),
        ),
        Stat(
            title="First token, p95",
            description="Time from reading a start to the acknowledgement of the first token. It includes the time that "
            "the model takes. Objective: 95 % within 2.5 s.",
            unit=Unit.SECONDS,
            no_value="no starts",
            queries=(Query(quantile(0.95, "tokenstream_first_token_seconds"), "p95"),),
            levels=Levels(watch=1, bad=2.5),
        ),
        Stat(
            title="Stall, p99",
            description="Time between two frames of one open response: how long a reader sees no new text.",
            unit=Unit.SECONDS,
            no_value="no tokens",
            queries=(Query(quantile(0.99, "tokenstream_stall_seconds"), "p99"),),
            levels=Levels(watch=1, bad=5),
        ),
    )


def refused_and_stuck() -> tuple[Stat, ...]:
    return (
        Stat(
            title="Publishes refused",
            description="Publishes that the realtime service refused or did not answer. Each is retried with the same id; "
            "the panel by code below has the causes.",
            unit=Unit.MESSAGES_RATE,
            no_value=NO_RELAY,
            queries=(Query(REFUSED, "refused"),),
            levels=Levels(watch=0.1, bad=5),
        ),
        Stat(
            title="Oldest unsent token",
            description="Age of the oldest token that was read and is not acknowledged, over all partitions. If it grows "
            "by one second per second, a partition is stuck.",
            unit=Unit.SECONDS,
            no_value=NO_RELAY,
            queries=(Query(OLDEST_UNSENT, "oldest"),),
            levels=Levels(watch=2, bad=30),
        ),
        Stat(
            title="Relay lag",
            description="Records in Kafka that no relay has read, over all partitions.",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(Query(total(RELAY_LAG), "lag"),),
            levels=Levels(watch=5_000, bad=50_000),
        ),
    )


def harm() -> tuple[Stat, ...]:
    return (
        Stat(
            title="Dead letters, 1 h",
            description="Records that could not be delivered in the last hour. The Delivery dashboard shows the reasons.",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(Query(increase("tokenstream_dead_letters_total", over="1h"), "dead letters"),),
            levels=Levels(watch=1, bad=100),
            decimals=0,
        ),
        Stat(
            title="Abandoned or failed, 1 h",
            description="Responses of the last hour that failed, or whose model service sent no stop.",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(
                Query(
                    increase("tokenstream_responses_finished_total", 'status=~"abandoned|failed"', over="1h"),
                    "abandoned or failed",
                ),
            ),
            levels=Levels(watch=1, bad=50),
            decimals=0,
        ),
        Stat(
            title="Probe: lost tokens, 1 h",
            description="Tokens of the probe that a reader missed, or received twice or out of order, in the last hour. "
            "Any value above zero is a fault.",
            unit=Unit.COUNT,
            no_value="no probe",
            queries=(Query(PROBE_HARM, "lost, repeated or out of order"),),
            levels=Levels(bad=1),
            decimals=0,
        ),
    )


def curves() -> tuple[Graph, ...]:
    return (
        Graph(
            title="Tokens in and out",
            description="Token events accepted, and tokens acknowledged. While the curves differ, tokens wait, or the "
            "relay catches up.",
            unit=Unit.TOKENS_RATE,
            no_value=NO_RELAY,
            queries=(Query(TOKENS_IN, "in"), Query(TOKENS_OUT, "out")),
        ),
        Graph(
            title="Delivery",
            description="Time from the `ts` of a token to the acknowledgement of its frame. The dashed line is the "
            "objective.",
            unit=Unit.SECONDS,
            no_value="no tokens",
            queries=tuple(
                Query(quantile(share, "tokenstream_delivery_seconds"), name)
                for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
            ),
            levels=Levels(bad=0.5, base=NEUTRAL.base),
        ),
        Graph(
            title="Responses ended, by status",
            description="Abandoned: no stop arrived. Failed: the model service reported an error, or the response "
            "exceeded a limit.",
            unit=Unit.RESPONSES_RATE,
            no_value=NO_RELAY,
            queries=(Query(rate("tokenstream_responses_finished_total", by=("status",)), "{{status}}"),),
            stacked=True,
        ),
        Graph(
            title="Refused publishes, by code",
            description="Error codes of the realtime service: 429xx rate limits, 401xx credentials and capabilities, "
            "8xxxx connections, 9xxxx channels; `timeout`: no answer.",
            unit=Unit.MESSAGES_RATE,
            no_value="nothing refused",
            queries=(Query(REFUSED_BY_CODE, "{{code}}"),),
            stacked=True,
        ),
        Graph(
            title="Oldest unsent token, by partition",
            description="The ten highest. One rising line is one stuck partition: search the log of its owner for "
            "`publish_retry`. If all rise, check the realtime service and the key.",
            unit=Unit.SECONDS,
            no_value=NO_RELAY,
            queries=(Query(most(10, highest("tokenstream_oldest_unsent_seconds", by=PARTITION)), BY_PARTITION),),
            levels=Levels(bad=30, base=NEUTRAL.base),
        ),
        Graph(
            title="Relay lag, by partition",
            description="Unread records in Kafka; the ten highest. It falls while a relay catches up.",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(Query(most(10, total(RELAY_LAG, by=PARTITION)), BY_PARTITION),),
        ),
    )


def reasons() -> tuple[Bars | Graph, ...]:
    return (
        Bars(
            title="Causes of delay",
            description="All are zero in normal operation. The first one from the top that is not zero is the most "
            "probable cause of the others.",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(
                Query(FAILING, "dependencies failing"),
                Query(NOT_CONNECTED, "connections not connected"),
                Query(gauge("tokenstream_paces_lowered", 'scope="connection"'), "connections with a reduced rate"),
                Query(gauge("tokenstream_paces_lowered", 'scope="channel"'), "channels with a reduced rate"),
                Query(gauge("tokenstream_paused_partitions"), "partitions paused, memory used up"),
                Query(increase("tokenstream_transaction_retries_total", over="5m"), "Kafka transaction retries, 5 min"),
                Query(increase("tokenstream_rebalances_total", over="5m"), "rebalances, 5 min"),
                Query(increase("tokenstream_event_loop_stalls_total", over="5m"), "event loop stalls, 5 min"),
                Query(increase("tokenstream_archive_failures_total", over="5m"), "failed attempts to store, 5 min"),
            ),
            levels=Levels(watch=1, bad=10),
            width=12,
        ),
        Graph(
            title="Dependencies failing",
            description="Processes in which a dependency does not work, by dependency. `/readyz` of the process has the "
            "cause.",
            unit=Unit.COUNT,
            no_value="no process",
            queries=(Query(FAILING_BY_DEPENDENCY, "{{dependency}}"),),
            stacked=True,
            width=6,
        ),
        Graph(
            title="Archive lag",
            description="Response records that are not in the store yet. Readers who reload miss them; live text is not "
            "affected.",
            unit=Unit.COUNT,
            no_value="no archive",
            queries=(Query(total(ARCHIVE_LAG), "records"),),
            width=6,
        ),
    )
