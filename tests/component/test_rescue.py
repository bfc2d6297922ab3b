"""What a guard goes back from when the agent is gone: all it can, whatever else it cannot."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast_edge import rescue
from holdfast_edge.core.trial import Changed, Limits, Trial
from holdfast_edge.providers.registry import Registry
from holdfast_edge.store import trials
from holdfast_edge.store.trials import Kept
from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire.names import ResourceKey
from support.provider import FakeProvider

pytestmark = [pytest.mark.anyio, pytest.mark.invariant("agent-is-never-its-own-casualty")]


def firewall(name: str) -> dict[str, Any]:
    metadata = {"name": name}
    return {"apiVersion": "holdfast.io/v1alpha1", "kind": "Firewall", "metadata": metadata, "spec": {"ruleset": ""}}


async def test_one_change_that_cannot_be_gone_back_from_keeps_no_other_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = FakeProvider("Firewall")
    changes = []
    for name in ("a", "b"):
        key = ResourceKey(f"Firewall/{name}")
        provider.world[key] = firewall(name)
        changes.append(Changed(key, None, firewall(name), "digest"))
    provider.fails["Firewall/b"] = [TransientError("busy", reason="Busy")]
    trials.write(tmp_path, Kept(Trial("id", "an earlier boot", 0.0, True, (), tuple(changes))))
    monkeypatch.setattr(rescue, "equipped", lambda *given: Registry([provider]))
    settings: Any = SimpleNamespace(
        state_dir=str(tmp_path), dead_man=Limits(), timing=SimpleNamespace(change_within_s=5.0)
    )
    with pytest.raises(TransientError, match="busy"):
        await rescue.run_rescue(settings, tmp_path / "edge.toml", "id", 0.0)
    assert list(provider.world) == ["Firewall/b"]
    kept = trials.read(tmp_path).trial
    assert kept is not None
    assert kept.cause == rescue.CAUSE
