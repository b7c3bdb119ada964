"""The archive's board: whether finished responses reach the store, and readers get them from it."""

from deploy.grafana.generator.model import Board, Graph, Heat, Levels, Panel, Query, Row, Stat, Unit
from deploy.grafana.generator.promql import RARE, increase, quantile, rate, series, share, total
from deploy.grafana.generator.questions import ARCHIVE_LAG, BY_PARTITION, PARTITION, most

NO_ARCHIVE = "no archive"
NO_API = "no api"
NO_GATEWAY = "no gateway"
API_REQUESTS = rate("tokenstream_api_requests_total")
API_ERRORS = rate("tokenstream_api_requests_total", 'status=~"5.."')


def board() -> Board:
    return Board(
        uid="tokenstream-archive",
        title="tokenstream / Archive",
        description="Whether finished responses reach the store, with which delay, and the requests of readers.",
        rows=(
            Row("Current values", now()),
            Row("Storing", storing()),
            Row("Reading", reading()),
            Row("Streams of gateways", streams()),
        ),
    )


def now() -> tuple[Stat, ...]:
    return (
        Stat(
            title="Archive lag",
            description="Records of the responses topic that are not in the store yet.",
            unit=Unit.COUNT,
            no_value=NO_ARCHIVE,
            queries=(Query(total(ARCHIVE_LAG), "records"),),
            levels=Levels(watch=1_000, bad=10_000),
        ),
        Stat(
            title="Stored",
            description="Records upserted: snapshots and finished responses.",
            unit=Unit.RECORDS_RATE,
            no_value=NO_ARCHIVE,
            queries=(Query(rate("tokenstream_archived_total"), "stored"),),
            decimals=1,
        ),
        Stat(
            title="Batch, p99",
            description="Time to store a batch, retries included.",
            unit=Unit.SECONDS,
            no_value="nothing stored",
            queries=(Query(quantile(0.99, "tokenstream_archive_seconds"), "p99"),),
            levels=Levels(watch=1, bad=5),
        ),
        Stat(
            title="Failed attempts, 1 h",
            description="Attempts to store a batch that failed in the last hour. Each is retried until it succeeds.",
            unit=Unit.COUNT,
            no_value=NO_ARCHIVE,
            queries=(Query(increase("tokenstream_archive_failures_total", over="1h"), "failed"),),
            levels=Levels(watch=1, bad=60),
            decimals=0,
        ),
        Stat(
            title="Refused by the store, 1 h",
            description="Records that the store cannot hold, written to the dead letters in the last hour.",
            unit=Unit.COUNT,
            no_value=NO_ARCHIVE,
            queries=(
                Query(increase("tokenstream_dead_letters_total", 'reason="store_refused"', over="1h"), "refused"),
            ),
            levels=Levels(bad=1),
            decimals=0,
        ),
        Stat(
            title="API errors",
            description="Share of API requests answered with status 500 or higher.",
            unit=Unit.SHARE,
            no_value="no requests",
            queries=(Query(share(API_ERRORS, API_REQUESTS), "errors"),),
            levels=Levels(watch=0.001, bad=0.01),
        ),
    )


def storing() -> tuple[Panel, ...]:
    return (
        Graph(
            title="Stored, by status",
            description="Records upserted. `streaming` are snapshots of open responses, for readers who join late.",
            unit=Unit.RECORDS_RATE,
            no_value=NO_ARCHIVE,
            queries=(Query(rate("tokenstream_archived_total", by=("status",)), "{{status}}"),),
            stacked=True,
        ),
        Graph(
            title="Written by the relay",
            description="Snapshots written to the responses topic, and responses ended: the load that the archive "
            "follows.",
            unit=Unit.RECORDS_RATE,
            no_value="no relay",
            queries=(
                Query(rate("tokenstream_snapshots_total"), "snapshots"),
                Query(rate("tokenstream_responses_finished_total"), "ended"),
            ),
            stacked=True,
        ),
        Graph(
            title="Archive lag, by partition",
            description="The ten highest. If all rise, the store is unavailable or slow. If one rises, the store cannot "
            "take one record in time.",
            unit=Unit.COUNT,
            no_value=NO_ARCHIVE,
            queries=(Query(most(10, total(ARCHIVE_LAG, by=PARTITION)), BY_PARTITION),),
            levels=Levels(bad=10_000),
        ),
        Graph(
            title="Batch duration",
            description="Time to store a batch, retries included. In an outage a batch takes as long as the outage.",
            unit=Unit.SECONDS,
            no_value="nothing stored",
            queries=tuple(
                Query(quantile(part, "tokenstream_archive_seconds"), name)
                for part, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
            ),
        ),
        Heat(
            title="Batch duration, distribution",
            description="Number of batches by the time to store them.",
            unit=Unit.SECONDS,
            no_value="nothing stored",
            queries=(Query(rate("tokenstream_archive_seconds_bucket", by=("le",)), "{{le}}"),),
        ),
        Graph(
            title="Failed attempts, refused records",
            description="Attempts to store that failed and are retried, and records that the store refuses permanently.",
            unit=Unit.RATE,
            no_value=NO_ARCHIVE,
            queries=(
                Query(rate("tokenstream_archive_failures_total"), "failed attempts"),
                Query(rate("tokenstream_dead_letters_total", 'reason="store_refused"'), "refused records"),
            ),
        ),
    )


def reading() -> tuple[Panel, ...]:
    return (
        Graph(
            title="API requests, by route",
            description="Requests of browsers and services.",
            unit=Unit.REQUESTS_RATE,
            no_value=NO_API,
            queries=(Query(f"{rate('tokenstream_api_requests_total', by=('route',))} > 0", "{{route}}"),),
            stacked=True,
        ),
        Graph(
            title="API answers, by status",
            description="401 and 403: credentials. 503 and 504: the store does not answer in time.",
            unit=Unit.REQUESTS_RATE,
            no_value=NO_API,
            queries=(Query(f"{rate('tokenstream_api_requests_total', by=('status',))} > 0", "{{status}}"),),
            stacked=True,
        ),
        Graph(
            title="Probe: stop to stored",
            description="Time from the producer of a probe stop to its finished record in the store: after it, a reload "
            "has the whole response.",
            unit=Unit.SECONDS,
            no_value="no probe",
            queries=tuple(
                Query(quantile(part, "tokenstream_probe_store_seconds", over=RARE), name)
                for part, name in ((0.5, "p50"), (0.99, "p99"))
            ),
        ),
    )


def streams() -> tuple[Panel, ...]:
    return (
        Graph(
            title="Readers",
            description="Readers connected to gateways (REALTIME=direct). A gateway has at most GATEWAY_MAX_CLIENTS.",
            unit=Unit.COUNT,
            no_value=NO_GATEWAY,
            queries=(Query(total(series("tokenstream_gateway_clients")), "readers"),),
        ),
        Graph(
            title="Events and resets",
            description="Events written to readers, and readers that lost their position and received snapshots again "
            "because their connections are slow.",
            unit=Unit.RATE,
            no_value=NO_GATEWAY,
            queries=(
                Query(rate("tokenstream_gateway_events_total"), "events"),
                Query(rate("tokenstream_gateway_resets_total"), "resets"),
            ),
        ),
        Heat(
            title="Delivery to the socket",
            description="Time from the `ts` of a token until its frame is written to the socket of the last reader.",
            unit=Unit.SECONDS,
            no_value=NO_GATEWAY,
            queries=(Query(rate("tokenstream_gateway_delivery_seconds_bucket", by=("le",)), "{{le}}"),),
        ),
    )
