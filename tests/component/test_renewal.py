"""Credentials in files that are renewed while a bridge or a source runs: the next connection is made with the new ones."""

import os
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from holdfast_edge.core.sources import SourceState
from holdfast_edge.ingest.opening import Surroundings, opened
from holdfast_edge.store.sources import Kept
from holdfast_protocol.bridging.standing import BridgeState
from holdfast_protocol.errors import HoldfastError, PermanentError, TransientError
from holdfast_protocol.kinds import bridge
from holdfast_protocol.kinds.bridge import Place
from holdfast_protocol.relay import renewal
from holdfast_protocol.relay.opening import bounds_of, plan_of
from holdfast_protocol.relay.queue import open_queue
from holdfast_protocol.relay.run import Relay
from holdfast_protocol.wire.names import ResourceKey, SiteName
from support.bridges import Sink
from support.broker import FakeBroker
from support.certificates import Authority
from support.clock import Running, eventually, never
from support.sources import Hasty
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(renewal, "LOOK", 0.01)
    path = tmp_path / "ca.pem"
    path.write_text(Authority().cert)
    return path


async def renewed(path: Path, run: Any) -> HoldfastError:
    """Return what ended `run` after a while without the file, and then another one."""
    ends: list[HoldfastError] = []

    async def until_it_ends() -> None:
        try:
            await run()
        except* HoldfastError as group:
            ends.append(group.exceptions[0])  # type: ignore[arg-type]

    async with Running(until_it_ends):
        await anyio.to_thread.run_sync(path.unlink)
        await never(lambda: ends)
        path.write_text(Authority("another").cert)
        await eventually(lambda: ends)
    return ends[0]


async def test_a_bridge_begins_anew_when_its_certificates_were_renewed(tmp_path: Path, authority: Path) -> None:
    spec = {"remote": {"host": "far", "tls": {"ca": {"path": str(authority)}}}, "out": [{"topic": "a/#"}]}
    place = Place("s", "n", "near", 1883)
    want = bridge.wanted(spec, "cloud", place)
    queue = open_queue(tmp_path / "q.db", bounds_of(want), Hasty())
    relay = Relay(plan_of(want, "cloud", place, {}), queue, BridgeState("cloud"), Hasty())
    error = await renewed(authority, lambda: relay.run(FakeBroker().dial))
    assert (type(error), error.reason) == (TransientError, "Renewed")
    queue.close()


async def test_a_source_begins_anew_when_its_certificates_were_renewed(authority: Path) -> None:
    spec = {"mqtt": {"host": "far", "topics": ["a/#"], "tls": {"ca": {"path": str(authority)}}}}
    around = Surroundings(FakeBroker().dial, Sink(), Hasty(), SiteName("s"), lambda: True)
    kept = Kept(ResourceKey("DeviceSource/one"), "one", spec, {}, "d")
    run = opened(kept, around, SourceState(), lambda *_: None)
    assert (await renewed(authority, run)).reason == "Renewed"


async def test_a_pipe_in_the_place_of_a_certificate_holds_nobody_up(tmp_path: Path) -> None:
    pipe = tmp_path / "ca.pem"
    os.mkfifo(pipe)
    opener = os.open(pipe, os.O_RDWR)  # somebody who writes it, and never does
    try:
        spec = {"host": "far", "tls": {"ca": {"path": str(pipe)}}}
        want = bridge.wanted({"remote": spec, "out": [{"topic": "a/#"}]}, "cloud")
        source = Kept(ResourceKey("DeviceSource/one"), "one", {"mqtt": {**spec, "topics": ["a/#"]}}, {}, "d")
        around = Surroundings(FakeBroker().dial, Sink(), Hasty(), SiteName("s"), lambda: True)
        for begin in (
            lambda: plan_of(want, "cloud", Place("s", "n", "near", 1883), {}),
            lambda: opened(source, around, SourceState(), lambda *_: None),
        ):
            with pytest.raises(PermanentError) as refused, anyio.fail_after(HANGS_S):
                await anyio.to_thread.run_sync(begin, abandon_on_cancel=True)
            assert refused.value.reason == "BadCertificate"
    finally:
        os.write(opener, b"x")
        os.close(opener)
