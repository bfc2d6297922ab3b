"""File against a real file system: made, mended, whole or not at all, and back to what was before."""

import base64
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast_edge.providers.disk import looks
from holdfast_edge.providers.files.provider import FileProvider
from holdfast_edge.providers.port import Scope
from holdfast_protocol.errors import PermanentError
from holdfast_protocol.wire import target
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


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_file_is_made_with_its_folders_and_removed_with_them(provider: FileProvider, root: Path) -> None:
    (root / "there").mkdir()
    resource = file(root / "there/made/deep/app.conf", mode="0640")
    before = await look(provider, resource)
    assert not before.exists
    await converge(provider, resource)
    path = root / "there/made/deep/app.conf"
    assert (path.read_text(), mode(path), mode(path.parent)) == ("one\n", 0o640, 0o755)
    await provider.remove(resource.key, resource.body)
    await provider.remove(resource.key, resource.body)
    assert list((root / "there").iterdir()) == []
    assert (root / "there").is_dir()


async def test_folders_are_made_as_said_whatever_the_umask(provider: FileProvider, root: Path) -> None:
    old = os.umask(0o077)
    try:
        await converge(provider, file(root / "a/b", mode="0644"))
    finally:
        os.umask(old)
    assert (mode(root / "a"), mode(root / "a/b")) == (0o755, 0o644)


async def test_a_folder_with_something_else_in_it_stays_and_one_of_ours_inherits_it(
    provider: FileProvider, root: Path
) -> None:
    first, second = file(root / "made/first", name="first"), file(root / "made/second", name="second")
    await converge(provider, first)
    await converge(provider, second)
    await provider.remove(first.key, first.body)
    assert (root / "made/second").exists()
    await provider.remove(second.key, second.body)
    assert not (root / "made").exists()


@pytest.mark.parametrize("given", ["content", "contentBase64", "configMap", "binary", "secret", "stringData"])
async def test_content_comes_from_where_the_spec_says(provider: FileProvider, root: Path, given: str) -> None:
    word = base64.b64encode(b"w\xc3\xb6rd").decode()
    parts: dict[str, Any] = {
        "configMap": {"kind": "ConfigMap", "data": {"k": "wörd"}},
        "binary": {"kind": "ConfigMap", "binaryData": {"k": word}},
        "secret": {"kind": "Secret", "data": {"k": word}},
        "stringData": {"kind": "Secret", "stringData": {"k": "wörd"}},
    }
    specs: dict[str, Any] = {"content": {"content": "wörd"}, "contentBase64": {"contentBase64": word}}
    resources = {}
    if given in parts:
        source = target.resource({"apiVersion": "v1", "metadata": {"name": "source"}} | parts[given])
        resources[source.key] = source
        specs[given] = {"contentFrom": {source.kind[0].lower() + source.kind[1:]: "source", "key": "k"}}
    resource = file(root / "x", None, **specs[given])
    await converge(provider, resource, Scope(resources=resources))
    assert (root / "x").read_bytes() == "wörd".encode()
    assert mode(root / "x") == (0o600 if given in {"secret", "stringData"} else 0o644)


async def test_a_changed_source_is_a_difference(provider: FileProvider, root: Path) -> None:
    def scope(text: str) -> Scope:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": text}}
        source = target.resource(body)
        return Scope(resources={source.key: source})

    resource = file(root / "x", None, contentFrom={"configMap": "c", "key": "k"})
    await converge(provider, resource, scope("one"))
    assert (await look(provider, resource, scope("two"))).differences == ("content: differs",)
    assert refuse(provider, resource) == "MissingReference"


async def test_every_kind_of_drift_is_seen_and_repaired(provider: FileProvider, root: Path) -> None:
    path = root / "x"
    resource = file(path, mode="0640", owner=os.getuid(), group=os.getgid())

    def swapped() -> None:
        path.unlink()
        path.symlink_to("/etc/hostname")

    drifts: dict[str, Any] = {
        "content: differs": lambda: path.write_text("two\n"),
        "mode: is 0600, wanted 0640": lambda: path.chmod(0o600),
        "path: nothing is there": path.unlink,
        "path: a link stands there": swapped,
    }
    for said, change in drifts.items():
        await converge(provider, resource)
        change()
        assert said in (await look(provider, resource)).differences
    await converge(provider, resource)
    assert not path.is_symlink()
    assert Path("/etc/hostname").exists()


async def test_a_change_within_the_same_tick_and_of_the_same_size_is_seen(provider: FileProvider, root: Path) -> None:
    resource = file(root / "x", "aaaa")
    for _ in range(50):
        await converge(provider, resource)
        (root / "x").write_text("bbbb")
        assert (await look(provider, resource)).differences == ("content: differs",)


async def test_a_file_system_with_a_coarse_clock_hides_no_change(
    provider: FileProvider, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "_signature", lambda seen: (seen.st_ino,))  # as if within one tick
    await converge(provider, file(root / "x", "aaaa"))
    (root / "x").write_text("bbbb")
    assert (await look(provider, file(root / "x", "aaaa"))).differences == ("content: differs",)


async def test_what_the_spec_does_not_say_is_not_compared(provider: FileProvider, root: Path) -> None:
    resource = file(root / "x")
    await converge(provider, resource)
    (root / "x").chmod(0o600)
    assert (await look(provider, resource)).as_wanted
    await converge(provider, file(root / "x", "two"))
    assert mode(root / "x") == 0o600, "a mode that is not ours to say is kept"


@pytest.mark.root
async def test_owner_and_group_are_set_by_name_and_by_number(provider: FileProvider, root: Path) -> None:
    await converge(provider, file(root / "x", owner="nobody", group=12345, mode="0600"))
    assert ((root / "x").stat().st_uid, (root / "x").stat().st_gid) == (65534, 12345)
    os.chown(root / "x", 0, 0)
    seen = await look(provider, file(root / "x", owner="nobody", group=12345))
    assert seen.differences == ("owner: is 0, wanted nobody", "group: is 0, wanted 12345")
    with pytest.raises(PermanentError) as caught:
        await provider.apply(file(root / "x", owner="nobody-knows-them"), NOTHING)
    assert caught.value.reason == "UnknownAccount"


@pytest.mark.parametrize("kind", ["file", "link"])
@pytest.mark.invariant("only-owned-things-are-removed")
async def test_what_stood_there_before_comes_back(
    provider: FileProvider, root: Path, tmp_path: Path, kind: str
) -> None:
    path = root / "x"
    if kind == "file":
        path.write_bytes(b"before\0us")
        path.chmod(0o604)
    else:
        path.symlink_to("elsewhere")
    await converge(provider, file(path, "ours", mode="0600"))
    await converge(provider, file(path, "ours again", mode="0600"))
    successor = fresh(root, tmp_path)
    await successor.remove(file(path).key, {})
    if kind == "file":
        assert (path.read_bytes(), mode(path)) == (b"before\0us", 0o604)
    else:
        assert os.readlink(path) == "elsewhere"


@pytest.mark.invariant("only-owned-things-are-removed")
async def test_a_file_we_never_wrote_is_never_removed(provider: FileProvider, root: Path) -> None:
    (root / "x").write_text("one\n")
    resource = file(root / "x")
    assert (await look(provider, resource)).as_wanted
    await provider.remove(resource.key, resource.body)
    assert (root / "x").read_text() == "one\n"


async def test_a_new_path_leaves_nothing_at_the_old_one(provider: FileProvider, root: Path) -> None:
    await converge(provider, file(root / "old/x"))
    await converge(provider, file(root / "new/x"))
    assert not (root / "old").exists()


async def test_a_path_taken_over_by_another_resource_survives_the_first_one_s_removal(
    provider: FileProvider, root: Path
) -> None:
    (root / "x").write_text("before")
    first, second = file(root / "x", "first", name="first"), file(root / "x", "second", name="second")
    both = Scope(resources={first.key: first, second.key: second})
    await provider.apply(first, both)
    with pytest.raises(PermanentError) as caught:
        await provider.apply(second, both)
    assert caught.value.reason == "PathTaken"
    await provider.apply(second, Scope(resources={second.key: second}))
    await provider.remove(first.key, first.body)
    assert (root / "x").read_text() == "second"
    await provider.remove(second.key, second.body)
    assert (root / "x").read_text() == "before"


class Killed(BaseException):
    """The agent ends here."""


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> list[str]:
    """Let the `step`-th call that changes the disk not happen, nor any after it; return the calls made, as they come."""
    calls: list[str] = []

    def mortal(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            calls.append(name)
            if len(calls) >= step:
                raise Killed
            return real(*arguments, **keywords)

        monkeypatch.setattr(os, name, call)

    for name in ("write", "rename", "unlink", "rmdir", "fsync", "fchmod", "mkdir"):
        mortal(name)
    return calls


@pytest.mark.invariant("intent-before-effect")
@pytest.mark.parametrize("before", ["before", None])
@pytest.mark.parametrize("act", ["apply", "remove"])
async def test_a_kill_anywhere_leaves_the_old_or_the_new_file_and_the_next_agent_finishes(
    root: Path, tmp_path: Path, act: str, before: str | None
) -> None:
    path = root / "made/x"
    resource = file(path, "ours")
    step = 0
    killed = True
    while killed:
        step += 1
        if before is not None:
            path.parent.mkdir(exist_ok=True)
            path.write_text(before)
        agent = fresh(root, tmp_path)
        if act == "remove":
            await converge(agent, resource)
        with pytest.MonkeyPatch.context() as patched:
            kill_at(patched, step)
            try:
                agent._apply(resource, NOTHING) if act == "apply" else agent._remove(resource.key, frozenset())
                killed = False
            except Killed:
                pass
        assert (path.read_text() if path.exists() else None) in {before, "ours"}
        successor = fresh(root, tmp_path)
        if act == "apply":
            await converge(successor, resource)
            assert [each.name for each in path.parent.iterdir()] == ["x"], "no half-written file is left"
        await successor.remove(resource.key, resource.body)
        assert (path.read_text() if path.exists() else None) == before
        if before is None:
            assert not (root / "made").exists()
        assert list((tmp_path / "state").glob("*.json")) == []
    assert step > 5, "there are more places to die than that"


async def test_readers_see_whole_files_only(provider: FileProvider, root: Path) -> None:
    one, two = "1" * 50_000, "2" * 70_000
    await converge(provider, file(root / "x", one))
    seen: set[str] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add((root / "x").read_text())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for n in range(60):
            await provider.apply(file(root / "x", two if n % 2 else one), NOTHING)
    finally:
        done.set()
        reader.join()
    assert seen <= {one, two}


async def test_what_a_cut_left_of_a_file_that_moved_is_seen_and_taken_away(
    provider: FileProvider, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").write_text("before us\n")
    await converge(provider, file(root / "a"))

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(provider, "_remove", cut)
        with pytest.raises(KeyboardInterrupt):
            provider._apply(file(root / "b"), NOTHING)
    provider = fresh(root, tmp_path)
    assert (await look(provider, file(root / "b"))).differences == (f"path: {root / 'a'} is left over",)
    await converge(provider, file(root / "b"))
    assert ((root / "a").read_text(), (root / "b").read_text()) == ("before us\n", "one\n")
