"""The process board: CPU, memory, garbage collection, the event loop, restarts."""

from deploy.grafana.generator.model import Board, Graph, Levels, Panel, Query, Row, Stat, Unit
from deploy.grafana.generator.promql import gauge, highest, increase, quantile, rate, series, share, total
from deploy.grafana.generator.questions import BY_PROCESS, PROCESS

NO_PROCESS = "no process"


def board() -> Board:
    return Board(
        uid="tokenstream-process",
        title="tokenstream / Process",
        description="CPU, memory, garbage collection, the event loop and restarts of every process.",
        rows=(
            Row("Current values", now()),
            Row("Resources", resources()),
            Row("Event loop and garbage collection", loop_and_gc()),
            Row("Versions and restarts", versions()),
        ),
    )


def now() -> tuple[Stat, ...]:
    return (
        Stat(
            title="Processes",
            description="Processes of every role that answer scrapes.",
            unit=Unit.COUNT,
            no_value=NO_PROCESS,
            queries=(Query(gauge("tokenstream_build_info"), "processes"),),
        ),
        Stat(
            title="Restarts, 1 h",
            description="Restarts of processes in the last hour.",
            unit=Unit.COUNT,
            no_value=NO_PROCESS,
            queries=(Query(total(f"changes({series('process_start_time_seconds')}[1h])"), "restarts"),),
            levels=Levels(watch=1, bad=5),
        ),
        Stat(
            title="CPU",
            description="Cores used by all processes. A process uses at most one core: add processes before one reaches "
            "it.",
            unit=Unit.CORES,
            no_value=NO_PROCESS,
            queries=(Query(rate("process_cpu_seconds_total"), "cores"),),
            decimals=2,
        ),
        Stat(
            title="Memory, largest",
            description="Resident memory of the largest process.",
            unit=Unit.BYTES,
            no_value=NO_PROCESS,
            queries=(Query(highest("process_resident_memory_bytes"), "largest"),),
        ),
        Stat(
            title="Event loop lag, highest",
            description="Delay of the newest timer of the event loop, in the slowest process. Every token waits that "
            "long.",
            unit=Unit.SECONDS,
            no_value=NO_PROCESS,
            queries=(Query(highest("tokenstream_event_loop_lag_now_seconds"), "worst"),),
            levels=Levels(watch=0.05, bad=0.5),
        ),
        Stat(
            title="Event loop stalls, 1 h",
            description="Times in the last hour that an event loop was blocked for seconds.",
            unit=Unit.COUNT,
            no_value=NO_PROCESS,
            queries=(Query(increase("tokenstream_event_loop_stalls_total", over="1h"), "stalls"),),
            levels=Levels(watch=1, bad=10),
            decimals=0,
        ),
    )


def resources() -> tuple[Panel, ...]:
    return (
        Graph(
            title="CPU, by process",
            description="Cores used. Near 1, the event loop limits the process: add processes to the group.",
            unit=Unit.CORES,
            no_value=NO_PROCESS,
            queries=(Query(rate("process_cpu_seconds_total", by=PROCESS), BY_PROCESS),),
            levels=Levels(bad=0.9),
        ),
        Graph(
            title="Memory, by process",
            description="Resident memory. A line that only rises is a leak. MAX_BUFFERED_BYTES and MAX_TRANSCRIPT_BYTES "
            "bound a relay.",
            unit=Unit.BYTES,
            no_value=NO_PROCESS,
            queries=(Query(highest("process_resident_memory_bytes", by=PROCESS), BY_PROCESS),),
        ),
        Graph(
            title="File descriptors, share of the limit",
            description="Open files and sockets, as a share of the limit of the process.",
            unit=Unit.SHARE,
            no_value=NO_PROCESS,
            queries=(
                Query(
                    share(highest("process_open_fds", by=PROCESS), highest("process_max_fds", by=PROCESS)),
                    BY_PROCESS,
                ),
            ),
            levels=Levels(bad=0.8),
        ),
    )


def loop_and_gc() -> tuple[Panel, ...]:
    return (
        Graph(
            title="Event loop lag, p99",
            description="Delay of timers of the event loop. Above some milliseconds, code computes or blocks in it.",
            unit=Unit.SECONDS,
            no_value=NO_PROCESS,
            queries=(Query(quantile(0.99, "tokenstream_event_loop_lag_seconds", by=PROCESS), BY_PROCESS),),
            levels=Levels(bad=0.1),
        ),
        Graph(
            title="Garbage collections, by generation",
            description="Runs of Python's garbage collector. Those of the oldest generation are slow.",
            unit=Unit.RATE,
            no_value=NO_PROCESS,
            queries=(Query(rate("python_gc_collections_total", by=("generation",)), "generation {{generation}}"),),
        ),
        Graph(
            title="Objects collected",
            description="Objects in reference cycles that the garbage collector freed, and those that it could not free, "
            "which are a leak.",
            unit=Unit.RATE,
            no_value=NO_PROCESS,
            queries=(
                Query(rate("python_gc_objects_collected_total"), "collected"),
                Query(rate("python_gc_objects_uncollectable_total"), "uncollectable"),
            ),
        ),
    )


def versions() -> tuple[Panel, ...]:
    return (
        Graph(
            title="Processes, by version",
            description="Two versions at once: a rollout is in progress.",
            unit=Unit.COUNT,
            no_value=NO_PROCESS,
            queries=(Query(gauge("tokenstream_build_info", by=("version",)), "{{version}}"),),
            stacked=True,
            width=12,
        ),
        Graph(
            title="Uptime",
            description="Time since each process started. A sawtooth is a process that restarts repeatedly.",
            unit=Unit.SECONDS,
            no_value=NO_PROCESS,
            queries=(Query(f"time() - {highest('process_start_time_seconds', by=PROCESS)}", BY_PROCESS),),
            width=12,
        ),
    )
