"""One broker for all processes of a test run: the first that asks starts it, and ends it once no other uses it."""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from devtools.kafka import LocalKafka

POLL_SECONDS = 0.1
FEW_THREADS = {"metadata.max.idle.interval.ms": "0", "num.io.threads": "3", "background.threads": "2"}
"""Properties for brokers of tests: several share two cores, and an idle one takes a third less processor time."""


def shared_kafka(folder: Path) -> tuple[LocalKafka, Callable[[], None]]:
    """Returns the broker of the run whose processes share `folder`, and what a process calls when it is done with it.

    The one who started it then waits for the others: the broker dies with its process. Locks are the kernel's, so the
    end of a process, whatever it is, releases them.
    """
    address = folder / "kafka"
    users = (folder / "kafka.users").open("a")
    with _locked(folder / "kafka.starting"):
        fcntl.flock(users, fcntl.LOCK_SH)
        if address.exists():
            port, pid, data = address.read_text().split(maxsplit=2)
            return LocalKafka(port=int(port), pid=int(pid), data=Path(data)), users.close
        broker = LocalKafka(extra_properties=FEW_THREADS)
        broker.start_blocking()
        address.write_text(f"{broker.port} {broker.pid} {broker.data}")

    def close() -> None:
        while not _is_last(users, folder / "kafka.starting", address):
            time.sleep(POLL_SECONDS)
        users.close()
        broker.close_blocking()

    return broker, close


def _is_last(users: IO[str], starting: Path, address: Path) -> bool:
    """Returns True, and lets the next who asks start another, where only this process uses the broker."""
    with _locked(starting):
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(users, fcntl.LOCK_SH)  # a lock that is not converted is lost
            return False
        address.unlink()
        return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
