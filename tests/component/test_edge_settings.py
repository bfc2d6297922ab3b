"""edge.toml: read, and refused with every trouble by its key."""

import base64
from pathlib import Path

import pytest

from holdfast_edge import settings
from holdfast_protocol.errors import InputError
from holdfast_protocol.wire.envelope import key_id
from support.builders import HUB, NODE

PUBLIC = base64.b64encode(HUB.public).decode()
GOOD = f"""
fleet = "acme"
site = "press-01"
state_dir = "/var/lib/holdfast-edge"
key_file = "node.key"

[hub]
host = "hub.example"

[trust]
threshold = 1
[[trust.keys]]
public = "{PUBLIC}"
epoch = 2
"""


def read(folder: Path, text: str) -> settings.Settings:
    (folder / "edge.toml").write_text(text)
    return settings.read(folder / "edge.toml")


def refused(folder: Path, text: str) -> list[tuple[str, str]]:
    with pytest.raises(InputError) as error:
        read(folder, text)
    assert all(problem.file == str(folder / "edge.toml") for problem in error.value.problems)
    return [(problem.path, problem.message) for problem in error.value.problems]


def test_the_least_one_must_say_is_enough(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD)
    assert (found.node, found.hub.port, found.devices, found.providers.systemd) == ("node-1", 1883, None, "")
    assert found.state_dir == "/var/lib/holdfast-edge"
    assert found.key_file == str(tmp_path / "node.key")
    trust = found.trusted()
    assert (trust.keys, trust.epochs) == ({key_id(HUB.public): HUB.public}, {key_id(HUB.public): 2})


def test_everything_one_can_say_is_read(tmp_path: Path) -> None:
    more = """
[devices]
port = 1884
topics = ["plant/#"]
[providers]
file_roots = ["/etc", "/srv"]
engine = "unix:///run/docker.sock"
systemd = "system"
[timing]
look_every_s = 5
[quotas]
p3 = 1000000
"""
    found = read(tmp_path, GOOD + more)
    assert found.devices is not None
    assert found.devices.topics == ("plant/#",)
    assert (found.providers.systemd, found.timing.look_every_s, found.quotas.p3) == ("system", 5.0, 1_000_000)


@pytest.mark.parametrize(
    ("old", "new", "path", "said"),
    [
        ('host = "hub.example"', "host = 7", "hub.host", "must be text, not a whole number"),
        ('host = "hub.example"', "", "hub", "host is missing"),
        ("[hub]", "[hub]\nhots = 1", "hub.hots", "unknown field 'hots'"),
        ("[hub]", "quotas.p4 = 1\n[hub]", "quotas.p4", "unknown field 'p4'"),
        ("[hub]", "quotas.p3 = 0\n[hub]", "quotas.p3", "must be 1 or more"),
        ("[hub]", "quotas.ballast = -1\n[hub]", "quotas.ballast", "must be 0 or more"),
        ("[hub]", 'profile = "large"\n[hub]', "profile", "'large' is none of micro, mini, standard"),
        ('"press-01"', '"Press 01"', "site", "lower-case"),
        (f'"{PUBLIC}"', '"abc"', "trust.keys[0].public", "base64 of 32 bytes"),
        ("epoch = 2", "epoch = 0", "trust.keys[0].epoch", "1 or more"),
        ("threshold = 1", "threshold = 2", "trust.threshold", "1 to 1"),
        ("[hub]", "[hub]\nport = 70000", "hub.port", "65535"),
        ("[hub]", "[timing]\nsoak_s = 0\n[hub]", "timing.soak_s", "more than 0"),
        ("[hub]", '[providers]\nfile_roots = ["etc"]\n[hub]', "providers.file_roots[0]", "absolute"),
        ("[hub]", '[providers]\nengine = "tcp://x:1"\n[hub]', "providers.engine", "local socket"),
        ("[hub]", '[devices]\ntopics = ["a/+"]\n[hub]', "devices.topics", "does not say where a device stands"),
    ],
)
def test_what_is_wrong_is_named_by_its_key(tmp_path: Path, old: str, new: str, path: str, said: str) -> None:
    assert old in GOOD
    ((found, message),) = refused(tmp_path, GOOD.replace(old, new, 1))
    assert found == path
    assert said in message


def test_several_troubles_are_said_at_once(tmp_path: Path) -> None:
    assert (
        len(refused(tmp_path, GOOD.replace("acme", "A").replace("press-01", "B").replace("epoch = 2", "epoch = 0")))
        == 3
    )


@pytest.mark.parametrize("text", ["fleet = \nx = 1", "\x00", "a = 1\na = 2\n"])
def test_what_is_not_toml_is_said_with_its_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"edge\.toml:[12]:\d+: "):
        read(tmp_path, text)


def test_the_key_is_read_from_its_file_and_nothing_else_is_a_key(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD)
    with pytest.raises(InputError, match=r"node\.key"):
        settings.signer(found)
    (tmp_path / "node.key").write_text(base64.b64encode(bytes(range(32, 64))).decode() + "\n")
    assert settings.signer(found).public == NODE.public
    (tmp_path / "node.key").write_text("c2hvcnQ=")
    with pytest.raises(InputError, match="32 bytes"):
        settings.signer(found)
