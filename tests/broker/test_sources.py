"""DeviceSources on a real Mosquitto: rules, both versions of MQTT, TLS, passwords, certificates, and what goes wrong."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from holdfast_edge.store.outbox import Outbox
from holdfast_protocol.runtime import paho
from holdfast_protocol.runtime.mqtt import Options
from holdfast_protocol.wire.readings import Reading
from support import mosquitto
from support.certificates import Authority, Pair
from support.clock import eventually
from support.devices import stored_readings, stored_records
from support.sources import Site, running_sources, secret, source
from support.streams import open_outbox

pytestmark = pytest.mark.anyio
RULES = [
    {
        "match": "plant/{area}/{device}/{metric}",
        "value": "${payload.v}",
        "time": "${payload.t}",
        "unit": "${payload.?u}",
    },
    {"match": "plant/{area}/{device}", "each": "${payload}", "metric": "${key}", "value": "${item}", "class": "p2"},
]


class Secured(NamedTuple):
    broker: mosquitto.Mosquitto
    port: int  # with TLS
    mutual: int  # with TLS, for those with a certificate
    authority: Authority
    client: Pair


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority()
    server, client = authority.pair("127.0.0.1"), authority.pair("holdfast")
    salt = b"twelve bytes"
    hashed = hashlib.pbkdf2_hmac("sha512", b"s3cret", salt, 101)
    words = f"agent:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(hashed).decode()}\n"
    texts = {"ca": authority.cert, "cert": server.cert, "key": server.key, "passwords": words}
    for name, text in texts.items():
        (folder / name).write_text(text)
    for each in (folder, *folder.parents[:2], *folder.iterdir()):
        each.chmod(0o755)
    port, mutual = mosquitto.free_port(), mosquitto.free_port()
    files = f"cafile {folder}/ca\ncertfile {folder}/cert\nkeyfile {folder}/key\n"
    extra = (
        f"password_file {folder}/passwords\nlistener {port} 127.0.0.1\n{files}"
        f"listener {mutual} 127.0.0.1\n{files}require_certificate true\n"
    )
    with mosquitto.running("site.conf", extra=extra) as broker:
        yield Secured(broker, port, mutual, authority, client)


async def publish(broker: mosquitto.Mosquitto, *messages: tuple[str, bytes]) -> None:
    connection = paho.dial(Options(client_id="press-1", port=broker.port))
    await connection.connect()
    for topic, payload in messages:
        await connection.publish(topic, payload)
    await connection.close()


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_messages_become_readings_by_rules_over_both_versions_of_mqtt(
    tmp_path: Path, secured: Secured, version: str
) -> None:
    outbox, name = open_outbox(tmp_path), f"hall-{version.replace('.', '')}"
    mqtt = {"host": "127.0.0.1", "port": secured.broker.port, "topics": ["plant/#"], "version": version}
    resource = source(name, mqtt=mqtt, rules=RULES)
    async with running_sources(tmp_path / "sources", outbox) as site:
        await site.apply(resource)
        await eventually(lambda: site.is_connected(name))
        await publish(
            secured.broker,
            ("plant/a/p1/temp", b'{"v":21.5,"t":5,"u":"Cel"}'),
            ("plant/a/p1/temp", b'{"v":"\\ud800","t":5}'),
            ("plant/a/p1/temp", b'{"v":1}'),
            ("plant/a/p1", b'{"x":1,"y":true}'),
            ("plant/a/p1/temp", b'{"v":22.5,"t":6,"u":"Cel"}'),
        )
        await eventually(lambda: outbox.depth()["p3"].rows == 2 and outbox.depth()["p2"].rows >= 2)
        await eventually(lambda: site.sources.states[resource.key].messages == 5)
        seen = await site.look(resource)
        assert seen.as_wanted, seen
        assert (seen.readiness, seen.status["rejected"], seen.status["readings"]) == ("ready", 2, 4)
        assert seen.status["rejectedBy"] == {"BadEncoding": 1, "NoValue": 1}
        await eventually(lambda: outbox.depth()["p2"].rows == 4)  # two readings, two reports
    assert await stored_readings(outbox) == [
        Reading("p1", "temp", 5, 21.5, "Cel"),
        Reading("p1", "temp", 6, 22.5, "Cel"),
    ]
    rejected = {each.body["reason"]: each.body for each in await stored_records(outbox)}
    assert rejected["NoValue"]["place"] == "spec.rules[0].time"
    outbox.close()


@pytest.mark.parametrize("mutual", [False, True])
async def test_a_broker_with_tls_is_believed_by_its_authority_and_shown_name_password_or_certificate(
    tmp_path: Path, secured: Secured, mutual: bool
) -> None:
    outbox = open_outbox(tmp_path)
    keys = secret("keys", ca=secured.authority.cert, cert=secured.client.cert, key=secured.client.key, word="s3cret")
    mqtt = secure(secured, mutual=mutual)
    resource = source("tls", mqtt=mqtt)
    async with running_sources(tmp_path / "sources", outbox) as site:
        await site.apply(resource, keys)
        await eventually(lambda: site.is_connected("tls"))
        big = b'"' + b"x" * 900 + b'"'
        await publish(secured.broker, *((f"devices/a/m{number}", big) for number in range(300)))
        await eventually(lambda: outbox.depth()["p3"].rows == 300)
    outbox.close()


def secure(secured: Secured, *, mutual: bool = False, word: str = "word") -> dict[str, Any]:
    tls: dict[str, Any] = {"ca": {"secret": "keys", "key": "ca"}}
    mqtt: dict[str, Any] = {"host": "127.0.0.1", "port": secured.mutual if mutual else secured.port, "tls": tls}
    if mutual:
        tls |= {"cert": {"secret": "keys", "key": "cert"}, "key": {"secret": "keys", "key": "key"}}
    else:
        mqtt |= {"username": "agent", "password": {"secret": "keys", "key": word}}
    return mqtt


@pytest.mark.parametrize("wrong", ["authority", "password", "certificate"])
async def test_a_broker_or_a_login_that_is_not_right_is_degraded_with_its_reason(
    tmp_path: Path, secured: Secured, wrong: str
) -> None:
    outbox = open_outbox(tmp_path)
    stranger = Authority("stranger")
    pair = stranger.pair("holdfast")
    ca = stranger.cert if wrong == "authority" else secured.authority.cert
    keys = secret("keys", ca=ca, cert=pair.cert, key=pair.key, word="wr0ng" if wrong == "password" else "s3cret")
    resource = source("tls", mqtt=secure(secured, mutual=wrong == "certificate"))
    async with running_sources(tmp_path / "sources", outbox) as site:
        await site.apply(resource, keys)
        await eventually(lambda: bool(reason(site, resource.key)))
        seen = await site.look(resource, keys)
        assert seen.readiness == "degraded"
        assert seen.reason == {"authority": "NotTrusted", "password": "Refused"}.get(wrong, seen.reason)
        assert "wr0ng" not in str(seen)
        right = secret(
            "keys", ca=secured.authority.cert, cert=secured.client.cert, key=secured.client.key, word="s3cret"
        )
        assert not (await site.look(resource, right)).as_wanted, "another secret is another source"
        await site.apply(resource, right)
        await eventually(lambda: site.is_connected("tls"))
    outbox.close()


def reason(site: Site, key: Any) -> str:
    state = site.sources.states.get(key)
    return state.reason if state is not None else ""


@pytest.mark.invariant("commit-before-ack")
@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_what_waits_at_the_broker_while_the_agent_is_away_is_taken_once_by_every_source(
    tmp_path: Path, version: str
) -> None:
    outbox = open_outbox(tmp_path)
    with mosquitto.running("site.conf") as broker:
        mqtt = {"host": "127.0.0.1", "port": broker.port, "topics": ["plant/#"], "version": version}
        resource = source(mqtt=mqtt, rules=[{**RULES[0], "class": "p1", "ttl": "7d"}])
        async with running_sources(tmp_path / "sources", outbox) as site:
            await site.apply(resource)
            await eventually(site.is_connected)
        await publish(broker, *((f"plant/a/p1/m{number}", b'{"v":%d,"t":5}' % number) for number in range(40)))
        await publish(broker, ("plant/a/p1/m7", b'{"v":70,"t":6}'))
        async with running_sources(tmp_path / "sources", outbox):  # the agent starts: what it keeps is on its disk
            await eventually(lambda: outbox.depth()["p1"].rows == 40)
    outbox.close()


async def test_a_source_that_is_removed_takes_nothing_more(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    with mosquitto.running("site.conf") as broker:
        resource = source(mqtt={"host": "127.0.0.1", "port": broker.port})
        async with running_sources(tmp_path / "sources", outbox) as site:
            await site.apply(resource)
            await eventually(site.is_connected)
            await site.provider.remove(resource.key, resource.body)
            await eventually(lambda: resource.key not in site.sources.states)
            assert not (await site.look(resource)).exists
            assert not list((tmp_path / "sources").iterdir())
    outbox.close()


async def test_devices_that_flood_lose_their_own_messages_only(tmp_path: Path) -> None:
    outbox: Outbox = open_outbox(tmp_path)
    with mosquitto.running("site.conf") as broker:
        mqtt = {"host": "127.0.0.1", "port": broker.port}
        resource = source(mqtt=mqtt, limits={"perDevice": 0.001, "burst": 5})
        async with running_sources(tmp_path / "sources", outbox) as site:
            await site.apply(resource)
            await eventually(site.is_connected)
            await publish(
                broker, *(("devices/loud/m", b"%d" % number) for number in range(50)), ("devices/quiet/m", b"1")
            )
            await eventually(lambda: site.sources.states[resource.key].messages == 51)
            assert outbox.depth()["p3"].rows == 6
            assert site.sources.states[resource.key].rejected["Flood"].count == 45
    outbox.close()
