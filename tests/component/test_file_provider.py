"""File against a real file system: whole or not at all, inside the allowed folders only, and back to what was before."""

import base64
import ctypes
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_edge.providers.disk import looks, owned
from holdfast_edge.providers.disk.descent import Roots
from holdfast_edge.providers.files.provider import FileProvider
from holdfast_edge.providers.port import Observed, Scope
from holdfast_protocol.errors import PermanentError, TransientError
from holdfast_protocol.wire import target
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

pytestmark = pytest.mark.anyio
NOTHING = Scope(resources={})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir(mode=0o755)
    return tmp_path / "root"


@pytest.fixture
def provider(root: Path, tmp_path: Path) -> FileProvider:
    return fresh(root, tmp_path)


def fresh(root: Path, tmp_path: Path) -> FileProvider:
    return FileProvider(roots=[root], denied=[root / "agent"], state=tmp_path / "state")


def file(path: Path | str, content: str | None = "one\n", /, name: str = "", **spec: Any) -> Resource:
    body = {
        "apiVersion": "v1",
        "kind": "File",
        "metadata": {"name": name or "file"},
        "spec": {"path": str(path)} | ({} if content is None else {"content": content}) | spec,
    }
    return target.resource(body)


async def look(provider: FileProvider, resource: Resource, scope: Scope = NOTHING) -> Observed:
    return (await provider.observe([resource], scope))[resource.key]


async def converge(provider: FileProvider, resource: Resource, scope: Scope = NOTHING) -> None:
    provider.check(resource, scope)
    await provider.apply(resource, scope)
    seen = await look(provider, resource, scope)
    assert seen.as_wanted, seen


def refuse(provider: FileProvider, resource: Resource, scope: Scope = NOTHING) -> str:
    with pytest.raises(PermanentError) as caught:
        provider.check(resource, scope)
    return caught.value.reason


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


@pytest.fixture
def many(root: Path) -> list[Resource]:
    return [file(root / f"d{n % 7}/f{n}", f"content {n}", name=f"f{n}", mode="0644") for n in range(120)]


async def test_looking_at_unchanged_files_opens_none_of_them(
    provider: FileProvider, many: list[Resource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "_SETTLED_NS", -1)  # these files are too young to be remembered otherwise
    for resource in many:
        await provider.apply(resource, NOTHING)
    await provider.observe(many, NOTHING)
    opened, start = provider._looks.reads, time.process_time()
    found = await provider.observe(many, NOTHING)
    assert time.process_time() - start < 0.02
    assert all(seen.as_wanted for seen in found.values())
    assert provider._looks.reads == opened


class Wakes:
    def __init__(self) -> None:
        self._event = anyio.Event()

    def __call__(self) -> None:
        self._event.set()

    async def one(self, within: float = 1.0) -> None:
        with anyio.fail_after(within):
            await self._event.wait()
        self._event = anyio.Event()

    async def none(self, within: float = 0.1) -> None:
        with anyio.move_on_after(within):
            await self._event.wait()
            raise AssertionError("woken for nothing")

    async def settle(self) -> None:
        while True:
            self._event = anyio.Event()
            with anyio.move_on_after(0.1) as calm:
                await self._event.wait()
            if calm.cancelled_caught:
                return


@pytest.mark.invariant("no-content-in-wakeups")
async def test_every_change_of_a_file_wakes_and_nothing_else_does(provider: FileProvider, root: Path) -> None:
    path = root / "a/b/x"
    resource = file(path)
    await converge(provider, resource)
    wakes = Wakes()
    (root / "a/b/y").write_text("")

    def renamed_away() -> None:
        os.rename(root / "a", root / "z")

    def renamed_back() -> None:
        os.rename(root / "z", root / "a")

    def replaced() -> None:
        (root / "a/b/other").write_text("two")
        os.rename(root / "a/b/other", path)

    def all_gone() -> None:
        path.unlink()
        (root / "a/b/y").unlink()
        (root / "a/b").rmdir()
        (root / "a").rmdir()

    def back() -> None:
        path.parent.mkdir(parents=True)

    changes: list[Callable[[], object]] = [
        lambda: path.write_text("two"),
        lambda: path.chmod(0o600),
        replaced,
        path.unlink,
        lambda: path.write_text("three"),
        renamed_away,
        renamed_back,
        lambda: path.write_text("four"),
        all_gone,
        back,
        lambda: path.write_text("five"),
    ]
    async with anyio.create_task_group() as group:
        group.start_soon(provider.run_watch, wakes)
        await wakes.one()
        for change in changes:
            await wakes.settle()
            change()
            await wakes.one()
        await wakes.settle()
        (root / "a/b/unrelated").write_text("")
        (root / "unrelated").write_text("")
        await wakes.none()
        group.cancel_scope.cancel()
    await converge(provider, resource)


async def test_the_watch_follows_files_that_come_later(provider: FileProvider, root: Path) -> None:
    wakes = Wakes()
    async with anyio.create_task_group() as group:
        group.start_soon(provider.run_watch, wakes)
        await converge(provider, file(root / "late/x"))
        await wakes.settle()
        (root / "late/x").write_text("drift")
        await wakes.one()
        group.cancel_scope.cancel()


def test_a_place_is_found_under_the_nearest_root(tmp_path: Path) -> None:
    roots = Roots([tmp_path, tmp_path / "deep", Path("/")])
    assert roots.place(str(tmp_path / "deep/x")).root == str(tmp_path / "deep")
    assert roots.place(str(tmp_path / "deepest/x")).root == str(tmp_path)
    assert roots.place("/etc/x").parts == ("etc", "x")


@pytest.fixture(autouse=True)
def no_descriptor_is_left_open() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    after = len(os.listdir("/proc/self/fd"))
    assert after <= before + 8, "descriptors leak"  # the event loop and its threads hold a few
