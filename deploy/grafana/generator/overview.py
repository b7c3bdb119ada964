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
        description="Are tokens flowing, how late, what is refused, what is stuck, and why.",
        rows=(
            Row("Flowing, and how late", (*flowing(), *lateness())),
            Row("Refused, stuck, lost", (*refused_and_stuck(), *harm())),
            Row("Since when", curves()),
            Row("Why", reasons()),
        ),
    )


def flowing() -> tuple[Stat, ...]:
    return (
        Stat(
            title="Tokens in",
            description="Token events read from Kafka and taken in. Zero while model services are writing means that no relay reads.",
            unit=Unit.TOKENS_RATE,
            no_value=NO_RELAY,
            queries=(Query(TOKENS_IN, "in"),),
            decimals=0,
        ),
        Stat(
            title="Tokens out",
            description="Tokens acknowledged by the realtime service. Follows *Tokens in* within a second; below it for longer, "
            "tokens pile up here.",
            unit=Unit.TOKENS_RATE,
            no_value=NO_RELAY,
            queries=(Query(TOKENS_OUT, "out"),),
            decimals=0,
        ),
        Stat(
            title="Open responses",
            description="Responses under way on all relays.",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(Query(gauge("tokenstream_open_responses"), "open"),),
        ),
    )


def lateness() -> tuple[Stat, ...]:
    return (
        Stat(
            title="Delivery, p99",
            description="From a token's ts, set by its producer, to the acknowledgement of its frame. The objective: 99 % within 0.5 s.",
            unit=Unit.SECONDS,
            no_value="no tokens",
            queries=(Query(quantile(0.99, "tokenstream_delivery_seconds"), "p99"),),
            levels=Levels(watch=0.25, bad=0.5),
        ),
        Stat(
            title="First token, p95",
            description="From reading a start to the acknowledgement of the first token; the model's own thinking is in it. "
            "The objective: 95 % within 2.5 s.",
            unit=Unit.SECONDS,
            no_value="no starts",
            queries=(Query(quantile(0.95, "tokenstream_first_token_seconds"), "p95"),),
            levels=Levels(watch=1, bad=2.5),
        ),
        Stat(
            title="Stall, p99",
            description="Between two frames of one open response: how long a text stands still on a reader's screen.",
            unit=Unit.SECONDS,
            no_value="no tokens",
            queries=(Query(quantile(0.99, "tokenstream_stall_seconds"), "p99"),),
            levels=Levels(watch=1, bad=5),
        ),
    )


def refused_and_stuck() -> tuple[Stat, ...]:
    return (
        Stat(
            title="Refused",
            description="Publishes refused or unanswered. Each is sent again with the same id; the codes are below.",
            unit=Unit.MESSAGES_RATE,
            no_value=NO_RELAY,
            queries=(Query(REFUSED, "refused"),),
            levels=Levels(watch=0.1, bad=5),
        ),
        Stat(
            title="Oldest unsent token",
            description="How long the oldest token that was read waits for its acknowledgement, over all partitions. "
            "Grows by a second a second where something is stuck.",
            unit=Unit.SECONDS,
            no_value=NO_RELAY,
            queries=(Query(OLDEST_UNSENT, "oldest"),),
            levels=Levels(watch=2, bad=30),
        ),
        Stat(
            title="Relay lag",
            description="Records that stand in Kafka unread by the relay, over all partitions.",
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
            description="Records put aside in the last hour because they could not be delivered. By reason: the Delivery board.",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(Query(increase("tokenstream_dead_letters_total", over="1h"), "dead letters"),),
            levels=Levels(watch=1, bad=100),
            decimals=0,
        ),
        Stat(
            title="Abandoned or failed, 1 h",
            description="Responses of the last hour that got no stop from their model service, or that failed.",
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
            title="Lost to the probe, 1 h",
            description="Tokens of the probe that were lost, repeated or out of order for a reader in the last hour. Never above zero.",
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
            description="Token events taken in, and tokens acknowledged. Where the curves part, tokens wait or catch up.",
            unit=Unit.TOKENS_RATE,
            no_value=NO_RELAY,
            queries=(Query(TOKENS_IN, "in"), Query(TOKENS_OUT, "out")),
        ),
        Graph(
            title="How late",
            description="From a token's ts to its frame's acknowledgement.",
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
            description="Complete and cancelled are as they should be. Abandoned: no stop came. Failed: the model service said so, "
            "or the response broke a limit.",
            unit=Unit.RESPONSES_RATE,
            no_value=NO_RELAY,
            queries=(Query(rate("tokenstream_responses_finished_total", by=("status",)), "{{status}}"),),
            stacked=True,
        ),
        Graph(
            title="Refused publishes, by code",
            description="The realtime service's error codes: 429xx are rates, 401xx credentials and capabilities, 8xxxx connections, "
            "9xxxx channels; timeout: no answer came.",
            unit=Unit.MESSAGES_RATE,
            no_value="nothing refused",
            queries=(Query(REFUSED_BY_CODE, "{{code}}"),),
            stacked=True,
        ),
        Graph(
            title="Oldest unsent token, by partition",
            description="The ten worst. One line rising alone is one stuck partition: look for publish_retry in its owner's log. All rising "
            "together: the realtime service, or the key.",
            unit=Unit.SECONDS,
            no_value=NO_RELAY,
            queries=(Query(most(10, highest("tokenstream_oldest_unsent_seconds", by=PARTITION)), BY_PARTITION),),
            levels=Levels(bad=30, base=NEUTRAL.base),
        ),
        Graph(
            title="Relay lag, by partition",
            description="The ten worst. Records unread in Kafka; falls while a relay catches up.",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(Query(most(10, total(RELAY_LAG, by=PARTITION)), BY_PARTITION),),
        ),
    )


def reasons() -> tuple[Bars | Graph, ...]:
    return (
        Bars(
            title="What holds tokens back",
            description="All zero when all is well; from top to bottom, the first that is not zero is the likeliest cause of the rest.",
            unit=Unit.COUNT,
            no_value=NO_RELAY,
            queries=(
                Query(FAILING, "dependencies failing"),
                Query(NOT_CONNECTED, "connections not connected"),
                Query(gauge("tokenstream_paces_lowered", 'scope="connection"'), "connections slowed by refusals"),
                Query(gauge("tokenstream_paces_lowered", 'scope="channel"'), "channels slowed by refusals"),
                Query(gauge("tokenstream_paused_partitions"), "partitions paused, memory used up"),
                Query(
                    increase("tokenstream_transaction_retries_total", over="5m"), "Kafka transactions retried, 5 min"
                ),
                Query(increase("tokenstream_rebalances_total", over="5m"), "rebalances, 5 min"),
                Query(increase("tokenstream_event_loop_stalls_total", over="5m"), "event loop stalls, 5 min"),
                Query(increase("tokenstream_archive_failures_total", over="5m"), "failures to store, 5 min"),
            ),
            levels=Levels(watch=1, bad=10),
            width=12,
        ),
        Graph(
            title="Dependencies failing",
            description="Processes for which a dependency does not work, by dependency. What exactly: /readyz of the process.",
            unit=Unit.COUNT,
            no_value="no process",
            queries=(Query(FAILING_BY_DEPENDENCY, "{{dependency}}"),),
            stacked=True,
            width=6,
        ),
        Graph(
            title="Archive lag",
            description="Finished responses and snapshots not yet in the store. Readers who join late miss that much; live text is not touched.",
            unit=Unit.COUNT,
            no_value="no archive",
            queries=(Query(total(ARCHIVE_LAG), "records"),),
            width=6,
        ),
    )
