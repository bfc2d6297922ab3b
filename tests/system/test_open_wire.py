"""The wire with other people's tools: an independent MQTT client reads a target, an independent library verifies it."""

import base64
import json
import tomllib
from pathlib import Path

import aiomqtt
import anyio
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.dsse import Envelope

from support import mosquitto
from support.fleet import Hub, ended
from support.waiting import HANGS_S

EXAMPLES = Path(__file__).resolve().parents[2] / "docs/examples/hello"


@pytest.mark.anyio
async def test_anybody_with_the_public_key_can_read_and_verify_what_a_site_was_told(tmp_path: Path) -> None:
    port = mosquitto.free_port()
    hub = Hub(tmp_path / "hub", listen=f"127.0.0.1:{port}")
    with ended(hub):
        hub.start()
        await anyio.to_thread.run_sync(hub.ready)
        assert hub.call("site", "add", "press-01", "--zone", "west-europe", "--kit", tmp_path / "kit").status == 0
        assert hub.call("site", "label", "press-01", "zone=west-europe").status == 0
        assert hub.call("apply", "-f", EXAMPLES).status == 0
        with anyio.fail_after(HANGS_S):
            async with aiomqtt.Client("127.0.0.1", port) as client:
                await client.subscribe("hf/1/+/press-01/target", qos=1)
                message = await anext(aiter(client.messages))
    assert isinstance(message.payload, bytes)
    outer = json.loads(message.payload)
    envelope = Envelope(base64.b64decode(outer["payload"]), outer["payloadType"], {})
    kit = tomllib.loads((tmp_path / "kit/edge.toml").read_text())
    public = base64.b64decode(kit["trust"]["keys"][0]["public"])
    signature = base64.b64decode(outer["signatures"][0]["sig"])
    Ed25519PublicKey.from_public_bytes(public).verify(signature, envelope.pae())
    target = json.loads(envelope.payload)
    assert (target["site"], target["generation"]) == ("press-01", 1)
    assert target["content"]["resources"][0]["body"]["kind"] == "File"
