"""`/healthz`, `/readyz` and `/metrics`: the same for every role."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from aiohttp import web

from processor.metrics import Metrics

CHECK_SECONDS = 3.0
LOOK_SECONDS = 5.0
"""Between two looks for the `ready` gauge."""

Trouble = str | None
"""Why something does not work, a sentence; None where it does."""


@dataclass(frozen=True, slots=True)
class Check:
    """One dependency. `required`: this role can't work without it, so the process is not ready while it fails."""

    name: str
    ask: Callable[[], Trouble | Awaitable[Trouble]]
    required: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    trouble: Trouble
    required: bool

    @property
    def line(self) -> str:
        return (
            f"{self.name}: ok" if self.trouble is None else f"{self.name}: failing - {' '.join(self.trouble.split())}"
        )


async def look(check: Check) -> Finding:
    """Never raises, and returns within `CHECK_SECONDS`."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            answer = check.ask()
            trouble = await answer if inspect.isawaitable(answer) else answer
    except TimeoutError:
        trouble = f"no answer within {CHECK_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001 - whatever it raises, it does not work
        trouble = str(error) or type(error).__name__
    return Finding(check.name, trouble, check.required)


Checks = Callable[[], Sequence[Check]]


def no_checks() -> Sequence[Check]:
    return ()


class Health:
    """`checks` and `vitals` are asked at each request, so that roles may come and go.

    A check is about what the process depends on; a vital is about the process itself, and only a restart mends it.
    """

    def __init__(self, metrics: Metrics, checks: Checks, vitals: Checks = no_checks) -> None:
        self._metrics = metrics
        self._checks = checks
        self._vitals = vitals
        self._shown: set[str] = set()

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/healthz", self.healthz)
        app.router.add_get("/readyz", self.readyz)
        app.router.add_get("/metrics", self.metrics)

    async def healthz(self, _request: web.Request) -> web.Response:
        """The event loop answers, and each role's task goes on; of what is outside nothing is asked."""
        dead = [finding for vital in self._vitals() if (finding := await look(vital)).trouble is not None]
        return web.Response(text="".join(f"{each.line}\n" for each in dead) or "ok\n", status=503 if dead else 200)

    async def readyz(self, _request: web.Request) -> web.Response:
        findings = await self.examine()
        failing = any(finding.trouble is not None and finding.required for finding in findings)
        text = "".join(f"{finding.line}\n" for finding in findings)
        return web.Response(text=text or "ok\n", status=503 if failing else 200)

    async def examine(self) -> Sequence[Finding]:
        """Ask all checks, and show in the metrics what they say."""
        findings = await asyncio.gather(*(look(check) for check in self._checks()))
        names = {finding.name for finding in findings}
        for gone in self._shown - names:
            self._metrics.ready.remove(gone)
        self._shown = names
        for finding in findings:
            self._metrics.ready.labels(finding.name).set(finding.trouble is None)
        return findings

    async def keep_examining(self) -> None:
        """For ever: who alerts on the `ready` gauge need not ask `/readyz`."""
        while True:
            await self.examine()
            self._metrics.fold()
            await asyncio.sleep(LOOK_SECONDS)

    async def metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._metrics.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})
