"""A real Prometheus that scrapes processes of this machine every second, with the product's own rules."""

import contextlib
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from devtools.children import Child
from devtools.dashboards.boards import ROOT
from devtools.free_ports import free_ports
from devtools.waiting import eventually

RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"
SCRAPE_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Target:
    job: str
    pod: str
    port: int


@dataclass(frozen=True, slots=True)
class Series:
    """Points are (Unix time, value), without those that are not numbers."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Prometheus:
    address: str
    http: aiohttp.ClientSession
    child: Child

    async def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """Raises AssertionError with Prometheus' own words where it can't evaluate `expr`."""
        given = {"query": expr, "start": f"{start}", "end": f"{end}", "step": f"{step}"}
        found = await self._get("/api/v1/query_range", given)
        return [Series(one["metric"], numbers(one["values"])) for one in found["result"]]

    async def label_values(self, label: str, selector: str) -> list[str]:
        values: list[str] = await self._get(f"/api/v1/label/{label}/values", {"match[]": selector})
        return values

    async def rules(self) -> list[dict[str, Any]]:
        groups = (await self._get("/api/v1/rules", {}))["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def targets(self) -> list[dict[str, Any]]:
        active: list[dict[str, Any]] = (await self._get("/api/v1/targets", {"state": "active"}))["activeTargets"]
        return active

    async def is_ready(self) -> bool:
        self.child.check()
        with contextlib.suppress(aiohttp.ClientError):
            async with self.http.get(f"{self.address}/-/ready") as answer:
                return answer.status == 200
        return False

    async def _get(self, path: str, given: Mapping[str, str]) -> Any:
        async with self.http.get(f"{self.address}{path}", params=given) as answer:
            body = await answer.json()
        assert body["status"] == "success", f"{given}: {body.get('error')}"
        return body["data"]


def numbers(values: Sequence[tuple[float, str]]) -> list[tuple[float, float]]:
    return [(at, float(value)) for at, value in values if math.isfinite(float(value))]


def configuration(targets: Sequence[Target]) -> dict[str, Any]:
    """Labels as a Kubernetes that finds pods by itself would give them."""
    return {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": "5s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [
                    {"targets": [f"127.0.0.1:{one.port}"], "labels": {"namespace": "chat", "pod": one.pod}}
                    for one in targets
                    if one.job == job
                ],
            }
            for job in sorted({target.job for target in targets})
        ],
    }


@contextlib.asynccontextmanager
async def scraping(targets: Sequence[Target], directory: Path) -> AsyncIterator[Prometheus]:
    """Runs until left; ended by its process id, and with this process should that die."""
    config = directory / "prometheus.yaml"
    config.write_text(yaml.safe_dump(configuration(targets)))
    (port,) = free_ports(1)
    child = Child(
        "Prometheus",
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
        log=directory / "prometheus.log",
    )
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http:
        prometheus = Prometheus(f"http://127.0.0.1:{port}", http, child)
        await child.start()
        try:
            await eventually(prometheus.is_ready, deadline=30, every=0.1)
            yield prometheus
        finally:
            await child.stop()
