"""File against hostile paths, links, races and a full disk: inside the allowed folders only, nothing half done."""

import ctypes
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast_edge.providers.disk import owned
from holdfast_edge.providers.disk.descent import Roots
from holdfast_edge.providers.files.provider import FileProvider
from holdfast_protocol.errors import PermanentError, TransientError
from holdfast_protocol.wire import target
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource
from support.files import NOTHING, converge, file, fresh, look, refuse

pytestmark = pytest.mark.anyio


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir(mode=0o755)
    return tmp_path / "root"


@pytest.fixture
def provider(root: Path, tmp_path: Path) -> FileProvider:
    return fresh(root, tmp_path)


@pytest.fixture(autouse=True)
def no_descriptor_is_left_open() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    after = len(os.listdir("/proc/self/fd"))
    assert after <= before + 8, "descriptors leak"  # the event loop and its threads hold a few


HOSTILE = [
    "relative/x",
    "{root}/../outside",
    "{root}/a/../../outside",
    "{root}/./x",
    "{root}//x",
    "{root}/x/",
    "{root}",
    "/",
    "",
    "{root}/a\0b",
    "{root}/a\nb",
    "{root}/\x7f",
    "{root}/\ud800",
    "{root}/" + "n" * 256,
    "{root}/" + "n/" * 2500 + "x",
    "{root}/.holdfast-0123",
    "{root}x/y",
    "~/x",
    "$HOME/x",
    "{root}\\..\\x",
    "/proc/self/root/{root}/x",
    "/etc/passwd",
]


@pytest.mark.parametrize("path", HOSTILE)
async def test_a_hostile_path_is_refused_and_changes_nothing(
    provider: FileProvider, root: Path, tmp_path: Path, path: str
) -> None:
    body = file("x").body
    body["spec"]["path"] = path.replace("{root}", str(root))
    resource = Resource(key=ResourceKey("File/file"), digest=target.resource(file("x").body).digest, body=body)
    assert refuse(provider, resource) in {"BadPath", "OutsideRoots"}
    with pytest.raises(PermanentError):
        await provider.apply(resource, NOTHING)
    seen = await look(provider, resource)
    assert (seen.as_wanted, seen.readiness) == (False, "degraded")
    assert list(root.iterdir()) == []
    assert sorted(each.name for each in tmp_path.iterdir()) in (["root"], ["root", "state"])


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"mode": "4755"}, "UnsafeMode"),
        ({"mode": "02644"}, "UnsafeMode"),
        ({"mode": "1777"}, "UnsafeMode"),
        ({"mode": 420}, "InvalidSpec"),
        ({"mode": "0888"}, "InvalidSpec"),
        ({"mode": "rw-r--r--"}, "InvalidSpec"),
        ({"owner": "ro ot"}, "InvalidSpec"),
        ({"owner": -1}, "InvalidSpec"),
        ({"group": 2**32 - 1}, "InvalidSpec"),
        ({"owner": "../x"}, "InvalidSpec"),
        ({"colour": "red"}, "InvalidSpec"),
        ({"contentBase64": "AAAA"}, "InvalidSpec"),
        ({"content": "x" * (1024 * 1024 + 1)}, "TooLarge"),
        ({"content": "\ud800"}, "InvalidSpec"),
        ({"content": 5}, "InvalidSpec"),
    ],
)
def test_a_spec_that_could_never_be_applied_is_refused(
    provider: FileProvider, root: Path, spec: dict[str, Any], reason: str
) -> None:
    body = file(root / "x").body
    body["spec"] |= spec
    assert refuse(provider, Resource(key=ResourceKey("File/file"), digest=file("x").digest, body=body)) == reason


@pytest.mark.invariant("agent-is-never-its-own-casualty")
async def test_the_agent_s_own_paths_are_refused_under_every_name(root: Path, tmp_path: Path) -> None:
    agent = root / "agent"
    agent.mkdir()
    (agent / "key").write_text("secret")
    (root / "alias").symlink_to(agent)
    (tmp_path / "linked").symlink_to(agent)
    provider = FileProvider(
        roots=[root, tmp_path / "linked"], denied=[agent, root / "alias", root / "etc/edge.toml"], state=root / "state"
    )
    for path in ("agent", "agent/key", "agent/new", "alias", "alias/key", "state/ledger", "etc/edge.toml", "etc"):
        assert refuse(provider, file(root / path)) == "AgentPath", path
    assert refuse(provider, file(tmp_path / "linked/key")) == "AgentPath"
    os.link(agent / "key", root / "hard")
    other = FileProvider(roots=[root], denied=[agent / "key"], state=tmp_path / "state")
    with pytest.raises(PermanentError) as caught:
        await other.apply(file(root / "hard"), NOTHING)
    assert caught.value.reason == "AgentPath"
    assert (agent / "key").read_text() == "secret"


@pytest.mark.parametrize("where", ["first", "last"])
async def test_a_link_on_the_way_is_refused(provider: FileProvider, root: Path, tmp_path: Path, where: str) -> None:
    outside = tmp_path / "outside"
    (outside / "b").mkdir(parents=True)
    if where == "first":
        (root / "a").symlink_to(outside)
    else:
        (root / "a").mkdir()
        (root / "a/b").symlink_to(outside / "b")
    with pytest.raises(PermanentError) as caught:
        await provider.apply(file(root / "a/b/x"), NOTHING)
    assert caught.value.reason in {"SymbolicLink", "NotAFolder"}
    assert list((outside / "b").iterdir()) == []


async def test_a_link_at_the_end_is_replaced_and_not_followed(
    provider: FileProvider, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "victim").write_text("untouched")
    (root / "x").symlink_to(tmp_path / "victim")
    await converge(provider, file(root / "x", mode="0600"))
    assert (tmp_path / "victim").read_text() == "untouched"
    assert not (root / "x").is_symlink()


async def test_no_race_with_a_swapped_folder_leads_outside(provider: FileProvider, root: Path, tmp_path: Path) -> None:
    """Somebody swaps a folder on the way for a link as fast as they can while we write."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "way").mkdir()
    (root / "spare").symlink_to(outside)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            exchange(root / "way", root / "spare")

    swapper = threading.Thread(target=swap)
    swapper.start()
    written = refused = 0
    try:
        while not (written > 20 and refused > 20):
            try:
                await provider.apply(file(root / "way/x", f"content {written}"), NOTHING)
                written += 1
            except (PermanentError, TransientError):
                refused += 1
    finally:
        done.set()
        swapper.join()
    assert list(outside.iterdir()) == []


def exchange(one: Path, two: Path) -> None:
    """Swap two names in one step."""
    libc = ctypes.CDLL(None, use_errno=True)
    at_cwd, swap = -100, 2
    if libc.renameat2(at_cwd, bytes(one), at_cwd, bytes(two), swap) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@pytest.mark.root
@pytest.mark.parametrize(
    ("bits", "uid", "allowed"),
    [
        (0o755, 0, True),
        (0o755, 1000, True),
        (0o775, 0, True),
        (0o775, 1000, False),
        (0o777, 0, False),
        (0o757, 1000, False),
        (0o1777, 0, True),
        (0o1777, 1000, False),
    ],
)
async def test_a_folder_others_may_write_in_is_refused(
    provider: FileProvider, root: Path, bits: int, uid: int, allowed: bool
) -> None:
    (root / "shared").mkdir()
    os.chown(root / "shared", uid, 0)
    (root / "shared").chmod(bits)
    if allowed:
        await converge(provider, file(root / "shared/x"))
        return
    with pytest.raises(PermanentError) as caught:
        await provider.apply(file(root / "shared/x"), NOTHING)
    assert caught.value.reason == "UnsafeFolder"
    assert list((root / "shared").iterdir()) == []


@pytest.mark.parametrize("thing", ["folder", "pipe"])
async def test_what_is_no_file_is_neither_replaced_nor_removed(provider: FileProvider, root: Path, thing: str) -> None:
    path = root / "x"
    (os.mkdir if thing == "folder" else os.mkfifo)(path)
    with pytest.raises(PermanentError) as caught:
        await provider.apply(file(path), NOTHING)
    assert caught.value.reason == "NotAFile"
    assert (await look(provider, file(path))).differences == ("path: no file stands there",)
    await provider.remove(file(path).key, {})
    assert path.exists()


async def test_a_full_disk_is_transient_and_keeps_the_old_file(
    provider: FileProvider, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await converge(provider, file(root / "x", "old"))

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(TransientError) as caught:
        await provider.apply(file(root / "x", "new"), NOTHING)
    monkeypatch.undo()
    assert caught.value.reason == "DiskFull"
    assert [each.read_text() for each in root.iterdir()] == ["old"]


async def test_too_large_a_file_is_not_taken_over(
    provider: FileProvider, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owned, "MAX_BEFORE", 3)
    (root / "x").write_text("1234")
    with pytest.raises(PermanentError) as caught:
        await provider.apply(file(root / "x"), NOTHING)
    assert caught.value.reason == "TooLargeToKeep"
    assert (root / "x").read_text() == "1234"


async def test_a_damaged_ledger_entry_is_set_aside_and_the_rest_stands(
    provider: FileProvider, root: Path, tmp_path: Path
) -> None:
    await converge(provider, file(root / "x", name="x"))
    (entry,) = (tmp_path / "state").glob("*.json")
    entry.write_bytes(b"{half")
    await converge(provider, file(root / "y", name="y"))
    successor = fresh(root, tmp_path)
    await successor.remove(file(root / "x", name="x").key, {})
    await successor.remove(file(root / "y", name="y").key, {})
    assert [each.name for each in root.iterdir()] == ["x"]
    assert len(list((tmp_path / "state").glob("*.damaged"))) == 1


def test_a_place_is_found_under_the_nearest_root(tmp_path: Path) -> None:
    roots = Roots([tmp_path, tmp_path / "deep", Path("/")])
    assert roots.place(str(tmp_path / "deep/x")).root == str(tmp_path / "deep")
    assert roots.place(str(tmp_path / "deepest/x")).root == str(tmp_path)
    assert roots.place("/etc/x").parts == ("etc", "x")
