"""The specification of the topics: names, partitions, configs, and the differences of an actual topic.

The purpose of each config:

- `tokens` are kept for a day: the time that the processor may be down without losing a token.
- `responses` are compacted (the newest record of a response remains) and dropped after a week. A record must hold a
  whole response, so `max.message.bytes` is the largest response and 64 KiB for the batch around it.
- `dead-letters` must hold any token record and the headers with the reason: 64 KiB more than `tokens` takes.
- `controls` are of use for minutes; they are kept for an hour.
- `frames` exist only with the transport `direct`. They are kept for as long as a reader may be away and continue: 15
  minutes. A topic deletes whole segments, so segments are closed every 5 minutes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
KIB = 1024

FRAMES_RETENTION_MS = 15 * MINUTE_MS

DEFAULT_PARTITIONS = 12
# Kafka's own default: 1 MiB and what a batch adds.
KAFKA_MESSAGE_BYTES = 1_048_588
# Room for headers, keys and the record batch around the largest value.
HEADROOM_BYTES = 64 * KIB


@dataclass(frozen=True, slots=True)
class TopicNames:
    tokens: str = "tokenstream.tokens"
    responses: str = "tokenstream.responses"
    dead_letters: str = "tokenstream.dead-letters"
    controls: str = "tokenstream.controls"
    frames: str | None = None
    """None where frames are not published to Kafka."""

    def all(self) -> tuple[str, ...]:
        frames = () if self.frames is None else (self.frames,)
        return (self.tokens, self.responses, self.dead_letters, self.controls, *frames)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """The specification of one topic. With `partitions` None, any number is correct. A config that is None is left to
    the broker.

    `max_message_bytes` is a minimum; the other configs are exact.
    """

    name: str
    partitions: int | None
    cleanup_policy: str
    retention_ms: int
    max_compaction_lag_ms: int | None = None
    max_message_bytes: int | None = None
    segment_ms: int | None = None

    def configs(self) -> dict[str, str]:
        """By Kafka's names, as Kafka takes them: strings."""
        wanted = {
            "cleanup.policy": self.cleanup_policy,
            "retention.ms": self.retention_ms,
            "max.compaction.lag.ms": self.max_compaction_lag_ms,
            "max.message.bytes": self.max_message_bytes,
            "segment.ms": self.segment_ms,
        }
        return {name: str(value) for name, value in wanted.items() if value is not None}


@dataclass(frozen=True, slots=True)
class TopicSpecs:
    tokens: TopicSpec
    responses: TopicSpec
    dead_letters: TopicSpec
    controls: TopicSpec
    frames: TopicSpec | None = None

    def all(self) -> tuple[TopicSpec, ...]:
        frames = () if self.frames is None else (self.frames,)
        return (self.tokens, self.responses, self.dead_letters, self.controls, *frames)


@dataclass(frozen=True, slots=True)
class ActualTopic:
    """The actual state of one topic. `configs` is None if they cannot be read."""

    name: str
    partitions: int
    configs: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class ConfigChange:
    topic: str
    config: str
    was: str
    wanted: str


def specs_for(
    names: TopicNames,
    *,
    max_response_bytes: int,
    partitions: int | None = DEFAULT_PARTITIONS,
    tokens_message_bytes: int = KAFKA_MESSAGE_BYTES,
) -> TopicSpecs:
    """The topics. `partitions` counts for `tokens` and `responses`, whose partitions belong together, and for
    `frames`; `tokens_message_bytes` is the `max.message.bytes` that `tokens` has, which is its operator's to choose.
    """
    return TopicSpecs(
        tokens=TopicSpec(names.tokens, partitions, "delete", DAY_MS),
        responses=TopicSpec(
            names.responses,
            partitions,
            "compact,delete",
            7 * DAY_MS,
            max_compaction_lag_ms=DAY_MS,
            max_message_bytes=max_response_bytes + HEADROOM_BYTES,
        ),
        dead_letters=TopicSpec(
            names.dead_letters, None, "delete", 14 * DAY_MS, max_message_bytes=tokens_message_bytes + HEADROOM_BYTES
        ),
        controls=TopicSpec(names.controls, None, "delete", HOUR_MS),
        frames=None
        if names.frames is None
        else TopicSpec(names.frames, partitions, "delete", FRAMES_RETENTION_MS, segment_ms=5 * MINUTE_MS),
    )


def differences(spec: TopicSpec, actual: ActualTopic | None) -> list[str]:
    """Returns a sentence for each difference between `actual` and `spec`."""
    if actual is None:
        return [f"Topic {spec.name} does not exist, or may not be seen."]
    found: list[str] = []
    if spec.partitions is not None and actual.partitions != spec.partitions:
        found.append(f"Topic {spec.name} has {actual.partitions} partitions, and should have {spec.partitions}.")
    if actual.configs is None:
        found.append(f"Topic {spec.name}: its configs may not be read (that takes DescribeConfigs on the topic).")
    found += [
        f"Topic {change.topic}: {change.config} is {change.was}, and should be {change.wanted}."
        for change in config_changes(spec, actual)
    ]
    return found


def config_changes(spec: TopicSpec, actual: ActualTopic) -> list[ConfigChange]:
    """What to set to make the configs fit; nothing where they may not be read."""
    if actual.configs is None:
        return []
    return [
        ConfigChange(spec.name, config, actual.configs.get(config, "unknown"), wanted)
        for config, wanted in spec.configs().items()
        if not _suffices(config, actual.configs.get(config), wanted)
    ]


def _suffices(config: str, actual: str | None, wanted: str) -> bool:
    if actual is None:
        return False
    match config:
        case "cleanup.policy":
            return _policies(actual) == _policies(wanted)
        case "max.message.bytes":
            return int(actual) >= int(wanted)
        case _:
            return actual == wanted


def _policies(value: str) -> set[str]:
    return {policy.strip() for policy in value.split(",")}
