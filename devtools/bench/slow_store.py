"""Makes a store slow: holds the lock of the SQLite file nearly all of the time.

`python -m devtools.bench.slow_store FILE` does so until it is ended.
"""

import sqlite3
import sys
import time

HELD, FREE = 0.9, 0.1
WAIT = 30.0


def hold(file: str) -> None:
    connection = sqlite3.connect(file, timeout=WAIT, isolation_level=None)
    while True:
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(HELD)
        connection.execute("COMMIT")
        time.sleep(FREE)


if __name__ == "__main__":
    hold(sys.argv[1])
