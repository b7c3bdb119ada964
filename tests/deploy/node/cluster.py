"""kubectl and helm, as a person at a terminal uses them, against the cluster that KUBECONFIG names."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from support.waiting import eventually

Object = dict[str, Any]


class CommandFailed(AssertionError):
    """Its message is the command, its exit code and its output."""


async def run(*command: str, given: str | None = None, deadline: float = 120.0) -> str:
    """What the command prints. Raises CommandFailed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE if given is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # where the kernel shares the processor out by sessions, it has its own share
    )
    try:
        async with asyncio.timeout(deadline):
            said, complained = await process.communicate(given.encode() if given is not None else None)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise CommandFailed(f"{' '.join(command)} did not end within {deadline:g} s") from None
    if process.returncode:
        raise CommandFailed(
            f"{' '.join(command)} ended with {process.returncode}:\n{complained.decode()}{said.decode()}"
        )
    return said.decode()


@dataclass(frozen=True, slots=True)
class Namespace:
    """One namespace of the cluster."""

    name: str

    async def kubectl(self, *arguments: str, given: str | None = None, deadline: float = 120.0) -> str:
        return await run("kubectl", "--namespace", self.name, *arguments, given=given, deadline=deadline)

    async def helm(self, *arguments: str, deadline: float = 700.0) -> str:
        return await run("helm", "--namespace", self.name, *arguments, deadline=deadline)

    async def apply(self, *objects: Object) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        await self.kubectl("apply", "--filename", "-", given=json.dumps(listed))

    async def get(self, kind: str, name: str) -> Object:
        found: Object = json.loads(await self.kubectl("get", kind, name, "--output", "json"))
        return found

    async def found(self, kinds: str, selector: str = "") -> list[Object]:
        arguments = ["get", kinds, "--output", "json", *(["--selector", selector] if selector else [])]
        items: list[Object] = json.loads(await self.kubectl(*arguments))["items"]
        return items

    async def pods(self, selector: str = "") -> list[Object]:
        return await self.found("pods", selector)

    async def rolled_out(self, kind_and_name: str, deadline: float = 400.0) -> None:
        await self.kubectl("rollout", "status", kind_and_name, f"--timeout={deadline:g}s", deadline=deadline + 10)

    async def logs(self, pod: str, container: str) -> str:
        return await self.kubectl("logs", pod, "--container", container)

    async def execute(self, pod: str, container: str, *command: str) -> str:
        return await self.kubectl("exec", pod, "--container", container, "--", *command)


async def create_namespace(name: str, labels: dict[str, str] | None = None) -> Namespace:
    metadata = {"name": name, "labels": labels or {}}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    await run("kubectl", "apply", "--filename", "-", given=json.dumps(body))
    namespace = Namespace(name)
    await eventually(lambda: _has_account(namespace), deadline=60, every=0.2)
    return namespace


async def _has_account(namespace: Namespace) -> bool:
    """Pods are refused until the namespace's default service account is there."""
    return any(one["metadata"]["name"] == "default" for one in await namespace.found("serviceaccounts"))


def is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def name_of(found: Object) -> str:
    name: str = found["metadata"]["name"]
    return name


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """How many seconds it took."""
    started = time.monotonic()
    await work()
    return time.monotonic() - started
