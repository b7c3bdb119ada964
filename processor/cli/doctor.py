"""`tokenstream doctor`: checks what a relay, an archive and an api need. Publishes nothing, and changes no topic."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from processor.ably.ably import AblyOptions
from processor.ably.diagnosis import NEEDED, NEEDED_TO_PROBE, RealtimeService, ServiceRefusal
from processor.archive.objects import ObjectStore
from processor.archive.stores import open_store
from processor.config.settings import Settings
from processor.errors import KafkaUnavailable, TokenstreamError
from processor.kafka.connection import KafkaConnection
from processor.kafka.topics_admin import TopicsWanted, check
from processor.ports.store import ResponseStore

APPLY = "Run `tokenstream topics apply`, or have an operator run it."
SIZES = "max.message.bytes"
MAX_SKEW_MS = 2_000.0
STORE_SECONDS = 20.0
WRITTEN_KEY = "doctor.txt"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line. `ok` is None if another line's failure prevented the check; `remedy` is what to do."""

    name: str
    ok: bool | None
    detail: str
    remedy: str = ""

    @classmethod
    def unseen(cls, name: str, why: str) -> "CheckResult":
        return cls(name, None, f"not looked at: {why}")


async def examine(
    settings: Settings, kafka: KafkaConnection, wanted: TopicsWanted, ably: AblyOptions | None, channel: str
) -> list[CheckResult]:
    """Returns all findings, in the order in which to correct them. Raises nothing for a failed check."""
    found = await asyncio.gather(
        kafka_findings(kafka, wanted),
        _transport_findings(settings, ably, channel),
        store_findings(settings.store_url),
    )
    return [finding for some in found for finding in some]


async def _transport_findings(settings: Settings, ably: AblyOptions | None, channel: str) -> list[CheckResult]:
    """With `direct` the frames topic, which is among the topics, is all that is needed."""
    if settings.realtime == "direct":
        return [CheckResult("transport", True, f"direct: frames are published to topic {settings.frames_topic}")]
    return await service_findings(ably, channel, settings.probe_channel)


async def kafka_findings(kafka: KafkaConnection, wanted: TopicsWanted) -> list[CheckResult]:
    try:
        differences = await check(kafka, wanted)
    except KafkaUnavailable as error:
        remedy = "Check TOKENSTREAM_KAFKA_BOOTSTRAP_SERVERS and the TOKENSTREAM_KAFKA_* security settings, and that brokers are up."
        return [
            CheckResult("kafka", False, str(error), remedy),
            CheckResult.unseen("topics", "Kafka does not answer"),
            CheckResult.unseen("sizes", "Kafka does not answer"),
        ]
    except TokenstreamError as error:
        return [
            CheckResult("kafka", True, f"{kafka.bootstrap_servers} answers"),
            CheckResult("topics", False, str(error), APPLY),
        ]
    sizes = [sentence for sentence in differences if SIZES in sentence]
    others = [sentence for sentence in differences if SIZES not in sentence]
    return [
        CheckResult("kafka", True, f"{kafka.bootstrap_servers} answers"),
        _all_well("topics", others, "all are as they should be", APPLY),
        _all_well("sizes", sizes, f"{SIZES} is large enough everywhere", APPLY),
    ]


def _all_well(name: str, wrong: Iterable[str], well: str, remedy: str) -> CheckResult:
    told = " ".join(wrong)
    return CheckResult(name, False, told, remedy) if told else CheckResult(name, True, well)


async def service_findings(options: AblyOptions | None, channel: str, probed: str | None = None) -> list[CheckResult]:
    names = ("service", "clock", "key", "capabilities", "history", *(("probe",) if probed else ()))
    if options is None:
        unset = CheckResult("key", False, "TOKENSTREAM_ABLY_KEY is not set", "Set it: the relay can't publish without.")
        return [unset if name == "key" else CheckResult.unseen(name, "there is no key") for name in names]
    try:
        service = RealtimeService(options)
        time = await service.time()
    except TokenstreamError as error:
        remedy = (
            "Check TOKENSTREAM_ABLY_ENDPOINT and TOKENSTREAM_ABLY_TLS, and that this machine may reach the service."
        )
        return [
            CheckResult("service", False, str(error), remedy),
            *(CheckResult.unseen(name, "no answer") for name in names[1:]),
        ]
    ahead = time.ahead_ms
    off = abs(ahead) > MAX_SKEW_MS + time.round_trip_ms / 2
    told = f"{abs(ahead) / 1000:.2f} s {'ahead of' if ahead > 0 else 'behind'} the service's"
    return [
        CheckResult("service", True, f"answers in {time.round_trip_ms:.0f} ms"),
        CheckResult(
            "clock", not off, told, "Have NTP set this machine's clock: delivery times are wrong." if off else ""
        ),
        *await _key_findings(service, channel, probed),
    ]


async def _key_findings(service: RealtimeService, channel: str, probed: str | None) -> list[CheckResult]:
    try:
        await service.connect()
    except ServiceRefusal as error:
        remedy = "Take a key of the app that is in force, whole as the dashboard shows it, as TOKENSTREAM_ABLY_KEY."
        return [
            CheckResult("key", False, str(error), remedy),
            CheckResult.unseen("capabilities", "the key does not work"),
            CheckResult.unseen("history", "the key does not work"),
            *([CheckResult.unseen("probe", "the key does not work")] if probed else ()),
        ]
    questions = [_capabilities(service, channel), _history(service, channel)]
    if probed:
        questions.append(_probe(service, probed))
    return [CheckResult("key", True, "connects"), *await asyncio.gather(*questions)]


async def _capabilities(service: RealtimeService, channel: str) -> CheckResult:
    remedy = f"Give the key {' and '.join(NEEDED)} on the channels used; --channel names another one to ask about."
    try:
        granted = await service.granted(channel)
    except ServiceRefusal as error:
        return CheckResult("capabilities", False, f"on {channel}: {error}", remedy)
    lacking = [operation for operation in NEEDED if operation not in granted]
    if lacking:
        return CheckResult("capabilities", False, f"on {channel} the key lacks {', '.join(lacking)}", remedy)
    return CheckResult("capabilities", True, f"{', '.join(NEEDED)} on {channel}")


async def _probe(service: RealtimeService, channel: str) -> CheckResult:
    remedy = f"Give the key {' and '.join(NEEDED_TO_PROBE)} on that channel, or unset TOKENSTREAM_PROBE_CHANNEL."
    try:
        granted = await service.granted(channel, NEEDED_TO_PROBE)
    except ServiceRefusal as error:
        return CheckResult("probe", False, f"on {channel}: {error}", remedy)
    if not granted:
        return CheckResult("probe", False, f"{channel} can't be followed with this key", remedy)
    return CheckResult("probe", True, f"{channel} can be followed")


async def _history(service: RealtimeService, channel: str) -> CheckResult:
    try:
        await service.read_history(channel)
    except ServiceRefusal as error:
        return CheckResult(
            "history",
            False,
            f"of {channel}: {error}",
            "Without it a takeover may repeat frames: give the key `history`.",
        )
    return CheckResult("history", True, f"of {channel} can be read")


async def store_findings(url: str) -> list[CheckResult]:
    remedy = "Check TOKENSTREAM_STORE_URL, that the store is up, and that its user or directory may be written."
    try:
        store = open_store(url)
        try:
            async with asyncio.timeout(STORE_SECONDS):
                await store.start()
                await _write_nothing(store)
        finally:
            await store.close()
    except (TokenstreamError, OSError) as error:
        return [CheckResult("store", False, str(error), remedy)]
    except TimeoutError:
        return [CheckResult("store", False, f"no answer within {STORE_SECONDS:g} s", remedy)]
    return [CheckResult("store", True, "can be written")]


async def _write_nothing(store: ResponseStore) -> None:
    """A write that changes nothing: an object that is removed again, or responses deleted from before 1970, on no channel."""
    if isinstance(store, ObjectStore):
        await store.bucket.put(WRITTEN_KEY, b"written and removed by tokenstream doctor\n")
        await store.bucket.delete(WRITTEN_KEY)
    else:
        await store.prune(older_than=0, channel=lambda _name: False, dry_run=False)
