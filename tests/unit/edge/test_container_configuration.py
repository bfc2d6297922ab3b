"""ConfigMaps and Secrets as files."""

import base64
import stat
from pathlib import Path
from typing import Any

import pytest

from holdfast_edge.providers.container.configuration import ConfigurationProvider
from holdfast_edge.providers.port import Scope
from holdfast_protocol.errors import PermanentError, UnsupportedError
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import resource

pytestmark = pytest.mark.anyio
SCOPE = Scope({})


def document(kind: str, name: str = "settings", namespace: str = "", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **fields}


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def provider(tmp_path: Path) -> ConfigurationProvider:
    return ConfigurationProvider(tmp_path / "state")


async def test_keys_become_files_with_the_modes_their_kind_needs(
    provider: ConfigurationProvider, tmp_path: Path
) -> None:
    config = resource(document("ConfigMap", data={"a.conf": "x"}, binaryData={"b": encoded("y")}))
    hidden = resource(document("Secret", namespace="plant", data={"k": encoded("z")}, stringData={"s": "w"}))
    assert not (await provider.observe([config], SCOPE))[config.key].exists
    for each in (config, hidden):
        await provider.apply(each, SCOPE)
        assert (await provider.observe([each], SCOPE))[each.key].as_wanted

    state = tmp_path / "state"
    files = {str(path.relative_to(state)): path.read_text() for path in state.rglob("*") if path.is_file()}
    assert files == {
        "configmaps/_/settings/a.conf": "x",
        "configmaps/_/settings/b": "y",
        "secrets/plant/settings/k": "z",
        "secrets/plant/settings/s": "w",
    }
    modes = {str(path.relative_to(state)): stat.S_IMODE(path.stat().st_mode) for path in state.rglob("*")}
    assert modes["configmaps/_/settings/a.conf"] == 0o644
    assert modes["secrets/plant/settings/k"] == 0o600
    assert {modes["secrets"], modes["secrets/plant"], modes["secrets/plant/settings"]} == {0o700}


async def test_every_way_to_alter_a_file_is_seen_and_mended(provider: ConfigurationProvider, tmp_path: Path) -> None:
    wanted = resource(document("ConfigMap", data={"a": "x", "b": "y", "c": "z", "d": "w"}))
    await provider.apply(wanted, SCOPE)
    folder = tmp_path / "state/configmaps/_/settings"
    (folder / "a").write_text("other")
    (folder / "b").unlink()
    (folder / "c").chmod(0o600)
    (folder / "d").unlink()
    (folder / "d").mkdir()
    (folder / "surplus").symlink_to("/etc")

    seen = (await provider.observe([wanted], SCOPE))[wanted.key]
    assert seen.differences == tuple(f"file {name} is not as wanted" for name in ("a", "b", "c", "d", "surplus"))
    await provider.apply(wanted, SCOPE)

    assert (await provider.observe([wanted], SCOPE))[wanted.key].as_wanted
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b", "c", "d"]
    assert Path("/etc/passwd").exists()


async def test_a_changed_map_has_its_new_keys_and_no_old_one(provider: ConfigurationProvider, tmp_path: Path) -> None:
    await provider.apply(resource(document("ConfigMap", data={"old": "1", "same": "1"})), SCOPE)
    await provider.apply(resource(document("ConfigMap", data={"new": "1", "same": "2"})), SCOPE)
    folder = tmp_path / "state/configmaps/_/settings"
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"new": "1", "same": "2"}


@pytest.mark.invariant("only-owned-things-are-removed")
async def test_removal_takes_its_own_folder_and_no_other(provider: ConfigurationProvider, tmp_path: Path) -> None:
    first, other = (resource(document("Secret", name)) for name in ("one", "two"))
    await provider.apply(first, SCOPE)
    await provider.apply(other, SCOPE)
    await provider.remove(first.key, first.body)
    await provider.remove(first.key, first.body)
    await provider.remove(ResourceKey("Secret/.."), {})
    await provider.remove(ResourceKey("Secret/../two"), {})
    assert [path.name for path in (tmp_path / "state/secrets/_").iterdir()] == ["two"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (document("ConfigMap", data={"../x": "1"}), "a key is letters"),
        (document("ConfigMap", data={"..": "1"}), "a key is letters"),
        (document("ConfigMap", data={"a/b": "1"}), "a key is letters"),
        (document("ConfigMap", data={"": "1"}), "a key is letters"),
        (document("ConfigMap", data={"a": 1}), "data[...]: expected `str`"),
        (document("ConfigMap", data={"a": "1"}, binaryData={"a": "eA=="}), "binaryData.a: is in data too"),
        (document("ConfigMap", data={"a": "x" * 1_048_577}), "more than 1048576 bytes"),
        (document("Secret", data={"a": "not base64!"}), "data.a: not base64"),
        (document("Secret", "../x"), "DNS names"),
        (document("Secret", "a/b"), "DNS names"),
        (document("Secret", namespace="A"), "DNS names"),
        (document("Secret") | {"apiVersion": "v2"}, "apiVersion"),
    ],
)
async def test_what_could_be_no_folder_of_files_is_refused_and_seen_as_that(
    provider: ConfigurationProvider, tmp_path: Path, body: dict[str, Any], text: str
) -> None:
    wanted = resource(body)
    with pytest.raises(PermanentError) as caught:
        provider.check(wanted, SCOPE)
    assert text in caught.value.message
    with pytest.raises(PermanentError):
        await provider.apply(wanted, SCOPE)
    seen = (await provider.observe([wanted], SCOPE))[wanted.key]
    assert (seen.exists, seen.readiness) == (False, "degraded")
    assert not (tmp_path / "state").exists()


async def test_unknown_fields_are_named(provider: ConfigurationProvider) -> None:
    with pytest.raises(UnsupportedError, match=r"^spec: not supported"):
        provider.check(resource(document("ConfigMap", spec={"a": 1})), SCOPE)


async def test_what_was_declared_immutable_stays(provider: ConfigurationProvider) -> None:
    before = resource(document("ConfigMap", data={"a": "1"}, immutable=True))
    after = resource(document("ConfigMap", data={"a": "2"}, immutable=True))
    scope = Scope({}, previous={before.key: before.body})
    provider.check(before, scope)
    with pytest.raises(PermanentError) as caught:
        provider.check(after, scope)
    assert caught.value.reason == "Immutable"
