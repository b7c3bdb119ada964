"""A model service installs the package without the relay's dependencies."""

import subprocess
import sys

BLOCKED = """
import sys

class Blocker:
    allowed = {"topics", "aiokafka", "msgspec", "orjson", *sys.stdlib_module_names}

    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        # What aiokafka itself needs, and what it tries for codecs.
        if root in self.allowed or root in {"async_timeout", "typing_extensions", "packaging", "cramjam", "gssapi"}:
            return None
        raise ModuleNotFoundError(f"{name} is not installed here", name=name)

sys.meta_path.insert(0, Blocker())
from topics import ResponseRecord, Status, TokenProducer
import topics.codec

assert TokenProducer.__name__ == "TokenProducer"
for relay in ("ably", "faust", "pydantic", "aiohttp", "sqlalchemy", "structlog", "processor", "prometheus_client", "typer"):
    assert relay not in sys.modules, relay
"""


def test_the_producer_needs_nothing_of_the_relay() -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_records_and_codec_come_without_a_kafka_client() -> None:
    code = "import sys, topics, topics.codec; assert 'aiokafka' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
