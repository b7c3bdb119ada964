"""A test sandbox for Ably's own suites: `python -m devtools.fidelity.sandbox --certificate DIR`.

The suites create a test app (`POST /apps`) and take its keys from the answer; everything else goes to the local realtime
emulator, unchanged. TLS ends in front of it, since the SDKs send no key over plain HTTP: point SSL_CERT_FILE (Python) or
NODE_EXTRA_CA_CERTS (node) at `DIR/certificate.pem`.
"""

import argparse
import asyncio
import json
import secrets
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from aiohttp import web

from devtools.emulator.auth import EVERYTHING, Key, parse_capability
from devtools.emulator.rest import respond
from devtools.emulator.server import HOST, LocalRealtime
from devtools.fidelity.echo import echo_app

ECHO = "echo.ably.io"


class Sandbox(LocalRealtime):
    """The emulator, with test apps: each gets keys of its own, all share the channels."""

    tls_port = 443

    def further_routes(self) -> list[web.RouteDef]:
        return [
            web.post("/apps", self._create),
            web.delete("/apps/{app}", self._delete),
            web.get("/stats", self._no_stats),
        ]

    def answers_to(self, host: str) -> bool:  # noqa: ARG002 - all are
        """The suites use the service's own names, which lead here."""
        return True

    async def _no_stats(self, request: web.Request) -> web.Response:
        """Many tests ask for statistics just to see whether they may."""
        self.authorize(request)
        return respond(request, [])

    async def _create(self, request: web.Request) -> web.Response:
        given: dict[str, Any] = json.loads(await request.read())
        app = secrets.token_hex(4)
        keys = [self._key(app, index, spec) for index, spec in enumerate(given.get("keys", []))]
        answer = {
            "appId": app,
            "accountId": "local",
            "keys": keys,
            "namespaces": given.get("namespaces", []),
            "endpoint": "localhost",
            "port": self.tls_port,
            "tls": True,
        }
        return web.json_response(answer, status=201)

    def _key(self, app: str, index: int, spec: dict[str, Any]) -> dict[str, Any]:
        capability = parse_capability(spec["capability"]) if "capability" in spec else EVERYTHING
        key = Key(f"{app}.key{index}", secrets.token_hex(8), capability)
        self.keys.add(key)
        return {
            **spec,
            "id": f"key{index}",
            "keyName": key.name,
            "value": key.secret,
            "keySecret": key.secret,
            "keyStr": f"{key.name}:{key.secret}",
            "capability": json.dumps({resource: list(operations) for resource, operations in capability.items()}),
        }

    async def _delete(self, request: web.Request) -> web.Response:
        del request
        return web.Response(status=204)


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key."""
    directory.mkdir(parents=True, exist_ok=True)
    names = directory / "certificate.pem", directory / "key.pem"
    if not all(name.exists() for name in names):
        what = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost"]
        more = [
            "-addext",
            f"subjectAltName=DNS:localhost,DNS:{ECHO},IP:127.0.0.1",
            "-out",
            str(names[0]),
            "-keyout",
            str(names[1]),
        ]
        subprocess.run(["openssl", *what, *more], check=True, capture_output=True)
    return names


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while taken := await reader.read(65_536):
            writer.write(taken)
            await writer.drain()
    except (ConnectionError, ssl.SSLError):
        pass
    finally:
        writer.close()


async def serve(port: int, plain_port: int, directory: Path) -> None:
    """Until cancelled."""
    names = certificate(directory)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*names)
    asked: WeakKeyDictionary[ssl.SSLObject | ssl.SSLSocket, str] = WeakKeyDictionary()
    context.sni_callback = lambda tls, name, _context: asked.__setitem__(tls, name or "")
    async with Sandbox(admin=True) as server, _echo() as echo_port:
        server.tls_port = port

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tls = writer.get_extra_info("ssl_object")
            to_echo = tls is not None and asked.get(tls) == ECHO
            back_reader, back_writer = await asyncio.open_connection(HOST, echo_port if to_echo else server.port)
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(reader, back_writer))
                both.create_task(_pump(back_reader, writer))

        front = await asyncio.start_server(forward, HOST, port, ssl=context)
        plain = await asyncio.start_server(forward, HOST, plain_port)
        print(f"sandbox on https://localhost:{port}, the emulator on http://{server.endpoint}", flush=True)
        async with front, plain:
            await front.serve_forever()


@asynccontextmanager
async def _echo() -> AsyncIterator[int]:
    runner = web.AppRunner(echo_app())
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=443)
    parser.add_argument("--plain-port", type=int, default=80)
    parser.add_argument("--certificate", type=Path, required=True, help="where certificate.pem and key.pem are, or go")
    given = parser.parse_args()
    try:
        asyncio.run(serve(given.port, given.plain_port, given.certificate))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
