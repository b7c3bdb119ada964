"""Centrifugo as a process of a bench: its configuration, its Kafka consumer, and how it is started.

`make centrifugo` builds it from its Go module into the cache.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from devtools.bench.peer_produce import CHANNELS_HEADER
from devtools.children import Child
from devtools.free_ports import free_ports
from processor.errors import Fatal

VERSION = "6.9.1"
HOST = "127.0.0.1"
MANY = 10_000
QUEUE_BYTES = 256 * 1024 * 1024
"""Of one connection, beyond which Centrifugo ends it: more than a backlog of all channels."""


class PeerMissing(Fatal):
    """The peer's program is not in the cache."""


def program() -> Path:
    """Raises PeerMissing."""
    cache = Path(os.environ.get("CACHE_OF_TOKENSTREAM", Path.home() / ".cache" / "tokenstream"))
    found = cache / f"centrifugo-{VERSION}" / "centrifugo"
    if not found.exists():
        raise PeerMissing(f"There is no {found}. Run `make centrifugo`, which builds it.")
    return found


def configuration(bootstrap: str, topics: Sequence[str], group: str, port: int) -> dict[str, Any]:
    """The defaults, except what the task needs: anyone may subscribe, records come from Kafka, each channel keeps its records,
    and a connection may be behind by a backlog.
    """
    client = {"channel_limit": MANY, "recovery_max_publication_limit": MANY, "queue_max_size": QUEUE_BYTES}
    return {
        "client": {"insecure": True, **client},
        "http_server": {"address": HOST, "port": port},
        "log": {"level": "warn"},
        "channel": {
            "namespace_boundary": "//",
            "without_namespace": {"history_size": 1_000, "history_ttl": "300s", "force_recovery": True},
        },
        "consumers": [
            {
                "name": "bench",
                "enabled": True,
                "type": "kafka",
                "kafka": {
                    "brokers": [bootstrap],
                    "topics": list(topics),
                    "consumer_group": group,
                    "publication_data_mode": {"enabled": True, "channels_header": CHANNELS_HEADER},
                },
            }
        ],
    }


class Centrifugo:
    """One node with its memory engine. `endpoint` is where clients connect."""

    def __init__(self, directory: Path, bootstrap: str, topic: str) -> None:
        (port,) = free_ports(1)
        self.endpoint = f"{HOST}:{port}"
        file = directory / "centrifugo.json"
        file.write_text(json.dumps(configuration(bootstrap, [topic], f"{topic}.centrifugo", port)))
        self.child = Child("centrifugo", str(program()), "-c", str(file), log=directory / "centrifugo.log")
