"""The server as its own process, as the demo and the benchmarks run it; and its admin interface over HTTP."""

import asyncio
import json
import signal
import sys
from typing import Any

import aiohttp
import pytest

from devtools.emulator.server import DEFAULT_KEY, LocalRealtime


async def exchange(socket: aiohttp.ClientWebSocketResponse, frame: dict[str, Any], action: int) -> dict[str, Any]:
    """The first frame of this action that comes after sending one."""
    await socket.send_str(json.dumps(frame))
    while True:
        received: dict[str, Any] = await socket.receive_json(timeout=5.0)
        if received["action"] == action:
            return received


def publish(serial: int, data: str) -> dict[str, Any]:
    return {"action": 15, "channel": "c", "msgSerial": serial, "messages": [{"id": f"i{serial}", "data": data}]}


async def test_it_says_what_it_is_and_serves_until_told_to_stop(http: aiohttp.ClientSession) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "devtools.emulator", "--admin", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 20.0)).decode()
        assert "not Ably" in line
        base = f"http://{line.split()[-1]}"
        async with http.ws_connect(f"{base}/?key={DEFAULT_KEY}") as socket:
            answer = await exchange(socket, publish(0, "x"), 1)
            assert len(answer["res"][0]["serials"]) == 1
        async with http.get(f"{base}/admin/channels/c/log") as response:
            assert [(one["id"], one["data"]) for one in await response.json()] == [("i0", "x")]
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 10.0)
    assert process.returncode == 0


async def test_faults_are_switched_listed_and_cleared_over_http(
    server: LocalRealtime, http: aiohttp.ClientSession
) -> None:
    base = f"http://{server.endpoint}"
    async with http.ws_connect(f"{base}/?key={DEFAULT_KEY}") as socket:
        async with http.post(f"{base}/admin/faults", json={"nack": {"code": 42913, "channel": "^c$"}}) as response:
            assert (await response.json())["faults"][0]["nack"]["code"] == 42913
        assert (await exchange(socket, publish(0, "x"), 2))["error"]["code"] == 42913
        async with http.delete(f"{base}/admin/faults"):
            assert (await exchange(socket, publish(1, "y"), 1))["msgSerial"] == 1
        async with http.get(f"{base}/admin/stats") as response:
            stats = await response.json()
        assert (stats["accepted"], stats["refused"], len(stats["connections"])) == (1, 1, 1)
    async with http.post(f"{base}/admin/faults", json={"nak": {}}) as response:
        assert response.status == 400
        assert "nak" in (await response.json())["error"]["message"]


async def test_without_admin_there_are_no_switches(http: aiohttp.ClientSession) -> None:
    async with LocalRealtime() as server, http.get(f"http://{server.endpoint}/admin/faults") as response:
        assert response.status == 404


async def test_connects_can_be_refused_by_http(server: LocalRealtime, http: aiohttp.ClientSession) -> None:
    server.faults.add({"refuse_connect": {"status": 503, "times": 1}})
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await http.ws_connect(f"http://{server.endpoint}/?key={DEFAULT_KEY}")
    async with http.ws_connect(f"http://{server.endpoint}/?key={DEFAULT_KEY}") as socket:
        assert (await socket.receive_json())["action"] == 4


async def test_history_can_hang(server: LocalRealtime, http: aiohttp.ClientSession) -> None:
    server.faults.add({"history": {"hang": True}})
    soon = aiohttp.ClientTimeout(total=0.2)
    with pytest.raises(TimeoutError):
        await http.get(f"http://{server.endpoint}/channels/c/messages?key={DEFAULT_KEY}", timeout=soon)


async def test_browsers_of_any_origin_may_call_and_page_in_an_envelope(
    server: LocalRealtime, http: aiohttp.ClientSession
) -> None:
    base = f"http://{server.endpoint}/channels/c/messages?key={DEFAULT_KEY}"
    for number in range(3):
        async with http.post(base, json={"data": str(number)}) as response:
            assert response.status == 201
    origin = {"Origin": "http://localhost:1234"}
    async with http.options(base, headers=origin) as response:
        assert response.headers["Access-Control-Allow-Origin"] == origin["Origin"]
        assert "authorization" in response.headers["Access-Control-Allow-Headers"]
    async with http.get(f"{base}&limit=2&envelope=json&rnd=1", headers=origin) as response:
        assert response.headers["Access-Control-Allow-Credentials"] == "true"
        page = await response.json()
    assert [message["data"] for message in page["response"]] == ["2", "1"]
    assert 'rel="next"' in page["headers"]["link"]
    async with http.get(f"http://{server.endpoint}/channels/c/messages?key=wrong:key", headers=origin) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (401, 40101)
        assert response.headers["X-Ably-Errorcode"] == "40101"
        assert response.headers["Access-Control-Allow-Origin"] == origin["Origin"]


async def test_a_subscriber_that_does_not_read_costs_bounded_memory_and_is_told(
    server: LocalRealtime, http: aiohttp.ClientSession
) -> None:
    url = f"http://{server.endpoint}/?key={DEFAULT_KEY}"
    async with http.ws_connect(url, max_msg_size=0) as slow, http.ws_connect(url) as publisher:
        await exchange(slow, {"action": 10, "channel": "c"}, 11)
        for serial in range(600):
            await exchange(publisher, publish(serial, "x" * 60_000), 1)
        told = None
        heard = 0
        while told is None:
            frame = await slow.receive_json(timeout=5.0)
            heard += frame["action"] == 15
            told = frame if frame["action"] == 11 else None
        assert told["error"]["code"] == 80020
        assert heard < 600
