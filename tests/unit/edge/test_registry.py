"""What the settings do not open is refused with what to write to open it."""

from pathlib import Path

import pytest

from holdfast_edge.providers import registry
from holdfast_edge.providers.port import Scope
from holdfast_protocol.errors import UnsupportedError
from holdfast_protocol.kinds.firewall import Way
from holdfast_protocol.wire import target
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
    chosen = registry.equip(
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
