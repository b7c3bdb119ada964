"""The rows of the table: what is set up, what happens in it, and how exact the outcome must be."""

from dataclasses import dataclass, field
from typing import Literal

from devtools.faultlab import mix, sampling, scenarios
from devtools.faultlab.load import Shape
from devtools.faultlab.scenarios import Scenario, switched
from devtools.faultlab.stand import Setup


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the table, whatever is done in it.

    `exact`: nothing may be published twice either, for no owner crashed or was cut off, and no outage was that long.
    """

    name: str
    title: str
    exact: bool = True
    quick: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AblyRow(Row):
    """A row with the realtime service. `needs`: what must be built around it."""

    run: Scenario
    setup: Setup = field(default_factory=Setup)
    needs: frozenset[Literal["broker", "clock", "disk", "key", "proxy"]] = frozenset()


TWO = Setup(relays=2)
NO_PLAIN = Setup(plain=False)

ROWS = (
    AblyRow(name="calm", title="No fault at all", run=scenarios.steady, quick=True),
    AblyRow(
        name="refused-publishes",
        title="30 % of publishes refused (42911)",
        run=switched({"nack": {"share": 0.3, "code": 42911, "seed": 1}}),
        quick=True,
    ),
    AblyRow(
        name="real-limits",
        title="The real service's rate limits",
        run=scenarios.steady,
        setup=Setup(limits=True, shape=Shape(slots=24, channels=6, pause=0.02)),
    ),
    AblyRow(
        name="lost-acks",
        title="Acknowledgements lost",
        run=switched({"drop_ack": {"every": 100}}, {"drop_ack": {"every": 250}}),
    ),
    AblyRow(
        name="lost-publishes",
        title="Publishes lost",
        run=switched({"drop_publish": {"every": 100}}, {"drop_publish": {"every": 250}}),
    ),
    AblyRow(
        name="sockets-cut",
        title="Sockets cut, after a publish was accepted",
        run=switched({"cut": {"publishes": 150}}, {"cut": {"publishes": 350}}),
        quick=True,
    ),
    AblyRow(
        name="sockets-cut-before",
        title="Sockets cut, before a publish was accepted",
        run=switched({"cut": {"publishes": 150, "at": "before"}}, {"cut": {"publishes": 350, "at": "before"}}),
    ),
    AblyRow(
        name="disconnected-80003",
        title="DISCONNECTED 80003",
        run=switched(
            {"disconnected": {"publishes": 150, "code": 80003}}, {"disconnected": {"publishes": 350, "code": 80003}}
        ),
    ),
    AblyRow(
        name="disconnected-503",
        title="DISCONNECTED 50003, status 503",
        run=switched(
            {"disconnected": {"publishes": 150, "code": 50003, "status": 503}},
            {"disconnected": {"publishes": 350, "code": 50003, "status": 503}},
        ),
    ),
    AblyRow(
        name="disconnected-bare",
        title="DISCONNECTED without an error",
        run=switched(
            {"disconnected": {"publishes": 150, "code": None}}, {"disconnected": {"publishes": 350, "code": None}}
        ),
    ),
    AblyRow(
        name="connection-error",
        title="Connection ERROR (80000)",
        run=switched(
            {"error": {"publishes": 250, "code": 80000, "status": 400}},
            {"error": {"publishes": 600, "code": 80000, "status": 400}},
        ),
    ),
    AblyRow(
        name="refused-resumes",
        title="All connections disconnected, resumes refused (80018)",
        run=switched({"refuse_resume": {}, "disconnected": {"seconds": 5}}),
    ),
    AblyRow(
        name="slow-channel",
        title="One slow channel (ACKs after 1.5 s)",
        run=switched({"delay_ack": {"ms": 1500, "channel": "^chat:0$"}}),
    ),
    AblyRow(
        name="realtime-3-minutes",
        title="Realtime down for 3 minutes",
        run=scenarios.realtime_three_minutes,
        exact=False,
    ),
    AblyRow(
        name="memory",
        title="Realtime down for 150 s under a heavier load",
        run=sampling.sampled,
        setup=Setup(
            shape=Shape(pause=0.01, padding=150, shortest=400, longest=2000),
            settings={"MAX_BUFFERED_BYTES": "8MiB"},
        ),
        exact=False,
    ),
    AblyRow(
        name="kill-relay", title="kill -9 of a relay, 3 times", run=scenarios.killed_thrice, setup=TWO, exact=False
    ),
    AblyRow(name="stop-relay", title="SIGSTOP of the owner for 20 s", run=scenarios.frozen, exact=False),
    AblyRow(
        name="pauses",
        title="Five pauses of the only relay (SIGSTOP 20 s, SIGCONT 3.6 s)",
        run=scenarios.paused,
        setup=NO_PLAIN,
        exact=False,
    ),
    AblyRow(
        name="odd-answers",
        title="Answers to REST requests that are no answers, and a kill -9 of the relay",
        run=scenarios.odd_answers,
        setup=Setup(plain=False, settings={"ABLY_TRANSPORT": "rest"}),
        exact=False,
    ),
    AblyRow(
        name="cut-off",
        title="An owner cut off from the group's coordinator alone",
        run=scenarios.cut_off,
        exact=False,
        needs=frozenset({"proxy"}),
    ),
    AblyRow(name="rolling-restart", title="Rolling restart of three", run=scenarios.rolling, setup=Setup(relays=3)),
    AblyRow(name="drain", title="SIGTERM of the only relay, and a new start", run=scenarios.rolling, quick=True),
    AblyRow(
        name="broker-killed",
        title="kill -9 of the only broker",
        run=scenarios.broker_killed,
        needs=frozenset({"broker"}),
    ),
    AblyRow(
        name="broker-minute", title="Kafka down for a minute", run=scenarios.broker_minute, needs=frozenset({"broker"})
    ),
    AblyRow(
        name="channel-refused",
        title="A channel that refuses permanently (40160)",
        run=scenarios.channel_refused,
        setup=Setup(shape=Shape(longest=80)),
    ),
    AblyRow(
        name="key-refused",
        title="A refused key, then the right one",
        run=scenarios.key_mended,
        setup=Setup(unready=True),
        needs=frozenset({"key"}),
    ),
    AblyRow(
        name="poison",
        title="Poison among good records",
        run=scenarios.poisoned,
        quick=True,
    ),
    AblyRow(
        name="deleted-in-takeover",
        title="Responses deleted while their relay is killed",
        run=scenarios.deleted_in_a_takeover,
        # Short responses, seldom saved: of most that are deleted the successor reads the last tokens again.
        setup=Setup(
            plain=False,
            shape=Shape(slots=24, shortest=10, longest=60),
            settings={"SNAPSHOT_INTERVAL": "10"},
        ),
        exact=False,
    ),
    AblyRow(
        name="late-starts",
        title="Late copies of the starts of responses that have ended",
        run=scenarios.late_starts,
        setup=Setup(
            plain=False,
            settings={"FINISHED_TTL": f"{scenarios.FORGOTTEN / 2:.0f}", "IDLE_TIMEOUT": f"{scenarios.IDLE:.0f}"},
        ),
    ),
    AblyRow(
        name="strangers",
        title="Records of strangers: a header name that is no UTF-8, 100 KB cut off inside a string",
        run=scenarios.strangers,
        setup=NO_PLAIN,
    ),
    AblyRow(
        name="storage-minute",
        title="PostgreSQL down for a minute",
        run=scenarios.storage_minute,
        setup=Setup(plain=False, postgres=True),
    ),
    AblyRow(
        name="archive-killed", title="kill -9 of the archive, 3 times", run=scenarios.archive_killed, setup=NO_PLAIN
    ),
    AblyRow(
        name="disk-full",
        title="Disk of the SQLite store full for 20 s",
        run=scenarios.disk_full,
        setup=NO_PLAIN,
        needs=frozenset({"disk"}),
    ),
    AblyRow(
        name="clock-stepped",
        title="Wall clock stepped by hours, both ways",
        run=scenarios.clock_stepped,
        needs=frozenset({"clock"}),
    ),
    AblyRow(
        name="mix",
        title="All of it at random for 10 minutes",
        run=mix.mixed,
        setup=Setup(seed=20261123, relays=2, postgres=True),
        exact=False,
        needs=frozenset({"broker", "clock"}),
    ),
)
