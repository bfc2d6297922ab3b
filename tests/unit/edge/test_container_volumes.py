"""What a Pod may mount of the host, links followed; and the folders that live with it."""

from pathlib import Path

import pytest

from holdfast_edge.providers.container import volumes
from holdfast_protocol.errors import PermanentError, TransientError
from holdfast_protocol.kinds.pods.admission import Rules
from holdfast_protocol.kinds.pods.specification import PodPlan
from holdfast_protocol.kinds.pods.translation import File
from holdfast_protocol.wire.names import Digest


def pod(folder: Path, *host_paths: tuple[str, str], files: tuple[File, ...] = ()) -> PodPlan:
    return PodPlan(
        replica=0,
        digest=Digest("d"),
        folder=str(folder),
        init=(),
        containers=(),
        files={"conf": files},
        folders=("scratch",),
        host_paths=host_paths,
    )


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    for name in ("data", "state"):
        (tmp_path / name).mkdir()
    return Rules(host_paths=(str(tmp_path / "data"),), state=str(tmp_path / "state"))


@pytest.mark.parametrize("target", ["/etc", "../state", "..", "../data2"])
def test_a_link_out_of_the_roots_or_to_our_own_state_is_not_followed(tmp_path: Path, rules: Rules, target: str) -> None:
    (tmp_path / "data2").mkdir()
    link = tmp_path / "data/link"
    link.symlink_to(target)
    with pytest.raises(PermanentError) as caught:
        volumes.check_host_paths(pod(tmp_path, (str(link), "")), rules)
    assert caught.value.reason == "NotAllowed"


@pytest.mark.invariant("agent-is-never-its-own-casualty")
@pytest.mark.parametrize("target", ["state", "state/volumes", "."])
def test_our_own_state_stays_unseen_whatever_the_roots_are(tmp_path: Path, rules: Rules, target: str) -> None:
    (tmp_path / "state/volumes").mkdir()
    (tmp_path / "data/link").symlink_to(tmp_path / target)
    wide = Rules(host_paths=("/",), state=rules.state)
    with pytest.raises(PermanentError, match="no container may see"):
        volumes.check_host_paths(pod(tmp_path, (str(tmp_path / "data/link"), "")), wide)


def test_types_are_held_and_made_where_they_say_so(tmp_path: Path, rules: Rules) -> None:
    data = tmp_path / "data"
    made = [(str(data / "a/b"), "DirectoryOrCreate"), (str(data / "f"), "FileOrCreate"), (str(data), "Directory")]
    volumes.check_host_paths(pod(tmp_path, *made), rules)
    assert (data / "a/b").is_dir()
    assert (data / "f").is_file()
    for path, kind in ((data / "f", "Directory"), (data / "a", "File"), (data / "f", "Socket"), (data / "none", "")):
        with pytest.raises(TransientError):
            volumes.check_host_paths(pod(tmp_path, (str(path), kind)), rules)


def test_what_a_pod_mounts_is_made_seen_when_altered_and_mended(tmp_path: Path) -> None:
    made = pod(tmp_path / "volumes/x/0-d", files=(File("deep/a", b"1", 0o640), File("b", b"2", 0o400)))
    assert volumes.is_damaged(made)
    volumes.make(made)
    assert not volumes.is_damaged(made)
    folder = Path(made.folder)
    assert (folder / "scratch").stat().st_mode & 0o777 == 0o777
    assert [(tmp_path / part).stat().st_mode & 0o777 for part in ("volumes", "volumes/x")] == [0o700, 0o700]

    (folder / "scratch/kept").write_text("by the container")
    (folder / "conf/deep/a").unlink()
    (folder / "conf/surplus").write_text("")
    assert volumes.is_damaged(made)
    volumes.make(made)
    assert not volumes.is_damaged(made)
    assert (folder / "scratch/kept").exists()


def test_folders_of_pods_that_are_gone_are_taken_away_and_links_in_them_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("")
    old, new = (pod(tmp_path / "volumes/x" / name) for name in ("0-old", "0-new"))
    for each in (old, new):
        volumes.make(each)
    (Path(old.folder) / "scratch/link").symlink_to(outside)
    volumes.prune(tmp_path / "volumes/x", {"0-new"})
    assert [path.name for path in (tmp_path / "volumes/x").iterdir()] == ["0-new"]
    assert (outside / "kept").exists()
    volumes.remove(tmp_path / "volumes/x")
    volumes.remove(tmp_path / "volumes/x")
    assert not (tmp_path / "volumes/x").exists()
