"""Web pages of other sites, and names that are not this machine's: what they can't do."""

import aiohttp
import pytest

from devtools.emulator.server import DEFAULT_KEY, LocalRealtime

EVIL = {"Origin": "https://evil.example"}
ADMIN = ["/admin/faults", "/admin/stats", "/admin/channels/c/log"]


@pytest.mark.parametrize("path", ADMIN)
async def test_no_page_of_another_site_reads_the_admin_interface(
    server: LocalRealtime, http: aiohttp.ClientSession, path: str
) -> None:
    for method in ("GET", "OPTIONS"):
        async with http.request(method, f"http://{server.endpoint}{path}", headers=EVIL) as answer:
            assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


async def test_no_page_of_another_site_switches_a_fault(server: LocalRealtime, http: aiohttp.ClientSession) -> None:
    url = f"http://{server.endpoint}/admin/faults"
    async with http.post(url, data='{"nack": {}}', headers={**EVIL, "Content-Type": "text/plain"}) as answer:
        assert answer.status == 403
    async with http.get(url) as answer:
        assert (await answer.json())["faults"] == []


async def test_pages_of_any_origin_reach_what_needs_a_credential(
    server: LocalRealtime, http: aiohttp.ClientSession
) -> None:
    url = f"http://{server.endpoint}/channels/c/messages?key={DEFAULT_KEY}"
    async with http.get(url, headers=EVIL) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == EVIL["Origin"]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", "[", ""]
)
@pytest.mark.parametrize("path", ["/", "/time", f"/channels/c/messages?key={DEFAULT_KEY}", *ADMIN])
async def test_a_name_that_is_not_this_machines_is_refused(
    server: LocalRealtime, http: aiohttp.ClientSession, host: str, path: str
) -> None:
    async with http.get(f"http://{server.endpoint}{path}", headers={"Host": host}) as answer:
        assert answer.status == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:{port}", "127.0.0.1:{port}", "[::1]:{port}"])
async def test_this_machines_names_are_served(server: LocalRealtime, http: aiohttp.ClientSession, host: str) -> None:
    headers = {"Host": host.format(port=server.port)}
    async with http.get(f"http://{server.endpoint}/admin/stats", headers=headers) as answer:
        assert answer.status == 200


async def test_it_answers_to_further_names_it_is_given(http: aiohttp.ClientSession) -> None:
    headers = {"Host": "node.example:8090"}
    async with (
        LocalRealtime(names=("node.example",)) as server,
        http.get(f"http://{server.endpoint}/time", headers=headers) as answer,
    ):
        assert answer.status == 200
