"""Draining the one node: what is evicted waits until the node takes pods again."""

import asyncio

from deploy.node.cluster import Namespace, run
from support.waiting import eventually


async def drained(namespace: Namespace, selector: str) -> int:
    """Drain the node, let it take pods again once one of these waits, and return how many evictions a budget held back."""
    command = ("kubectl", "drain", "node", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=600s")
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )

    async def one_waits() -> bool:
        return any(pod["status"]["phase"] == "Pending" for pod in await namespace.pods(selector))

    draining = asyncio.create_task(process.communicate())
    await eventually(one_waits, deadline=300, every=0.2)
    await run("kubectl", "uncordon", "node")
    said, _ = await draining
    assert process.returncode == 0, said.decode()
    return said.decode().count("disruption budget")
