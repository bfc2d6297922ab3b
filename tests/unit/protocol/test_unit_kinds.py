"""What timers, sockets, mounts, drop-ins and units of others may ask for, and the files they are."""

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds import (
    systemd_drop_in,
    systemd_mount,
    systemd_service,
    systemd_socket,
    systemd_timer,
    systemd_unit,
)
from holdfast_protocol.kinds.unit_names import mount_name

TIMER = "[Timer]\nOnCalendar=daily\n[Install]\nWantedBy=timers.target\n"
SOCKET = "[Socket]\nListenStream=80\n"


def mount(where: str = "/srv/a", more: str = "") -> str:
    return f"[Mount]\nWhat=tmpfs\nWhere={where}\n{more}"


def refusal(judge: Callable[[dict[str, Any], str], object], spec: dict[str, Any], name: str = "one") -> WireError:
    with pytest.raises(WireError) as caught:
        judge(spec, name)
    return caught.value


def test_each_kind_of_unit_has_its_suffix() -> None:
    assert systemd_timer.wanted({"unit": TIMER}, "backup").name == "backup.timer"
    assert systemd_timer.wanted({"unit": TIMER, "name": "other.timer"}, "backup").name == "other.timer"
    assert systemd_socket.wanted({"unit": SOCKET}, "shop").name == "shop.socket"
    assert systemd_mount.wanted({"unit": mount("/srv/a-b")}).name == r"srv-a\x2db.mount"


@pytest.mark.parametrize(
    ("judge", "spec", "says"),
    [
        (systemd_timer.wanted, {"unit": "[Timer]\nUnit=a.service\n"}, "[Timer] has no OnCalendar="),
        (systemd_timer.wanted, {"unit": "[Service]\nExecStart=/a\n"}, "line 1: [Service] is no section of a timer"),
        (systemd_timer.wanted, {"unit": TIMER, "name": "a.service"}, "names another kind of unit"),
        (systemd_timer.wanted, {"unit": TIMER, "running": "onDemand"}, "spec.running"),
        (systemd_timer.wanted, {"unit": TIMER + "[Timer]\nUnit=dbus.service\n"}, "dbus.service belongs to the machine"),
        (systemd_socket.wanted, {"unit": "[Socket]\nAccept=yes\n"}, "[Socket] has no ListenStream="),
        (systemd_socket.wanted, {"unit": SOCKET + "Service=ssh.service\n"}, "ssh.service belongs to the machine"),
        (systemd_mount.wanted, {"unit": "[Mount]\nWhat=tmpfs\n"}, "[Mount] has no Where="),
        (systemd_mount.wanted, {"unit": mount("srv")}, "is not absolute"),
        (systemd_mount.wanted, {"unit": mount("/srv/../etc")}, "'..' part"),
        (systemd_mount.wanted, {"unit": mount("/srv/%n")}, "must be a plain path"),
        (systemd_mount.wanted, {"unit": mount("/etc/x")}, "hides a part of the machine"),
        (systemd_mount.wanted, {"unit": mount(), "name": "x"}, "unknown field `name`"),
        (systemd_drop_in.wanted, {"dropIns": {}}, "there is none"),
        (systemd_drop_in.wanted, {"unit": "dbus.service", "dropIns": {"a": "[Unit]\n"}}, "belongs to the machine"),
        (systemd_drop_in.wanted, {"unit": "../x.service", "dropIns": {"a": "[Unit]\n"}}, "cannot name a unit"),
        (systemd_drop_in.wanted, {"dropIns": {"../a": "[Unit]\n"}}, "cannot name a drop-in"),
        (systemd_drop_in.wanted, {"dropIns": {"a": "[Unit]\nConflicts=dbus.service\n"}}, "belongs to the machine"),
        (systemd_unit.wanted, {}, "nothing is wanted"),
        (systemd_unit.wanted, {"masked": True, "running": True}, "neither enabled nor running"),
        (systemd_unit.wanted, {"name": "getty@.service", "enabled": True}, "is a template"),
        (systemd_unit.wanted, {"name": "holdfast-edge.service", "enabled": True}, "belongs to the machine"),
        (systemd_unit.wanted, {"name": "systemd-journald.service", "running": False}, "belongs to the machine"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(
    judge: Callable[[dict[str, Any], str], object], spec: dict[str, Any], says: str
) -> None:
    assert says in refusal(judge, spec).message


def test_what_the_machine_can_do_without_may_be_switched_off() -> None:
    for name in ("systemd-timesyncd.service", "systemd-networkd-wait-online.service", "cron.service"):
        assert systemd_unit.wanted({"name": name, "masked": True}, "x").masked


def test_a_service_may_be_started_by_others_only() -> None:
    want = systemd_service.wanted({"unit": "[Service]\nExecStart=/a\n", "running": "onDemand"}, "job")
    assert want.running == "onDemand"


def test_every_kind_says_how_it_is_installed_without_us() -> None:
    (path, text), *_ = systemd_timer.native({"unit": TIMER}, "backup").items()
    assert path == "systemd/system/backup.timer"
    assert text.splitlines()[0].endswith("systemctl daemon-reload && systemctl enable --now backup.timer")
    assert text.endswith(TIMER)
    (where, unit), *_ = systemd_mount.native({"unit": mount("/srv/a-b")}, "x").items()
    assert where == r"systemd/system/srv-a\x2db.mount"
    assert "systemctl start" in unit.splitlines()[0]
    drop_ins = systemd_drop_in.native({"unit": "cron.service", "dropIns": {"a": "[Service]\nNice=5\n"}}, "x")
    assert list(drop_ins) == ["systemd/system/cron.service.d/a.conf"]
    preset = systemd_unit.native({"name": "cron.service", "enabled": False, "running": False}, "x")
    assert preset["systemd/system-preset/50-cron.service.preset"].endswith("disable cron.service\n")


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="/\n\x00"), min_size=1, max_size=4),
        min_size=1,
        max_size=3,
    )
)
def test_a_place_has_one_name_and_no_other_place_has_it(parts: list[str]) -> None:
    where = "/" + "/".join(parts)
    name = mount_name(where)
    stem = name.removesuffix(".mount").encode()
    undone, at = b"", 0
    while at < len(stem):
        if stem[at : at + 2] == b"\\x":
            undone, at = undone + bytes([int(stem[at + 2 : at + 4], 16)]), at + 4
        else:
            undone, at = undone + (b"/" if stem[at : at + 1] == b"-" else stem[at : at + 1]), at + 1
    assert undone.decode() == where[1:]


@pytest.mark.parametrize("where", ["/srv/a-b", "/srv/ü x", "/srv/.hidden", "/.x", "/srv/a_b:c.d", "/mnt/100%"])
def test_a_place_is_named_as_systemd_escape_names_it(where: str) -> None:
    said = subprocess.run(["systemd-escape", "--path", "--suffix=mount", where], capture_output=True, check=True)
    assert mount_name(where) == said.stdout.decode().strip()
