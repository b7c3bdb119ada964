"""`/healthz`, `/readyz` and `/metrics`: the same for every role."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import monotonic

import structlog
from aiohttp import web

from processor.telemetry.log import redact, without_addresses
from processor.telemetry.metrics import Metrics

CHECK_SECONDS = 3.0
LOOK_SECONDS = 5.0
"""Between two looks for the `ready` gauge."""
FRESH_SECONDS = 1.0
"""`/readyz` answers from findings of this age at most. However many ask, no dependency is asked more often."""

log = structlog.stdlib.get_logger("tokenstream.health")

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
    def state(self) -> str:
        return f"{self.name}: ok" if self.trouble is None else f"{self.name}: failing"

    @property
    def line(self) -> str:
        return self.state if self.trouble is None else f"{self.state} - {' '.join(self.trouble.split())}"

    @property
    def line_for_strangers(self) -> str:
        return (
            self.state
            if self.trouble is None
            else f"{self.state} - {without_addresses(' '.join(self.trouble.split()))}"
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
    if trouble is not None:
        trouble = redact(trouble)
    return Finding(check.name, trouble, check.required)


def _log_change(finding: Finding) -> None:
    if finding.trouble is None:
        log.info("dependency_works", dependency=finding.name)
    else:
        log.warning("dependency_failing", dependency=finding.name, why=finding.trouble)


Checks = Callable[[], Sequence[Check]]


def no_checks() -> Sequence[Check]:
    return ()


class Health:
    """`checks` and `vitals` may change while the process runs, as roles start and stop.

    A check is about what the process depends on; a vital is about the process itself, and only a restart corrects it.
    With `for_strangers` the reasons in answers name no addresses of other systems, because anyone may reach the port.
    The log has the whole reasons.
    """

    def __init__(
        self,
        metrics: Metrics,
        checks: Checks,
        vitals: Checks = no_checks,
        *,
        for_strangers: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._metrics = metrics
        self._checks = checks
        self._vitals = vitals
        self._for_strangers = for_strangers
        self._clock = clock
        self._examining = asyncio.Lock()
        self._findings: Sequence[Finding] = ()
        self._examined: tuple[float, Sequence[Check]] | None = None

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/healthz", self.healthz)
        app.router.add_get("/readyz", self.readyz)
        app.router.add_get("/metrics", self.metrics)

    async def healthz(self, _request: web.Request) -> web.Response:
        """The event loop answers, and each role's task goes on; of what is outside nothing is asked."""
        dead = [finding for vital in self._vitals() if (finding := await look(vital)).trouble is not None]
        return web.Response(text=self._text(dead), status=503 if dead else 200)

    async def readyz(self, _request: web.Request) -> web.Response:
        findings = await self.examine(FRESH_SECONDS)
        failing = any(finding.trouble is not None and finding.required for finding in findings)
        return web.Response(text=self._text(findings), status=503 if failing else 200)

    def _text(self, findings: Sequence[Finding]) -> str:
        lines = (finding.line_for_strangers if self._for_strangers else finding.line for finding in findings)
        return "".join(f"{line}\n" for line in lines) or "ok\n"

    async def examine(self, fresh_seconds: float = 0.0) -> Sequence[Finding]:
        """Asks all checks and sets the metrics, unless these checks were asked less than `fresh_seconds` ago."""
        async with self._examining:
            checks = tuple(self._checks())
            if self._examined is not None:
                at, asked = self._examined
                if asked == checks and self._clock() - at < fresh_seconds:
                    return self._findings
            findings = await asyncio.gather(*(look(check) for check in checks))
            self._examined = (self._clock(), checks)
            self._show(findings)
            return findings

    def _show(self, findings: Sequence[Finding]) -> None:
        before = {finding.name: finding for finding in self._findings}
        for gone in before.keys() - {finding.name for finding in findings}:
            self._metrics.ready.remove(gone)
        for finding in findings:
            self._metrics.ready.labels(finding.name).set(finding.trouble is None)
            last = before.get(finding.name)
            if last is not None and (last.trouble is None) is not (finding.trouble is None):
                _log_change(finding)
        self._findings = findings

    async def keep_examining(self) -> None:
        """Updates the `ready` gauge without end, so that alerts on it do not depend on requests to `/readyz`."""
        while True:
            await self.examine()
            self._metrics.fold()
            await asyncio.sleep(LOOK_SECONDS)

    async def metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._metrics.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})
