"""Creates, corrects and checks the topics, with aiokafka's admin client.

Known defects of that client (0.14) that are handled here:

- It raises for almost nothing, so every answer's error code is read.
- `describe_topics(names)` asks the broker to *create* what is missing, so all topics are listed instead.
- `alter_configs` replaces every config of a topic (it does not support IncrementalAlterConfigs), so the previous ones
  are read and sent too.
  A config that someone else sets at that moment is lost.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaError,
    LeaderNotAvailableError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from processor.errors import KafkaUnavailable, TopicsUnfit
from processor.kafka.connection import KafkaConnection
from processor.kafka.unreachable import why_unreachable
from topics.specs import (
    DEFAULT_PARTITIONS,
    KAFKA_MESSAGE_BYTES,
    ActualTopic,
    ConfigChange,
    TopicNames,
    TopicSpec,
    TopicSpecs,
    config_changes,
    differences,
    specs_for,
)

APPLY = "`tokenstream topics apply`"
# config_source of a DescribeConfigs answer: set on the topic itself (KIP-226)
SET_ON_TOPIC = 1
BROKER_DEFAULT = -1
DEADLINE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class TopicsWanted:
    """`replication_factor` None is the broker's default."""

    names: TopicNames
    max_response_bytes: int
    replication_factor: int | None = None

    def specs(self, actual: "ActualTopics", partitions: int | None) -> TopicSpecs:
        specs = specs_for(
            self.names,
            max_response_bytes=self.max_response_bytes,
            partitions=partitions,
            tokens_message_bytes=actual.message_bytes(self.names.tokens),
        )
        has = None if self.names.frames is None else actual.partitions(self.names.frames)
        if specs.frames is not None and partitions is not None and has is not None and has > partitions:
            return replace(specs, frames=replace(specs.frames, partitions=has))  # more of them do no harm
        return specs


@dataclass(frozen=True, slots=True)
class ActualTopics:
    """What Kafka has of the wanted topics; `overrides` are the configs set on a topic itself."""

    topics: Mapping[str, ActualTopic]
    overrides: Mapping[str, Mapping[str, str]]

    def partitions(self, name: str) -> int | None:
        topic = self.topics.get(name)
        return topic.partitions if topic else None

    def message_bytes(self, name: str) -> int:
        topic = self.topics.get(name)
        configs = topic.configs if topic else None
        return int((configs or {}).get("max.message.bytes", KAFKA_MESSAGE_BYTES))


async def apply(
    connection: KafkaConnection,
    wanted: TopicsWanted,
    *,
    partitions: int | None = None,
    split_live_responses: bool = False,
) -> list[str]:
    """Create what is missing, correct what differs, and return a sentence for each change; none: nothing to do.

    Returns when a broker shows the changes, so that a `check` or a start right after it finds them.
    `partitions` is for `tokens` and `responses`; None keeps what is there, or is 12. An existing `tokens` grows only
    with `split_live_responses`: then responses that are open have their next tokens in another partition, where they
    look like tokens of a response that never started. Raises `TopicsUnfit` when that is refused, or Kafka refuses;
    `KafkaUnavailable` when no broker answers.
    """
    async with _admin(connection) as admin:
        actual = await _describe(admin, wanted.names)
        count = _partitions_to_have(wanted.names, actual, partitions, split_live_responses)
        changed: list[str] = []
        for names in ((wanted.names.tokens,), wanted.names.all()):  # tokens first: dead letters are sized by it
            specs = wanted.specs(actual, count)
            missing = [spec for spec in specs.all() if spec.name in names and spec.name not in actual.topics]
            changed += await _create(admin, missing, count, wanted.replication_factor)
            actual = await _described(admin, wanted.names, names)
        specs = wanted.specs(actual, count)
        changed += await _grow(admin, specs, actual)
        changed += await _correct(admin, specs, actual)
        while changed and not _is_as_wanted(specs, await _describe(admin, wanted.names)):
            await asyncio.sleep(0.1)  # brokers learn of a change a moment after it is made
        return changed


async def check(connection: KafkaConnection, wanted: TopicsWanted, *, partitions: int | None = None) -> list[str]:
    """A sentence for every difference; none means all is well. Changes nothing. Raises `KafkaUnavailable`."""
    async with _admin(connection) as admin:
        actual = await _describe(admin, wanted.names)
    count = partitions or actual.partitions(wanted.names.tokens)
    return _differences(wanted.specs(actual, count), actual)


async def verify_startup(connection: KafkaConnection, wanted: TopicsWanted) -> list[str]:
    """Refuse what can't work, and return a sentence for every other difference, for the log.

    Raises `TopicsUnfit` when a topic is missing, or `responses` has not as many partitions as `tokens`;
    `KafkaUnavailable` when no broker answers.
    """
    async with _admin(connection) as admin:
        actual = await _describe(admin, wanted.names)
    missing = [name for name in wanted.names.all() if name not in actual.topics]
    if missing:
        raise TopicsUnfit(
            f"Kafka at {connection.bootstrap_servers} does not have {_listed(missing)} (or does not let"
            f" {connection.username or 'this user'} see it): {APPLY} creates what is missing."
        )
    tokens, responses = actual.topics[wanted.names.tokens], actual.topics[wanted.names.responses]
    if tokens.partitions != responses.partitions:
        raise TopicsUnfit(
            f"Topic {tokens.name} has {tokens.partitions} partitions and {responses.name} has {responses.partitions};"
            f" there must be as many of both: {APPLY} adds what is missing."
        )
    return _differences(wanted.specs(actual, tokens.partitions), actual)


def _is_as_wanted(specs: TopicSpecs, actual: ActualTopics) -> bool:
    topics = [(spec, actual.topics.get(spec.name)) for spec in specs.all()]
    return all(
        topic is not None and spec.partitions in (None, topic.partitions) and not config_changes(spec, topic)
        for spec, topic in topics
    )


def _differences(specs: TopicSpecs, actual: ActualTopics) -> list[str]:
    return [sentence for spec in specs.all() for sentence in differences(spec, actual.topics.get(spec.name))]


def _partitions_to_have(names: TopicNames, actual: ActualTopics, asked: int | None, split: bool) -> int:
    tokens, responses = actual.partitions(names.tokens), actual.partitions(names.responses)
    count = asked or max(tokens or responses or DEFAULT_PARTITIONS, responses or 0)
    for name, has in ((names.tokens, tokens), (names.responses, responses)):
        if has and has > count:
            raise TopicsUnfit(f"Topic {name} has {has} partitions, and Kafka can't make that {count}: ask for {has}.")
    if tokens and tokens < count and not split:
        raise TopicsUnfit(
            f"Topic {names.tokens} has {tokens} partitions. Making that {count} splits responses that are open now:"
            f" wait until no response is open, then {APPLY} with --partitions {count} --split-live-responses."
        )
    return count


# Talking to Kafka


@asynccontextmanager
async def _admin(connection: KafkaConnection) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**connection.arguments(), request_timeout_ms=int(DEADLINE_SECONDS * 1000))
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await admin.start()
            yield admin
    except (KafkaError, TimeoutError) as failure:
        why = await why_unreachable(connection)
        raise KafkaUnavailable(
            why or f"Kafka at {connection.bootstrap_servers} did not do what was asked: {failure!r}."
        ) from failure
    finally:
        await admin.close()


async def _describe(admin: AIOKafkaAdminClient, names: TopicNames) -> ActualTopics:
    counts: dict[str, int] = {}
    for topic in await admin.describe_topics():
        name, code = topic["topic"], for_code(topic["error_code"])
        if name not in names.all() or code is UnknownTopicOrPartitionError:
            continue
        if code is not LeaderNotAvailableError:  # as for a moment after its creation
            _raise_for(topic["error_code"], f"Could not describe topic {name}")
        counts[name] = len(topic["partitions"])
    if not counts:
        return ActualTopics({}, {})
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in counts]
    configs: dict[str, dict[str, str]] = {}
    overrides: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs(resources):
        for code, _, _, name, entries in answer.resources:
            if for_code(code) is TopicAuthorizationFailedError:
                continue
            _raise_for(code, f"Could not read the configs of topic {name}")
            configs[name] = {entry[0]: entry[1] for entry in entries}
            overrides[name] = {entry[0]: entry[1] for entry in entries if entry[3] == SET_ON_TOPIC}
    topics = {name: ActualTopic(name, count, configs.get(name)) for name, count in counts.items()}
    return ActualTopics(topics, overrides)


async def _create(
    admin: AIOKafkaAdminClient, specs: list[TopicSpec], partitions: int, replication: int | None
) -> list[str]:
    if not specs:
        return []
    topics = [NewTopic(spec.name, partitions, 1, topic_configs=spec.configs()) for spec in specs]
    for topic in topics:
        topic.replication_factor = replication or BROKER_DEFAULT  # which NewTopic's constructor refuses
    answer = await admin.create_topics(topics)
    created: list[str] = []
    for name, code, message in answer.topic_errors:
        if for_code(code) is TopicAlreadyExistsError:
            continue  # somebody else was quicker; what differs is corrected next
        _raise_for(code, f"Could not create topic {name}", message)
        created.append(f"Topic {name}: created with {partitions} partitions.")
    return created


async def _described(admin: AIOKafkaAdminClient, names: TopicNames, until: Iterable[str]) -> ActualTopics:
    """As `_describe`, once every topic of `until` is there: brokers learn of a new topic a moment after its creation."""
    while True:
        actual = await _describe(admin, names)
        if all(name in actual.topics for name in until):
            return actual
        await asyncio.sleep(0.1)


async def _grow(admin: AIOKafkaAdminClient, specs: TopicSpecs, actual: ActualTopics) -> list[str]:
    grown: list[str] = []
    growing = (specs.responses, specs.tokens, specs.frames)  # responses first: there must never be fewer
    for spec in (each for each in growing if each is not None):
        has = actual.topics[spec.name].partitions
        if spec.partitions is not None and has < spec.partitions:
            await admin.create_partitions({spec.name: NewPartitions(spec.partitions)})
            grown.append(f"Topic {spec.name}: grown from {has} to {spec.partitions} partitions.")
    return grown


async def _correct(admin: AIOKafkaAdminClient, specs: TopicSpecs, actual: ActualTopics) -> list[str]:
    changes: list[ConfigChange] = []
    resources: list[ConfigResource] = []
    for spec in specs.all():
        of_topic = config_changes(spec, actual.topics[spec.name])
        if of_topic:
            configs = {**actual.overrides[spec.name], **{change.config: change.wanted for change in of_topic}}
            resources.append(ConfigResource(ConfigResourceType.TOPIC, spec.name, configs))
            changes += of_topic
    if resources:
        for answer in await admin.alter_configs(resources):
            for code, message, _, name in answer.resources:
                _raise_for(code, f"Could not change the configs of topic {name}", message)
    return [f"Topic {c.topic}: {c.config} set to {c.wanted} (was {c.was})." for c in changes]


def _raise_for(code: int, what: str, message: str | None = None) -> None:
    error = for_code(code)
    if code == 0:
        return
    failure = f"{what}: {error.__name__}{f' ({message})' if message else ''}."
    if getattr(error, "retriable", False):
        raise KafkaUnavailable(f"{failure} Try again.")
    raise TopicsUnfit(f"{failure} Use a Kafka user that may do it, or have an operator run {APPLY}.")


def _listed(names: list[str]) -> str:
    return f"topic {names[0]}" if len(names) == 1 else f"topics {', '.join(names[:-1])} and {names[-1]}"
