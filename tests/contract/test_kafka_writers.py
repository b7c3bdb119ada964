"""Tests every implementation of the writer and the readers of `processor.ports.log`."""

import asyncio
from collections.abc import Sequence
from random import Random

import pytest

from processor.core.backoff import Backoff
from processor.errors import KafkaUnavailable, PartitionLost, RecordTooLarge
from processor.ports.log import Record
from processor.telemetry.retry import Retry
from support.kafka_scenarios import Play, becomes, started
from support.kafka_stages import KafkaStage

# Writing and reading back


def record(stage: KafkaStage, key: bytes, value: bytes | None, partition: int = 0) -> Record:
    return Record(stage.responses_topic, partition, key, value, ())


async def read(
    stage: KafkaStage, start: int = 0, *, only: bool = False
) -> tuple[int, list[tuple[int, bytes, bytes | None]]]:
    reader, found = stage.responses(), []
    end = await reader.read(0, start, lambda *one: found.append(one), only=only)
    await reader.close()
    return end, found


async def keys(stage: KafkaStage) -> list[bytes]:
    return [key for _, key, _ in (await read(stage))[1]]


async def values(stage: KafkaStage) -> list[bytes | None]:
    return [value for _, _, value in (await read(stage))[1]]


async def committed(stage: KafkaStage, number: int = 0) -> tuple[int, str] | None:
    """Reads it as a takeover does: a broker that has just started may not know its group coordinator yet."""
    reader = stage.offsets()
    retry = Retry(Backoff(first=0.1, cap=1.0), lambda: 0.5, lambda: None)
    try:
        async with asyncio.timeout(20):
            return await retry.until_done(lambda: reader.read(number), KafkaUnavailable, lambda *_: None)
    finally:
        await reader.close()


def test_where_nothing_was_committed_there_is_none(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        assert await committed(stage) is None
        assert await read(stage) == (0, [])

    on_stage(scenario)


def test_records_and_offset_are_written_together(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        writer, offsets = await started(stage, 0), list[Sequence[int]]()

        def commit(written: Sequence[int]) -> tuple[int, str]:
            offsets.append(list(written))
            return 7, "metadata"

        records = [record(stage, b"r1", b"{}"), record(stage, b"r2", None)]
        assert await writer.write(records, commit) == (7, "metadata")
        assert offsets == [[0, 1]]
        await becomes(lambda: committed(stage), (7, "metadata"))
        assert await committed(stage, 1) is None
        await becomes(lambda: keys(stage), [b"r1", b"r2"])
        end, found = await read(stage)
        assert found == [(0, b"r1", b"{}"), (1, b"r2", None)]
        assert end in {2, 3}, "the end of the records, or of the marker"
        await writer.stop()
        await writer.stop()
        assert not writer.started

    on_stage(scenario)


def test_a_transaction_without_records_commits_an_offset(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        writer = await started(stage, 1)
        assert await writer.write([], lambda written: (len(written), "m")) == (0, "m")
        await becomes(lambda: committed(stage, 1), (0, "m"))
        await writer.stop()

    on_stage(scenario)


def test_a_stretch_of_records_is_read_from_its_start(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        writer = await started(stage, 0)
        for number in range(3):
            await writer.write([record(stage, b"r%d" % number, b"{}")], lambda _: (1, ""))
        await writer.stop()
        await becomes(lambda: keys(stage), [b"r0", b"r1", b"r2"])
        _, found = await read(stage)
        offsets = [offset for offset, _, _ in found]
        assert [key for _, key, _ in (await read(stage, offsets[1]))[1]] == [b"r1", b"r2"]
        assert [key for _, key, _ in (await read(stage, offsets[1], only=True))[1]] == [b"r1"]
        assert (await read(stage, offsets[2] + 1))[1] == []
        await stage.trim(stage.responses_topic, 0, offsets[2])
        assert [key for _, key, _ in (await read(stage))[1]] == [b"r2"]

    on_stage(scenario)


def test_a_later_writer_fences_an_earlier_one(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        first = await started(stage, 0)
        await first.write([record(stage, b"r", b"1")], lambda _: (1, "first"))
        second = await started(stage, 0)
        with pytest.raises(PartitionLost):
            await first.write([record(stage, b"r", b"2")], lambda _: (9, "stale"))
        assert not first.started
        await second.write([record(stage, b"r", b"3")], lambda _: (2, "second"))
        await becomes(lambda: committed(stage), (2, "second"))
        await becomes(lambda: values(stage), [b"1", b"3"])
        await second.stop()

    on_stage(scenario)


def test_writers_of_other_partitions_are_left_alone(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        first, second = await started(stage, 0), await started(stage, 1)
        await first.write([], lambda _: (1, "a"))
        await second.write([], lambda _: (2, "b"))
        await becomes(lambda: committed(stage, 0), (1, "a"))
        await becomes(lambda: committed(stage, 1), (2, "b"))
        await first.stop()
        await second.stop()

    on_stage(scenario)


def test_what_fails_inside_a_transaction_leaves_nothing(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        writer = await started(stage, 0)

        def fails(_: Sequence[int]) -> tuple[int, str]:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await writer.write([record(stage, b"r", b"lost")], fails)
        assert not writer.started
        with pytest.raises(KafkaUnavailable):
            await writer.write([], lambda _: (1, ""))
        await writer.start()
        await writer.write([record(stage, b"r", b"kept")], lambda _: (1, "kept"))
        await becomes(lambda: committed(stage), (1, "kept"))
        await becomes(lambda: values(stage), [b"kept"])
        await writer.stop()

    on_stage(scenario)


def test_while_kafka_is_cut_off_writers_and_readers_say_so(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        writer, offsets, responses = stage.writer_of(0), stage.offsets(), stage.responses()
        stage.cut()
        with pytest.raises(KafkaUnavailable):
            await writer.start()
        assert not writer.started
        with pytest.raises(KafkaUnavailable):
            await offsets.read(0)
        with pytest.raises(KafkaUnavailable):
            await responses.read(0, 0, lambda *_: None)
        stage.restore()
        await writer.start()
        await writer.write([record(stage, b"r", b"{}")], lambda _: (1, "m"))
        await becomes(lambda: committed(stage), (1, "m"))
        await becomes(lambda: keys(stage), [b"r"])
        for each in (offsets, responses, offsets):
            await each.close()
        await writer.stop()

    on_stage(scenario)


def test_a_record_over_its_topics_limit_is_refused_with_its_transaction(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        await stage.limit_responses(20_000)
        writer, large = await started(stage, 0), Random(1).randbytes(30_000)  # nothing that compression makes small
        small = record(stage, b"small", b"{}")
        for order in (1, -1):
            with pytest.raises(RecordTooLarge) as refused:
                await writer.write([record(stage, b"large", large), small][::order], lambda _: (9, "lost"))
            assert (refused.value.topic, refused.value.size) == (stage.responses_topic, 30_005)
            assert not writer.started
            await writer.start()
        await writer.write([small], lambda _: (1, "kept"))
        await becomes(lambda: committed(stage), (1, "kept"))
        await becomes(lambda: keys(stage), [b"small"])
        await writer.stop()

    on_stage(scenario)
