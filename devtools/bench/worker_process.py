"""A process of the bench: gets its task as one line of JSON, answers with lines of JSON, and ends with the process
that started it.
"""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from devtools.children import tail, tied
from processor.errors import Fatal

LINE = 64 * 1024 * 1024
GOODBYE = 10.0


class WorkerFailed(Fatal):
    """A process of the bench ended, or did not answer in time; the message ends with the tail of its log."""


class WorkerProcess:
    """`async with WorkerProcess(module, order, log) as worker`: started; killed when left, if it has not ended by then."""

    def __init__(
        self, module: str, order: Mapping[str, Any], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._module = module
        self._order = order
        self._log = log
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(*tied(), sys.executable, "-m", self._module),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, **(self._environment or {})},
                start_new_session=True,
                limit=LINE,
            )
        await self.tell(self._order)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(0 if kind is not None else GOODBYE):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def tell(self, order: Mapping[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        await self._process.stdin.drain()

    async def answer(self, within: float) -> dict[str, Any]:
        """Returns the next line that it writes. Raises WorkerFailed."""
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(within):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise WorkerFailed(f"{self._module} did not answer within {within:g} s.\n{tail(self._log)}") from None
        if not line:
            code = await self._process.wait()
            raise WorkerFailed(f"{self._module} ended with code {code}.\n{tail(self._log)}")
        answer: dict[str, Any] = json.loads(line)
        return answer


async def orders() -> asyncio.StreamReader:
    """Yields the lines that a worker receives, in the worker itself."""
    reader = asyncio.StreamReader(limit=LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def next_order(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next line, or None when there will be no more."""
    line = await reader.readline()
    return json.loads(line) if line else None


def say(answer: Mapping[str, Any]) -> None:
    print(json.dumps(answer), flush=True)
