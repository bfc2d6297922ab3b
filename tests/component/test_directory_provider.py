"""Directory against a real file system: there as said, never through a link, and gone only when ours and empty."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_edge.providers.disk import watch
from holdfast_edge.providers.files.directories import DirectoryProvider
from holdfast_edge.providers.files.provider import FileProvider
from holdfast_edge.providers.port import Observed, Scope
from holdfast_protocol.errors import PermanentError, ProviderError
from holdfast_protocol.wire import target
from holdfast_protocol.wire.target import Resource
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio
NOTHING = Scope(resources={})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir(mode=0o755)
    return tmp_path / "root"


@pytest.fixture
def provider(root: Path, tmp_path: Path) -> DirectoryProvider:
    return DirectoryProvider(roots=[root], denied=[root / "agent/state"], state=tmp_path / "state")


def directory(path: Path | str, /, name: str = "d", **spec: Any) -> Resource:
    body = {"apiVersion": "v1", "kind": "Directory", "metadata": {"name": name}, "spec": {"path": str(path)} | spec}
    return target.resource(body)


async def look(provider: DirectoryProvider, resource: Resource) -> Observed:
    return (await provider.observe([resource], NOTHING))[resource.key]


async def converge(provider: DirectoryProvider, resource: Resource) -> None:
    provider.check(resource, NOTHING)
    await provider.apply(resource, NOTHING)
    seen = await look(provider, resource)
    assert seen.as_wanted, seen


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_directory_is_made_changed_repaired_and_removed_with_the_way_to_it(
    provider: DirectoryProvider, root: Path
) -> None:
    path = root / "a/b/c"
    resource = directory(path, mode="2750")
    assert not (await look(provider, resource)).exists
    await converge(provider, resource)
    assert (mode(path), mode(path.parent)) == (0o2750, 0o755)
    await converge(provider, directory(path, mode="0700"))
    path.chmod(0o755)
    assert (await look(provider, directory(path, mode="0700"))).differences == ("mode: is 0755, wanted 0700",)
    await converge(provider, directory(path, mode="0700"))
    path.rmdir()
    await converge(provider, directory(path, mode="0700"))
    await provider.remove(resource.key, resource.body)
    await provider.remove(resource.key, resource.body)
    assert list(root.iterdir()) == []


@pytest.mark.root
async def test_owner_and_group_are_given_and_drift_of_them_is_seen(provider: DirectoryProvider, root: Path) -> None:
    resource = directory(root / "a", owner=1234, group="daemon", mode="0770")
    await converge(provider, resource)
    seen = (root / "a").stat()
    assert (seen.st_uid, seen.st_gid, mode(root / "a")) == (1234, 1, 0o770)
    os.chown(root / "a", 0, 0)
    assert [text.split(":")[0] for text in (await look(provider, resource)).differences] == ["owner", "group"]
    unknown = directory(root / "a", owner="nobody-of-that-name")
    assert (await look(provider, unknown)).reason == "UnknownAccount"


async def test_a_new_directory_gets_its_mode_whatever_the_umask(provider: DirectoryProvider, root: Path) -> None:
    old = os.umask(0o077)
    try:
        await converge(provider, directory(root / "a/b"))
    finally:
        os.umask(old)
    assert (mode(root / "a"), mode(root / "a/b")) == (0o755, 0o755)


@pytest.mark.invariant("only-owned-things-are-removed")
async def test_one_that_was_there_keeps_what_is_in_it_and_gets_its_mode_back(
    provider: DirectoryProvider, root: Path, tmp_path: Path
) -> None:
    (root / "a").mkdir(mode=0o711)
    (root / "a/theirs").touch()
    resource = directory(root / "a", mode="0700")
    await converge(provider, resource)
    again = DirectoryProvider(roots=[root], denied=[], state=tmp_path / "state")
    await again.remove(resource.key, resource.body)
    assert mode(root / "a") == 0o711
    (root / "a/theirs").unlink()
    await again.remove(resource.key, resource.body)
    assert (root / "a").is_dir()


@pytest.mark.invariant("only-owned-things-are-removed")
async def test_one_of_ours_with_something_in_it_stays(provider: DirectoryProvider, root: Path) -> None:
    resource = directory(root / "a")
    await converge(provider, resource)
    (root / "a/theirs").touch()
    await provider.remove(resource.key, resource.body)
    assert (root / "a/theirs").exists()


@pytest.mark.invariant("only-owned-things-are-removed")
@pytest.mark.parametrize("refusal", [errno.EIO, errno.EROFS, errno.EACCES])
async def test_one_the_disk_does_not_let_go_of_is_still_ours_to_remove(
    provider: DirectoryProvider, root: Path, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    resource = directory(root / "a/b")
    await converge(provider, resource)

    def refuses(*_: object, **__: object) -> None:
        raise OSError(refusal, os.strerror(refusal))

    with monkeypatch.context() as patched:
        patched.setattr(os, "rmdir", refuses)
        with pytest.raises(ProviderError):
            await provider.remove(resource.key, resource.body)
    await provider.remove(resource.key, resource.body)
    assert list(root.iterdir()) == []


async def test_of_two_one_in_the_other_both_go_whichever_goes_first(provider: DirectoryProvider, root: Path) -> None:
    outer, inner = directory(root / "a", name="outer"), directory(root / "a/b", name="inner")
    for first, second in ((outer, inner), (inner, outer)):
        await converge(provider, outer)
        await converge(provider, inner)
        await provider.remove(first.key, first.body)
        await provider.remove(second.key, second.body)
        assert list(root.iterdir()) == []


async def test_a_directory_that_moves_takes_the_old_one_away(provider: DirectoryProvider, root: Path) -> None:
    await converge(provider, directory(root / "a"))
    await converge(provider, directory(root / "b"))
    assert [path.name for path in root.iterdir()] == ["b"]


async def test_what_a_cut_left_of_one_that_moved_is_seen_and_taken_away(
    provider: DirectoryProvider, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await converge(provider, directory(root / "a"))

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(provider, "_remove", cut)
        with pytest.raises(KeyboardInterrupt):
            provider._apply(directory(root / "b"), NOTHING)
    provider = DirectoryProvider(roots=[root], denied=[], state=tmp_path / "state")
    assert (await look(provider, directory(root / "b"))).differences == (f"path: {root / 'a'} is left over",)
    await converge(provider, directory(root / "b"))
    assert [path.name for path in root.iterdir()] == ["b"]


async def test_files_and_directories_of_ours_share_a_folder(
    provider: DirectoryProvider, root: Path, tmp_path: Path
) -> None:
    files = FileProvider(roots=[root], denied=[], state=tmp_path / "files")
    body = {
        "apiVersion": "v1",
        "kind": "File",
        "metadata": {"name": "f"},
        "spec": {"path": str(root / "a/f"), "content": ""},
    }
    resource, file = directory(root / "a", mode="0750"), target.resource(body)
    await converge(provider, resource)
    await files.apply(file, NOTHING)
    assert mode(root / "a") == 0o750
    await files.remove(file.key, file.body)
    await provider.remove(resource.key, resource.body)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("{root}", "OutsideRoots"),
        ("/etc/x", "OutsideRoots"),
        ("{root}/../x", "BadPath"),
        ("{root}/a//b", "BadPath"),
        ("{root}/a\n", "BadPath"),
        ("a", "BadPath"),
        ("{root}/agent", "AgentPath"),
        ("{root}/agent/state", "AgentPath"),
        ("{root}/agent/state/x", "AgentPath"),
    ],
)
@pytest.mark.invariant("agent-is-never-its-own-casualty")
async def test_a_path_that_may_not_be_ours_is_refused(
    provider: DirectoryProvider, root: Path, path: str, reason: str
) -> None:
    resource = directory(path.format(root=root), mode="0700")
    with pytest.raises(PermanentError) as caught:
        provider.check(resource, NOTHING)
    assert caught.value.reason == reason
    assert (await look(provider, resource)).reason == reason


@pytest.mark.parametrize(
    "spec",
    [
        {"mode": "0777"},
        {"mode": "4755"},
        {"mode": "99"},
        {"mode": "rwx"},
        {"mode": 755},
        {"owner": "a b"},
        {"owner": -1},
        {"x": 1},
    ],
)
async def test_a_spec_that_is_unsafe_or_means_nothing_is_refused(
    provider: DirectoryProvider, root: Path, spec: dict[str, Any]
) -> None:
    with pytest.raises(PermanentError) as caught:
        provider.check(directory(root / "a", **spec), NOTHING)
    assert caught.value.reason in {"InvalidSpec", "UnsafeMode"}


async def test_a_link_or_a_file_in_its_place_is_never_followed(
    provider: DirectoryProvider, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o711)
    (root / "a").symlink_to(tmp_path / "elsewhere")
    (root / "f").touch()
    for path, reason in ((root / "a", "NotAFolder"), (root / "f", "NotAFolder"), (root / "a/b", "NotAFolder")):
        resource = directory(path, mode="0700")
        with pytest.raises(PermanentError) as caught:
            await provider.apply(resource, NOTHING)
        assert caught.value.reason == reason
        assert not (await look(provider, resource)).as_wanted
    assert mode(tmp_path / "elsewhere") == 0o711
    assert list((tmp_path / "elsewhere").iterdir()) == []


async def test_two_resources_of_one_path_are_refused(provider: DirectoryProvider, root: Path) -> None:
    one, two = directory(root / "a", name="one"), directory(root / "a", name="two")
    await converge(provider, one)
    with pytest.raises(PermanentError) as caught:
        await provider.apply(two, Scope(resources={one.key: one, two.key: two}))
    assert caught.value.reason == "PathTaken"


async def test_a_changed_mode_and_a_removed_directory_wake(
    provider: DirectoryProvider, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_AGAIN_S", 0.1)  # others on this machine may have taken all it has to watch with
    await converge(provider, directory(root / "a", mode="0700"))
    woken = anyio.Event()
    changes: list[Callable[[], None]] = [lambda: (root / "a").chmod(0o755), lambda: (root / "a").rmdir()]
    async with anyio.create_task_group() as group:
        group.start_soon(provider.run_watch, lambda: woken.set())
        for change in changes:
            with anyio.fail_after(HANGS_S):
                await woken.wait()  # of the watch being set, or of the change before
                woken = anyio.Event()
                change()
                await woken.wait()
        group.cancel_scope.cancel()
