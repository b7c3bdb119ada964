"""Stores objects as files, durable when a write returns: it syncs the file, renames it, and syncs its directory.

Only the owner can read what is created here. A comparison and its write are one step for all processes of a machine,
under a lock.
"""

import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_FILE = ".tokenstream.lock"
STAGED = ".tokenstream.tmp"
"""Folder of files that are still being written. What a crash left there is removed by `sweep`."""
STAGED_SECONDS = 3600.0
WRITING = os.O_WRONLY | os.O_CREAT | os.O_EXCL


class Directory:
    """`root` is made when it is missing. Keys are relative paths that `object_names` made. All methods block."""

    def __init__(self, root: Path) -> None:
        """Raises OSError."""
        self._root = root
        if not root.is_dir():
            root.parent.mkdir(parents=True, exist_ok=True)
            root.mkdir(mode=0o700, exist_ok=True)

    def write(self, key: str, body: bytes | Path) -> None:
        """Raises OSError."""
        path = self._root / key
        staged = self._stage(body)
        try:
            self._make(path.parent)
            staged.replace(path)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise
        _sync(path.parent)

    def remove(self, key: str) -> None:
        """Does nothing when there is no such file. Raises OSError."""
        path = self._root / key
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return
        _sync(path.parent)

    @contextmanager
    def locked(self) -> Iterator[None]:
        lock = os.open(self._root / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def sweep(self) -> None:
        """Removes what writers that ended in the middle have left."""
        folder = self._root / STAGED
        if not folder.is_dir():
            return
        oldest = time.time() - STAGED_SECONDS
        for path in folder.iterdir():
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
            except FileNotFoundError:
                continue

    def _stage(self, body: bytes | Path) -> Path:
        self._make(self._root / STAGED)
        staged = self._root / STAGED / uuid.uuid4().hex
        try:
            with os.fdopen(os.open(staged, WRITING, 0o600), "wb") as file:
                if isinstance(body, Path):
                    with body.open("rb") as source:
                        while piece := source.read(2**20):
                            file.write(piece)
                else:
                    file.write(body)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            staged.unlink(missing_ok=True)
            raise
        return staged

    def _make(self, folder: Path) -> None:
        """With its parents, each durable."""
        if folder.is_dir():
            return
        self._make(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
