"""What the settings do not open is refused with what to write to open it."""

from pathlib import Path

import pytest

from holdfast_edge.providers.kubernetes.access import Access
from holdfast_edge.providers.offers import equip
from holdfast_edge.providers.port import Provider, Scope
from holdfast_edge.providers.unsupported import UnsupportedProvider
from holdfast_edge.store.bridges import Bridges
from holdfast_edge.store.sources import Sources
from holdfast_protocol.errors import UnsupportedError
from holdfast_protocol.kinds.bridge import Place
from holdfast_protocol.kinds.way import Way
from holdfast_protocol.wire import target
from holdfast_protocol.wire.names import ResourceKey
from support.builders import SITE


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("File", "NoFileRoots"),
        ("Directory", "NoFileRoots"),
        ("Sysctl", "KernelClosed"),
        ("KernelModule", "KernelClosed"),
        ("Firewall", "KernelClosed"),
        ("Package", "PackagesClosed"),
        ("User", "AccountsClosed"),
        ("Group", "AccountsClosed"),
        ("SSHKey", "AccountsClosed"),
        ("Kubernetes", "NoApiServer"),
        ("Toaster", "UnknownKind"),
    ],
)
def test_a_kind_that_was_not_opened_says_so(kind: str, reason: str, tmp_path: Path) -> None:
    chosen = equip(
        file_roots=(),
        engine="",
        host_paths=(),
        privileged=False,
        systemd="",
        kernel=False,
        network=False,
        machine=False,
        hub=Way("127.0.0.1", 1883),
        site=SITE,
        state=tmp_path,
        denied=(),
        environ={},
    )
    resource = target.resource({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}})
    with pytest.raises(UnsupportedError) as caught:
        chosen.provider(resource.key).check(resource, Scope(resources={}))
    assert caught.value.reason == reason
    assert list(tmp_path.iterdir()) == []


def test_a_provider_is_made_when_its_kind_is_first_asked_for_and_told_of(tmp_path: Path) -> None:
    chosen = equip(
        file_roots=["/srv"],
        engine=f"unix://{tmp_path}/engine.sock",
        host_paths=(),
        privileged=False,
        systemd="user",
        kernel=True,
        network=True,
        machine=True,
        hub=Way("127.0.0.1", 1883),
        site=SITE,
        state=tmp_path / "state",
        denied=(),
        environ={"XDG_RUNTIME_DIR": str(tmp_path)},
        packages=True,
        accounts=True,
        security=True,
        kubernetes=Access("https://127.0.0.1:6443"),
        sources=Sources(tmp_path / "sources"),
        bridges=(Bridges(tmp_path / "bridges"), Place("press-01", "press-01", "", 0)),
    )
    told: list[Provider] = []
    chosen.on_made = told.append
    assert chosen.providers == []
    for kind in sorted(chosen.kinds):
        made = chosen.provider(ResourceKey(f"{kind}/x"))
        assert kind in made.kinds, "an offer names the kinds its provider has"
        assert not isinstance(made, UnsupportedProvider)
        assert chosen.provider(ResourceKey(f"{kind}/y")) is made
    assert told == chosen.providers
    assert sorted(kind for each in told for kind in each.kinds) == sorted(chosen.kinds)
