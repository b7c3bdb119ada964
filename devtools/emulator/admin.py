"""The admin interface, enabled on request: fault switches, statistics, and what was really published."""

import json
from collections.abc import Mapping
from dataclasses import asdict

from aiohttp import web

from devtools.emulator import wire
from devtools.emulator.links import Links
from devtools.emulator.switches import FaultSwitches
from devtools.emulator.wire import Format, Message


class Admin:
    """`log` holds every message accepted on each channel, in order, as it was published."""

    def __init__(self, links: Links, switches: FaultSwitches, log: Mapping[str, list[Message]]) -> None:
        self._links = links
        self._switches = switches
        self._log = log

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/admin/faults", self._add),
            web.get("/admin/faults", self._list),
            web.delete("/admin/faults", self._clear),
            web.get("/admin/stats", self._stats),
            web.get("/admin/channels/{channel}/log", self._logged),
        ]

    async def _add(self, request: web.Request) -> web.Response:
        try:
            self._switches.add(json.loads(await request.read()))
        except (ValueError, TypeError) as error:
            return web.json_response({"error": {"code": "invalid", "message": str(error)}}, status=400)
        return await self._list(request)

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response({"faults": self._switches.listed()})

    async def _clear(self, _: web.Request) -> web.Response:
        self._switches.clear()
        return web.json_response({"faults": []})

    async def _stats(self, _: web.Request) -> web.Response:
        protocol = self._links.protocol
        connections = [
            {"id": one.id, "clientId": one.client_id, "attached": len(one.attached)} for one in protocol.connections
        ]
        return web.json_response(
            {**asdict(protocol.totals), "channels": len(protocol.channels), "connections": connections}
        )

    async def _logged(self, request: web.Request) -> web.Response:
        """Optional `after=N` skips the first N."""
        messages = self._log.get(request.match_info["channel"], [])
        messages = messages[int(request.query.get("after", "0")) :]
        return web.Response(body=wire.encode_value(messages, Format.JSON), content_type="application/json")
