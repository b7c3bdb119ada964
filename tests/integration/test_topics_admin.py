"""Against a real broker: what `tokenstream topics apply` and `check`, and the start of `run`, do with topics."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from devtools.deployment import names_after
from devtools.free_ports import free_ports
from devtools.kafka import LocalKafka
from processor.errors import KafkaUnavailable, TopicsUnfit
from processor.kafka.connection import KafkaConnection
from processor.kafka.topics_admin import TopicsWanted, apply, check, verify_startup
from support.secured import AUTHORIZED
from support.waiting import eventually
from topics.specs import TopicNames

MakeKafka = Callable[..., Awaitable[LocalKafka]]


@pytest.fixture
def connection(kafka: LocalKafka) -> KafkaConnection:
    return KafkaConnection(kafka.bootstrap)


@pytest.fixture
def wanted(topics_prefix: str) -> TopicsWanted:
    names = names_after(topics_prefix)
    return TopicsWanted(names, max_response_bytes=4 * 2**20)


@pytest.fixture
async def admin(kafka: LocalKafka) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await client.start()
    yield client
    await client.close()


async def partitions(admin: AIOKafkaAdminClient, name: str) -> int:
    return next(len(t["partitions"]) for t in await admin.describe_topics() if t["topic"] == name)


async def configs(admin: AIOKafkaAdminClient, name: str) -> dict[str, str]:
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    return {entry[0]: entry[1] for entry in answer.resources[0][4]}


async def set_configs(admin: AIOKafkaAdminClient, name: str, values: dict[str, str]) -> None:
    """All of the topic's configs: what is not in `values` goes back to the default. Returns when that can be seen."""
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, values)])

    async def shown() -> bool:
        return values.items() <= (await configs(admin, name)).items()

    await eventually(shown)


async def start_error(connection: KafkaConnection, wanted: TopicsWanted) -> str:
    """What a start is refused for; empty while it is not."""
    try:
        await verify_startup(connection, wanted)
    except TopicsUnfit as unfit:
        return str(unfit)
    return ""


async def both_there(admin: AIOKafkaAdminClient, names: TopicNames) -> bool:
    return {names.tokens, names.responses} <= set(await admin.list_topics())


async def test_apply_creates_the_four_topics_with_their_configs(
    connection: KafkaConnection, wanted: TopicsWanted, admin: AIOKafkaAdminClient
) -> None:
    assert await apply(connection, wanted) == [
        f"Topic {name}: created with 12 partitions." for name in wanted.names.all()
    ]
    responses = await configs(admin, wanted.names.responses)
    assert set(responses["cleanup.policy"].split(",")) == {"compact", "delete"}
    assert responses["max.message.bytes"] == str(4 * 2**20 + 65536)
    assert (await configs(admin, wanted.names.tokens))["retention.ms"] == "86400000"


async def test_a_second_apply_changes_nothing(connection: KafkaConnection, wanted: TopicsWanted) -> None:
    await apply(connection, wanted, partitions=3)
    assert await apply(connection, wanted) == []
    assert await check(connection, wanted) == []
    assert await verify_startup(connection, wanted) == []


async def test_check_has_a_line_per_difference_and_apply_mends_them(
    connection: KafkaConnection, wanted: TopicsWanted, admin: AIOKafkaAdminClient
) -> None:
    await apply(connection, wanted, partitions=1)
    names = wanted.names
    await set_configs(admin, names.responses, {"cleanup.policy": "delete"})
    await set_configs(admin, names.controls, {"retention.ms": "1"})
    found = [
        f"Topic {names.responses}: cleanup.policy is delete, and should be compact,delete.",
        f"Topic {names.responses}: max.compaction.lag.ms is 9223372036854775807, and should be 86400000.",
        f"Topic {names.responses}: max.message.bytes is 1048588, and should be 4259840.",
        f"Topic {names.controls}: retention.ms is 1, and should be 3600000.",
    ]
    assert await check(connection, wanted) == found
    assert await verify_startup(connection, wanted) == found
    assert len(await apply(connection, wanted)) == len(found)
    assert await check(connection, wanted) == []


async def test_correcting_a_config_keeps_the_others_set_on_the_topic(
    connection: KafkaConnection, wanted: TopicsWanted, admin: AIOKafkaAdminClient
) -> None:
    await apply(connection, wanted, partitions=1)
    await set_configs(admin, wanted.names.tokens, {"retention.ms": "1", "segment.bytes": "2097152"})
    assert await apply(connection, wanted) == [f"Topic {wanted.names.tokens}: retention.ms set to 86400000 (was 1)."]
    assert (await configs(admin, wanted.names.tokens))["segment.bytes"] == "2097152"


async def test_dead_letters_grow_with_the_message_limit_of_tokens(
    connection: KafkaConnection, wanted: TopicsWanted, admin: AIOKafkaAdminClient
) -> None:
    await apply(connection, wanted, partitions=1)
    await set_configs(admin, wanted.names.tokens, {"retention.ms": "86400000", "max.message.bytes": "5000000"})
    assert await apply(connection, wanted) == [
        f"Topic {wanted.names.dead_letters}: max.message.bytes set to 5065536 (was 1114124)."
    ]


async def test_tokens_grow_only_when_told_that_it_splits_live_responses(
    connection: KafkaConnection, wanted: TopicsWanted, admin: AIOKafkaAdminClient
) -> None:
    await apply(connection, wanted, partitions=2)
    with pytest.raises(TopicsUnfit, match="--split-live-responses"):
        await apply(connection, wanted, partitions=4)
    assert await partitions(admin, wanted.names.tokens) == 2
    assert await apply(connection, wanted, partitions=4, split_live_responses=True) == [
        f"Topic {wanted.names.responses}: grown from 2 to 4 partitions.",
        f"Topic {wanted.names.tokens}: grown from 2 to 4 partitions.",
    ]


async def test_fewer_partitions_than_there_are_is_refused(connection: KafkaConnection, wanted: TopicsWanted) -> None:
    await apply(connection, wanted, partitions=2)
    with pytest.raises(TopicsUnfit, match="has 2 partitions"):
        await apply(connection, wanted, partitions=1, split_live_responses=True)


async def test_a_start_is_refused_while_a_topic_is_missing(
    connection: KafkaConnection, wanted: TopicsWanted, admin: AIOKafkaAdminClient
) -> None:
    await admin.create_topics([NewTopic(wanted.names.tokens, 1, 1)])
    with pytest.raises(TopicsUnfit, match=rf"{wanted.names.responses}.*`tokenstream topics apply`"):
        await verify_startup(connection, wanted)


async def test_a_start_is_refused_with_unequal_partition_counts(
    connection: KafkaConnection, wanted: TopicsWanted, admin: AIOKafkaAdminClient
) -> None:
    await apply(connection, wanted, partitions=3)
    await admin.create_partitions({wanted.names.responses: NewPartitions(4)})
    refusal = await eventually(lambda: start_error(connection, wanted))
    assert f"{wanted.names.tokens} has 3 partitions and {wanted.names.responses} has 4" in refusal


async def test_apply_gives_responses_the_partitions_it_lacks(
    connection: KafkaConnection, wanted: TopicsWanted, admin: AIOKafkaAdminClient
) -> None:
    await admin.create_topics([NewTopic(wanted.names.tokens, 3, 1), NewTopic(wanted.names.responses, 2, 1)])
    await eventually(lambda: both_there(admin, wanted.names))
    assert f"Topic {wanted.names.responses}: grown from 2 to 3 partitions." in await apply(connection, wanted)
    assert await verify_startup(connection, wanted) == []


async def test_without_a_broker_it_is_said_that_kafka_is_unavailable(wanted: TopicsWanted) -> None:
    nobody = KafkaConnection(f"127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(KafkaUnavailable, match=nobody.bootstrap_servers):
        await verify_startup(nobody, wanted)


async def test_looking_at_topics_creates_none_even_where_clients_may(
    bare_kafka: MakeKafka, wanted: TopicsWanted
) -> None:
    broker = await bare_kafka(extra_properties={"auto.create.topics.enable": "true"})
    connection = KafkaConnection(broker.bootstrap)
    assert len(await check(connection, wanted)) == 4
    assert len(await check(connection, wanted)) == 4


async def test_users_are_told_what_kafka_does_not_let_them_do(bare_kafka: MakeKafka, wanted: TopicsWanted) -> None:
    broker = await bare_kafka(extra_listeners={"CLIENT": "SASL_PLAINTEXT"}, extra_properties=AUTHORIZED)
    operator, relay, stranger = (
        KafkaConnection(broker.listeners["CLIENT"], security_protocol="SASL_PLAINTEXT", username=name, password=name[0])
        for name in ("operator", "relay", "stranger")
    )
    await apply(operator, wanted, partitions=1)
    await broker.run_tool(
        "org.apache.kafka.tools.AclCommand",
        *("--bootstrap-server", broker.bootstrap, "--add", "--allow-principal", "User:relay"),
        *("--operation", "Read", "--topic", "*"),
    )
    readable = await eventually(lambda: warnings_of(relay, wanted))
    assert [sentence.partition(":")[2] for sentence in readable] == [
        " its configs may not be read (that takes DescribeConfigs on the topic)."
    ] * 4
    with pytest.raises(TopicsUnfit, match="does not let stranger see it"):
        await verify_startup(stranger, wanted)
    with pytest.raises(TopicsUnfit, match=r"Could not create topic .*TopicAuthorizationFailedError"):
        await apply(stranger, wanted)


async def warnings_of(connection: KafkaConnection, wanted: TopicsWanted) -> list[str]:
    """None until the broker knows its new access rules."""
    try:
        return await verify_startup(connection, wanted)
    except TopicsUnfit:
        return []
