"""The API over its real socket, with the whole hub and a real broker behind it."""

import base64
import http.client
import json
import socket
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_edge import settings as edge_settings
from holdfast_hub.api.answers import MAX_BODY
from holdfast_hub.api.routes import TABLE
from holdfast_hub.service import run_hub
from holdfast_hub.settings import Address, Settings, address
from holdfast_protocol.errors import InputError, PermanentError
from holdfast_protocol.runtime import broker as embedded
from holdfast_protocol.runtime.tasks import death
from support import mosquitto
from support.hubs import BLUEPRINT, instance
from support.mosquitto import Mosquitto
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def broker() -> Iterator[Mosquitto]:
    with mosquitto.running("hub.conf") as running:
        yield running


class Api:
    """A caller in a thread of its own, as another process would be."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("hub", timeout=HANGS_S)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(10)
        connection.sock.connect(str(self.path))
        return connection

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        return await anyio.to_thread.run_sync(lambda: self._ask(method, path, body, headers))

    def _ask(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
        connection = self.connect()
        try:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()


@asynccontextmanager
async def hub(folder: Path, broker: Mosquitto, **other: Any) -> AsyncIterator[Api]:
    """Run a hub in `folder` until the block ends."""
    (folder / "run").mkdir(exist_ok=True)
    made = Settings(folder / "data", "acme", folder / "run" / "hub.sock", Address(broker.host, broker.port), **other)
    ready = anyio.Event()
    lines: list[str] = []

    def on_ready(line: str) -> None:
        lines.append(line)
        ready.set()

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: run_hub(made, ready=on_ready))
        with anyio.fail_after(HANGS_S):
            await ready.wait()
        assert str(made.socket) in lines[0]
        yield Api(made.socket)
        group.cancel_scope.cancel()


def given(*texts: str) -> dict[str, Any]:
    return {"files": [{"name": f"{number}.yaml", "text": text} for number, text in enumerate(texts, 1)]}


async def test_the_way_from_files_to_a_target_and_back(tmp_path: Path, broker: Mosquitto) -> None:
    async with hub(tmp_path, broker) as api:
        site = {"name": "press-01", "labels": {"tier": "gold"}, "zones": ["west"], "region": "", "provider": ""}
        assert await api.ask("POST", "/v1/sites", {**site, "node": "node-1"}) == (200, {"name": "press-01"})
        code, applied = await api.ask("POST", "/v1/apply", given(BLUEPRINT, instance()), **{"holdfast-author": "ann"})
        assert code == 200
        assert applied["sites"] == ["press-01"]
        code, target = await api.ask("GET", "/v1/sites/press-01/target")
        assert (code, target["generation"]) == (200, 1)
        assert target["content"]["resources"][0]["key"] == "File/west"
        code, found = await api.ask("GET", "/v1/sites?selector=tier%3Dgold")
        assert [(item["name"], item["state"], item["instances"]) for item in found["items"]] == [
            ("press-01", "NeverSeen", ["Greeting/west"])
        ]
        code, shown = await api.ask("GET", "/v1/instances/Greeting%2Fwest")
        assert (shown["author"], shown["site_states"][0]["site"]) == ("ann", "press-01")
        code, patched = await api.ask("PATCH", "/v1/sites/press-01", {"labels": {"tier": None, "line": "b"}})
        assert (code, patched["labels"]) == (200, {"line": "b"})
        code, difference = await api.ask("POST", "/v1/diff", given(instance(text="new")))
        assert (code, difference["same"], difference["groups"][0]["sites"]) == (200, False, ["press-01"])
        code, rendered = await api.ask("POST", "/v1/render", {"files": [], "instance": "west", "site": None})
        assert rendered["resources"][0]["body"]["spec"]["content"] == "hello"
        code, ejected = await api.ask("POST", "/v1/eject", {"files": []})
        assert any(path.startswith("west/") for path in ejected["files"])
        code, kit = await api.ask("POST", "/v1/sites/press-01/kit", {"node": "node-1"})
        for name, text in kit["files"].items():
            (tmp_path / name).write_text(text)
        assert edge_settings.read(tmp_path / "edge.toml").hub.port == broker.port
        code, nodes = await api.ask("GET", "/v1/nodes/press-01%2Fnode-1")
        assert (code, nodes["online"]) == (200, False)
        assert (await api.ask("GET", "/v1/readings?site=press-01&limit=5"))[1] == {
            "items": [],
            "gaps": [],
            "retired": [],
        }
        assert (await api.ask("GET", "/v1/ledger/press-01"))[1] == {"site": "press-01", "streams": [], "exact": True}
        assert (await api.ask("DELETE", "/v1/instances/west"))[1] == {"deleted": "Greeting/west", "sites": ["press-01"]}
        assert (await api.ask("DELETE", "/v1/blueprints/greeting"))[0] == 200
        assert (await api.ask("DELETE", "/v1/sites/press-01"))[0] == 200


async def test_health_tells_when_the_broker_is_reached(tmp_path: Path, broker: Mosquitto) -> None:
    async with hub(tmp_path, broker) as api:
        with anyio.fail_after(HANGS_S):
            while not (found := (await api.ask("GET", "/v1/health"))[1])["broker"]["connected"]:
                await anyio.sleep(0.01)
        assert (found["fleet"], found["broker"]["embedded"]) == ("acme", False)
        assert found["broker"]["url"] == f"mqtt://127.0.0.1:{broker.port}"
        assert {"version", "sqlite", "sites", "online", "instances", "unpublished", "socket"} <= set(found)


REFUSED = {
    "what is wrong in files": ("POST", "/v1/apply", given("a: ["), 400, "InvalidInput"),
    "no JSON": ("POST", "/v1/apply", b"{", 400, "BadJson"),
    "no UTF-8": ("POST", "/v1/apply", b'{"files":[{"name":"\xff","text":""}]}', 400, "BadJson"),
    "another shape": ("POST", "/v1/apply", {"files": "x"}, 400, "InvalidInput"),
    "an unknown field": ("POST", "/v1/apply", {"files": [], "dryrun": True}, 400, "InvalidInput"),
    "an unknown parameter": ("GET", "/v1/readings?sites=x", None, 400, "InvalidInput"),
    "a parameter twice": ("GET", "/v1/readings?site=x&site=y", None, 400, "InvalidInput"),
    "a bad limit": ("GET", "/v1/readings?limit=many", None, 400, "InvalidInput"),
    "a time no clock shows": ("GET", f"/v1/readings?from={10**30}", None, 400, "InvalidInput"),
    "such a time of buckets": ("GET", f"/v1/readings/buckets?every=1000&to=-{10**30}", None, 400, "InvalidInput"),
    "such a time of an export": ("GET", f"/v1/export?to={10**30}", None, 400, "InvalidInput"),
    "a span of no length": ("GET", "/v1/export?every=-1", None, 400, "InvalidInput"),
    "such a time of a replay": ("POST", "/v1/sinks/lake/replay", {"from": 10**30}, 400, "InvalidInput"),
    "a bad name": ("POST", "/v1/sites", {"name": "Press 1"}, 400, "InvalidInput"),
    "nothing of that name": ("GET", "/v1/sites/nowhere", None, 404, "NotFound"),
    "an unknown blueprint": ("DELETE", "/v1/blueprints/none", None, 404, "NotFound"),
    "no such route": ("GET", "/v2/sites", None, 404, "NoSuchRoute"),
    "another method": ("PUT", "/v1/sites", None, 405, "MethodNotAllowed"),
    "no conflict to end": ("POST", "/v1/sites/press-01/adopt", {}, 409, "NoConflict"),
    "a site that is there": ("POST", "/v1/sites", {"name": "press-01"}, 409, "Exists"),
    "too much": ("POST", "/v1/apply", b" " * (MAX_BODY + 1), 413, "TooLarge"),
}


async def test_every_refusal_has_one_shape(tmp_path: Path, broker: Mosquitto) -> None:
    async with hub(tmp_path, broker) as api:
        await api.ask("POST", "/v1/sites", {"name": "press-01"})
        for name, (method, path, body, status, reason) in REFUSED.items():
            code, answer = await api.ask(method, path, body)
            assert (code, answer["error"]["reason"]) == (status, reason), name
            assert set(answer["error"]) == {"reason", "message", "hint", "problems"}, name
        code, answer = await api.ask("POST", "/v1/apply", given(BLUEPRINT, instance(txt="oops")))
        (problem,) = answer["error"]["problems"]
        assert (problem["file"], problem["line"], problem["path"]) == ("2.yaml", 6, "spec.txt")


async def test_the_routes_are_listed_with_what_they_are_for(tmp_path: Path, broker: Mosquitto) -> None:
    async with hub(tmp_path, broker) as api:
        listed = (await api.ask("GET", "/v1"))[1]["routes"]
        assert len(listed) == len(TABLE) + 1
        assert all(route["what"] for route in listed)


async def test_only_its_owner_reaches_the_socket(tmp_path: Path, broker: Mosquitto) -> None:
    async with hub(tmp_path, broker) as api:
        assert stat.S_IMODE(api.path.stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "data" / "hub.key").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert not api.path.exists(), "it goes with the hub"


class Reader(threading.Thread):
    """Follows the events, as a browser or the CLI would."""

    def __init__(self, api: Api, after: str = "") -> None:
        super().__init__(daemon=True)
        self.lines: list[str] = []
        self.connected = threading.Event()
        self._connection = api.connect()
        self._connection.request("GET", "/v1/events", headers={"last-event-id": after} if after else {})
        self._response = self._connection.getresponse()
        self.start()

    def run(self) -> None:
        while line := self._response.readline():
            self.lines.append(line.decode().rstrip())
            self.connected.set()
        self._response.close()
        self._connection.close()

    def events(self) -> list[tuple[str, dict[str, str]]]:
        """Return (id, data) of every event so far."""
        ids = [line[4:] for line in self.lines if line.startswith("id: ")]
        data = [json.loads(line[6:]) for line in self.lines if line.startswith("data: ")]
        return list(zip(ids, data, strict=False))


async def test_events_tell_what_changed_and_go_on_where_a_reader_was(tmp_path: Path, broker: Mosquitto) -> None:
    async with hub(tmp_path, broker) as api:
        reader = await anyio.to_thread.run_sync(Reader, api)
        assert await anyio.to_thread.run_sync(reader.connected.wait, 5)
        await api.ask("POST", "/v1/sites", {"name": "press-01", "zones": ["west"]})
        await api.ask("POST", "/v1/apply", given(BLUEPRINT, instance()))
        expected = [("site", "press-01"), ("blueprint", "greeting"), ("instance", "Greeting/west")]
        with anyio.fail_after(HANGS_S):
            while not set(expected) <= {(data["kind"], data["name"]) for _, data in reader.events()}:
                await anyio.sleep(0.01)
        first = reader.events()[0][0]
        again = await anyio.to_thread.run_sync(Reader, api, first)
        with anyio.fail_after(HANGS_S):
            while ("blueprint", "greeting") not in {(data["kind"], data["name"]) for _, data in again.events()}:
                await anyio.sleep(0.01)
        assert again.events()[0] == reader.events()[1]
        other = await anyio.to_thread.run_sync(Reader, api, "0a0b-99")
        with anyio.fail_after(HANGS_S):
            while not other.events():
                await anyio.sleep(0.01)
        assert other.events()[0][1]["kind"] == "reset", "an id of another run is answered by: look at everything"
    for each in (reader, again, other):
        await anyio.to_thread.run_sync(each.join, 5)
        assert not each.is_alive(), "a stopping hub ends the stream"


async def test_tcp_is_served_on_loopback_only(tmp_path: Path, broker: Mosquitto) -> None:
    port = mosquitto.free_port()
    async with hub(tmp_path, broker, http=Address("127.0.0.1", port)):

        def ask() -> int:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANGS_S)
            connection.request("GET", "/v1/health")
            status = connection.getresponse().status
            connection.close()
            return status

        assert await anyio.to_thread.run_sync(ask) == 200
    with pytest.raises(InputError, match="not loopback"):
        Settings(tmp_path, http=Address("0.0.0.0", 80)).check()


FOREIGN = {
    "a page elsewhere": {"Origin": "https://mischief.example"},
    "a page on another port of this machine": {"Origin": "http://127.0.0.1:1"},
    "a page without an origin": {"Origin": "null"},
    "a name that was given this address": {"Host": "mischief.example"},
    "a host that is none": {"Host": "[::"},
}


async def test_no_web_page_speaks_through_a_browser_on_this_machine(tmp_path: Path, broker: Mosquitto) -> None:
    port = mosquitto.free_port()
    async with hub(tmp_path, broker, http=Address("127.0.0.1", port)) as api:

        def ask(**headers: str) -> int:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANGS_S)
            connection.request("POST", "/v1/sites", b'{"name":"press-01"}', {"Content-Type": "text/plain", **headers})
            status = connection.getresponse().status
            connection.close()
            return status

        for who, headers in FOREIGN.items():
            assert await anyio.to_thread.run_sync(lambda told=headers: ask(**told)) == 403, who
        assert (await api.ask("GET", "/v1/sites"))[1] == {"items": []}
        ours = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"}
        assert await anyio.to_thread.run_sync(lambda: ask(**ours)) == 200


async def test_a_hub_without_the_key_its_sites_believe_does_not_start(tmp_path: Path, broker: Mosquitto) -> None:
    async with hub(tmp_path, broker):
        pass
    key = tmp_path / "data" / "hub.key"
    ours = key.read_bytes()
    key.unlink()
    again = Settings(tmp_path / "data", "acme", tmp_path / "hub.sock", Address(broker.host, broker.port))
    with pytest.raises(PermanentError, match="is gone"):
        await run_hub(again)
    assert not key.exists(), "none is made in its place"
    key.write_bytes(base64.b64encode(bytes(32)))
    with pytest.raises(PermanentError, match="another key"):
        await run_hub(again)
    key.write_bytes(ours)
    async with hub(tmp_path, broker) as api:
        assert (await api.ask("GET", "/v1/health"))[0] == 200


async def test_two_hubs_share_neither_folder_nor_socket(tmp_path: Path, broker: Mosquitto) -> None:
    async with hub(tmp_path, broker) as api:
        taken = Settings(tmp_path / "data", "acme", tmp_path / "other.sock", Address(broker.host, broker.port))
        with pytest.raises(PermanentError, match="another hub works"):
            await run_hub(taken)
        second = Settings(tmp_path / "data2", "acme", api.path, Address(broker.host, broker.port))
        with pytest.raises(PermanentError, match="listens on"):
            await run_hub(second)
        assert (await api.ask("GET", "/v1/health"))[0] == 200


async def test_a_hub_whose_broker_cannot_listen_never_says_that_it_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "STOP_WITHIN", 0.1)
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(BaseExceptionGroup) as caught:
            await run_hub(Settings(tmp_path / "data", "acme", tmp_path / "hub.sock", listen=listen), ready=said.append)
    died = death(caught.value)
    assert died is not None
    assert "no broker can listen on" in str(died.__cause__)
    assert said == []


async def test_a_hub_says_that_it_is_ready_once_its_broker_takes_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen = Address("127.0.0.1", mosquitto.free_port())
    said = anyio.Event()

    def ready(line: str) -> None:
        socket.create_connection((listen.host, listen.port)).close()
        said.set()

    settings = Settings(tmp_path / "data", "acme", tmp_path / "hub.sock", listen=listen)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: run_hub(settings, ready=ready))
        with anyio.fail_after(HANGS_S):
            await said.wait()
        group.cancel_scope.cancel()


async def test_a_socket_left_by_a_killed_hub_is_taken_over(tmp_path: Path, broker: Mosquitto) -> None:
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(tmp_path / "run" / "hub.sock"))
    async with hub(tmp_path, broker) as api:
        assert (await api.ask("GET", "/v1/health"))[0] == 200


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("mqtt://broker.example:1884", "broker.example", 1884),
        ("mqtt://broker.example", "broker.example", 1883),
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("[::1]:1883", "::1", 1883),
        ("mqtt://[::1]", "::1", 1883),
    ],
)
def test_addresses_are_read(text: str, host: str, port: int) -> None:
    assert address(text) == Address(host, port)


@pytest.mark.parametrize("text", ["", ":1883", "host:0", "host:65536", "host:x", "http://host:80", "host:١"])
def test_what_is_no_address_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(InputError) as refused:
        address(text, "--broker")
    assert refused.value.problems[0].path == "--broker"
