"""The memory of the archive is bounded, however well what it reads was compressed."""

from pathlib import Path

import pytest

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from devtools.stores import opened
from support.archives import archive_process, producing, send
from support.records import record
from support.waiting import eventually

BOUND = 400 * 1024
"""KiB. The chart gives the archive 512 MiB."""
PARTITIONS, EACH = 4, 30
TEXT = "the same again and again " * 160_000
"""4 MB, of which Kafka holds some kilobytes: a fetch of 1 MiB brings all of a partition's."""


def peak(pid: int) -> int:
    """The most memory the process has had, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_long_answers_that_wait_take_bounded_memory(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    names, url = await make_topics(partitions=PARTITIONS), f"sqlite:///{tmp_path}/s.db"
    async with producing(kafka, compression_type="lz4") as producer:
        for number in range(PARTITIONS):
            for n in range(EACH):
                await send(producer, names.responses, [record(f"r-{number}-{n}", text=TEXT)], number)
    async with opened(url) as store, archive_process(kafka, names, url, tmp_path) as process:
        await process.start()

        async def stored() -> bool:
            assert await store.count() == PARTITIONS * EACH  # type: ignore[attr-defined]
            return True

        await eventually(stored, deadline=300, every=1)
        print(f"at most {peak(process.pid) // 1024} MiB")
        assert peak(process.pid) < BOUND
