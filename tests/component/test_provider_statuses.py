"""What expressions may read of each kind: its `status`, from the real provider over a folder."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from holdfast_edge.providers.container.configuration import ConfigurationProvider
from holdfast_edge.providers.files.directories import DirectoryProvider
from holdfast_edge.providers.files.provider import FileProvider
from holdfast_edge.providers.port import Finder, Provider, Scope
from holdfast_edge.providers.systemd.home import Home
from holdfast_edge.providers.systemd.port import SystemdBackend, UnitState
from holdfast_edge.providers.systemd.provider import UnitProvider
from holdfast_protocol.errors import UnsupportedError
from holdfast_protocol.wire.target import resource

pytestmark = pytest.mark.anyio


async def status_of(provider: Provider, kind: str, **fields: Any) -> Mapping[str, Any]:
    made = resource({"apiVersion": "v1", "kind": kind, "metadata": {"name": "it"}, **fields})
    scope = Scope({made.key: made})
    await provider.apply(made, scope)
    return (await provider.observe([made], scope))[made.key].status


async def test_a_file_says_its_size_digest_mode_and_owner(tmp_path: Path) -> None:
    provider = FileProvider(roots=[tmp_path / "srv"], denied=[], state=tmp_path / "state")
    path = tmp_path / "srv/motd"
    path.parent.mkdir()
    status = await status_of(provider, "File", spec={"path": str(path), "content": "hello\n", "mode": "0640"})
    stat = path.stat()
    assert status == {
        "path": str(path),
        "size": 6,
        "mode": "0640",
        "owner": stat.st_uid,
        "group": stat.st_gid,
        "sha256": hashlib.sha256(b"hello\n").hexdigest(),
    }


async def test_a_directory_says_its_mode_and_owner(tmp_path: Path) -> None:
    (tmp_path / "srv").mkdir()
    provider = DirectoryProvider(roots=[tmp_path / "srv"], denied=[], state=tmp_path / "state")
    status = await status_of(provider, "Directory", spec={"path": str(tmp_path / "srv/data"), "mode": "0750"})
    stat = (tmp_path / "srv/data").stat()
    assert status == {
        "path": str(tmp_path / "srv/data"),
        "mode": "0750",
        "owner": stat.st_uid,
        "group": stat.st_gid,
    }


async def test_configuration_says_its_keys_and_nothing_of_its_values(tmp_path: Path) -> None:
    provider = ConfigurationProvider(tmp_path / "state")
    status = await status_of(provider, "Secret", stringData={"b": "hidden", "a": "hidden"})
    assert status["keys"] == ["a", "b"]
    assert "hidden" not in str(status)


class Units:
    """A systemd that knows one service."""

    async def states(self, names: Sequence[str], *, fresh: bool) -> Mapping[str, UnitState]:
        known = UnitState("cron.service", load="loaded", active="active", sub="running", file_state="enabled")
        return {name: known if name == known.name else UnitState(name) for name in names}


async def test_a_service_nobody_here_made_is_found_by_its_name(tmp_path: Path) -> None:
    home = Home("unix:path=/nowhere", tmp_path / "units", tmp_path, tmp_path / "runtime")
    provider = UnitProvider(cast(SystemdBackend, Units()), home, state=tmp_path / "state")
    assert isinstance(provider, Finder)
    (found,) = await provider.find("SystemdService", "cron", "")
    assert found["metadata"] == {"name": "cron"}
    assert (found["status"]["activeState"], found["status"]["subState"]) == ("active", "running")
    assert await provider.find("SystemdService", "gone", "") == []
    with pytest.raises(UnsupportedError):
        await provider.find("SystemdService", "", "")
