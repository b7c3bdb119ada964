"""The upper bound to compare with: a loop that reads the tokens topic, decodes every record, and does nothing with it.

`python -m devtools.bench.bare_loop BOOTSTRAP TOPIC RECORDS` reads RECORDS records and prints the time that it took.
"""

import json
import os
import sys
import time

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer


async def read(bootstrap: str, topic: str, records: int) -> None:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    seen = tokens = 0
    began = time.monotonic()
    before = sum(os.times()[:2])
    while seen < records:
        for batch in (await consumer.getmany(max_records=5000, timeout_ms=1000)).values():
            for record in batch:
                tokens += orjson.loads(record.value)["event"] == "token"
            seen += len(batch)
    taken, cpu = time.monotonic() - began, sum(os.times()[:2]) - before
    print(json.dumps({"tokens": tokens, "seconds": taken, "cpu": cpu}), flush=True)
    await consumer.stop()


if __name__ == "__main__":
    uvloop.run(read(sys.argv[1], sys.argv[2], int(sys.argv[3])))
