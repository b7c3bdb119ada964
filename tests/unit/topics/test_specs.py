from dataclasses import replace

import pytest

from topics.specs import ActualTopic, ConfigChange, TopicNames, TopicSpec, config_changes, differences, specs_for

MIB = 2**20
SPECS = specs_for(TopicNames(), max_response_bytes=4 * MIB)


def fitting(spec: TopicSpec) -> ActualTopic:
    return ActualTopic(spec.name, spec.partitions or 3, {**spec.configs(), "segment.bytes": "1073741824"})


def with_config(spec: TopicSpec, config: str, value: str) -> ActualTopic:
    topic = fitting(spec)
    return replace(topic, configs={**(topic.configs or {}), config: value})


def test_a_response_record_of_the_largest_size_fits_its_topic_with_64_kib_to_spare() -> None:
    assert SPECS.responses.max_message_bytes == 4 * MIB + 64 * 1024


def test_a_dead_letter_takes_any_token_record_and_64_kib_of_headers() -> None:
    specs = specs_for(TopicNames(), max_response_bytes=MIB, tokens_message_bytes=2 * MIB)
    assert specs.dead_letters.max_message_bytes == 2 * MIB + 64 * 1024


def test_the_size_of_token_records_is_left_to_the_broker() -> None:
    assert "max.message.bytes" not in SPECS.tokens.configs()


def test_responses_are_compacted_within_a_day_and_kept_for_a_week() -> None:
    assert SPECS.responses.configs() == {
        "cleanup.policy": "compact,delete",
        "retention.ms": "604800000",
        "max.compaction.lag.ms": "86400000",
        "max.message.bytes": str(4 * MIB + 65536),
    }


@pytest.mark.parametrize("spec", SPECS.all(), ids=lambda spec: spec.name)
def test_a_topic_as_specified_has_no_differences(spec: TopicSpec) -> None:
    assert differences(spec, fitting(spec)) == []


def test_a_missing_topic_is_one_difference() -> None:
    assert differences(SPECS.tokens, None) == ["Topic tokenstream.tokens does not exist, or may not be seen."]


def test_every_difference_is_a_sentence_of_its_own() -> None:
    topic = replace(with_config(SPECS.responses, "cleanup.policy", "delete"), partitions=7)
    topic = replace(topic, configs={**(topic.configs or {}), "retention.ms": "1000"})
    assert differences(SPECS.responses, topic) == [
        "Topic tokenstream.responses has 7 partitions, and should have 12.",
        "Topic tokenstream.responses: cleanup.policy is delete, and should be compact,delete.",
        "Topic tokenstream.responses: retention.ms is 1000, and should be 604800000.",
    ]


def test_the_order_of_cleanup_policies_does_not_matter() -> None:
    assert config_changes(SPECS.responses, with_config(SPECS.responses, "cleanup.policy", "delete, compact")) == []


def test_a_larger_message_limit_than_needed_is_left_alone() -> None:
    assert config_changes(SPECS.responses, with_config(SPECS.responses, "max.message.bytes", "99999999")) == []


def test_a_smaller_message_limit_than_needed_is_raised() -> None:
    assert config_changes(SPECS.dead_letters, with_config(SPECS.dead_letters, "max.message.bytes", "1048588")) == [
        ConfigChange("tokenstream.dead-letters", "max.message.bytes", "1048588", "1114124")
    ]


def test_configs_that_may_not_be_read_are_said_to_be_so_and_not_guessed_at() -> None:
    topic = ActualTopic(SPECS.tokens.name, 12, None)
    assert config_changes(SPECS.tokens, topic) == []
    assert differences(SPECS.tokens, topic) == [
        "Topic tokenstream.tokens: its configs may not be read (that takes DescribeConfigs on the topic)."
    ]


def test_frames_are_kept_for_fifteen_minutes_in_as_many_partitions_as_tokens() -> None:
    assert specs_for(TopicNames(), max_response_bytes=MIB).frames is None
    frames = specs_for(TopicNames(frames="f"), max_response_bytes=MIB, partitions=7).frames
    assert frames is not None
    assert frames.partitions == 7
    assert frames.configs() == {"cleanup.policy": "delete", "retention.ms": "900000", "segment.ms": "300000"}
