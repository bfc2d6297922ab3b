"""What a machine is, from trees shaped as the kernel's: met and not met, of every kind that asserts."""

from pathlib import Path
from typing import Any

import pytest

from holdfast_edge.providers.compliance.provider import ComplianceProvider
from holdfast_edge.providers.confinement import provider as confinement
from holdfast_edge.providers.confinement.provider import MandatoryAccessControlProvider
from holdfast_edge.providers.disk.programs import Programs
from holdfast_edge.providers.port import Observed, Scope
from holdfast_protocol.errors import PermanentError, UnsupportedError
from holdfast_protocol.wire import target
from holdfast_protocol.wire.target import Resource

pytestmark = pytest.mark.anyio
NOTHING = Scope(resources={})
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
SHIM = "605dab50-e046-4300-abb6-3dd810dd8b23"


class Tree:
    """A machine's /, as far as the kernel shows it in files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._mounts: list[str] = []
        self.write("proc/swaps", "Filename Type Size Used Priority\n")

    def write(self, path: str, content: str | bytes) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    def device(self, name: str, number: str, *, on: tuple[str, ...] = (), uuid: str = "", dm: str = "") -> None:
        folder = self.root / "sys/devices/block" / name
        (folder / "slaves").mkdir(parents=True)
        for below in on:
            (folder / "slaves" / below).touch()
        self._show(name, folder, number)
        if dm:
            self.write(f"sys/devices/block/{name}/dm/name", f"{dm}\n")
            self.write(f"sys/devices/block/{name}/dm/uuid", f"{uuid}\n")
            (self.root / "dev/mapper").mkdir(parents=True, exist_ok=True)
            (self.root / f"dev/mapper/{dm}").symlink_to(f"../{name}")

    def partition(self, disk: str, name: str, number: str) -> None:
        folder = self.root / "sys/devices/block" / disk / name
        folder.mkdir()
        (folder / "partition").write_text("1\n")
        self._show(name, folder, number)

    def _show(self, name: str, folder: Path, number: str) -> None:
        (folder / "dev").write_text(f"{number}\n")
        shown = self.root / "sys/class/block"
        shown.mkdir(parents=True, exist_ok=True)
        (shown / name).symlink_to(folder)
        (self.root / "dev").mkdir(exist_ok=True)
        (self.root / "dev" / name).touch()

    def mount(self, place: str, number: str, source: str, kind: str = "ext4") -> None:
        self._mounts.append(
            f"{30 + len(self._mounts)} 1 {number} / {place} rw,relatime shared:1 - {kind} {source} rw\n"
        )
        self.write("proc/self/mountinfo", "".join(self._mounts))

    def variable(self, name: str, vendor: str, value: int) -> None:
        self.write(f"sys/firmware/efi/efivars/{name}-{vendor}", bytes([6, 0, 0, 0, value]))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A usual machine: / on LVM on LUKS, /boot in the clear, /data on a RAID of which one half is LUKS."""
    made = Tree(tmp_path)
    for disk, number in (("sda", "8:0"), ("sdb", "8:16")):
        made.device(disk, number)
    made.partition("sda", "sda1", "8:1")
    made.partition("sda", "sda2", "8:2")
    made.device("dm-0", "253:0", on=("sda2",), uuid="CRYPT-LUKS2-0123-sda2_crypt", dm="sda2_crypt")
    made.device("dm-1", "253:1", on=("dm-0",), uuid="LVM-abc", dm="vg-root")
    made.device("dm-2", "253:2", on=("sdb",), uuid="CRYPT-VERITY-9-x", dm="verity")
    made.device("md0", "9:0", on=("dm-0", "sdb"))
    made.mount("/", "253:1", "/dev/mapper/vg-root")
    made.mount("/boot", "8:1", "/dev/sda1")
    made.mount("/data", "9:0", "/dev/md0")
    made.mount("/with\\040blank", "0:44", "/dev/mapper/vg-root", "btrfs")
    made.mount("/tmp", "0:30", "tmpfs", "tmpfs")
    return made


def asked(kind: str, /, **spec: Any) -> Resource:
    body = {"apiVersion": "holdfast.io/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec}
    return target.resource(body)


async def look(tree: Tree, kind: str, /, **spec: Any) -> Observed:
    resource = asked(kind, **spec)
    provider = ComplianceProvider(tree.root)
    seen = (await provider.observe([resource], NOTHING))[resource.key]
    assert seen.as_wanted, "an assertion never asks for a change"
    return seen


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"mounts": ["/"]}, "Compliant"),
        ({"mounts": ["/", "/with blank"], "swap": True}, "Compliant"),
        ({"mounts": ["/"], "types": ["luks2"]}, "Compliant"),
        ({"mounts": ["/"], "types": ["luks1"]}, "OtherCipher"),
        ({"mounts": ["/boot"]}, "NotEncrypted"),
        ({"mounts": ["/data"]}, "NotEncrypted"),
        ({"devices": ["/dev/mapper/sda2_crypt", "/dev/dm-1"]}, "Compliant"),
        ({"devices": ["/dev/sda2"]}, "NotEncrypted"),
        ({"devices": ["/dev/mapper/verity"]}, "NotEncrypted"),
        ({"devices": ["/dev/sdz"]}, "CannotTell"),
        ({"mounts": ["/nowhere"]}, "CannotTell"),
        ({"mounts": ["/tmp"]}, "CannotTell"),
    ],
)
async def test_disks_are_judged_all_the_way_down(tree: Tree, spec: dict[str, Any], reason: str) -> None:
    seen = await look(tree, "DiskEncryption", **spec)
    assert seen.reason == reason, seen.message
    assert seen.readiness == ("ready" if reason == "Compliant" else "degraded")
    assert bool(seen.hint) == (reason != "Compliant")


async def test_swap_in_the_clear_is_told_by_its_name(tree: Tree) -> None:
    tree.write(
        "proc/swaps", "Filename Type\n/dev/sda1 partition 1 0 -2\n/dev/zram0 partition 1 0 100\n/swap file 1 0 -3\n"
    )
    seen = await look(tree, "DiskEncryption", swap=True)
    assert (seen.reason, seen.message) == ("NotEncrypted", "swap /dev/sda1 lies on a disk in the clear")
    assert seen.status["storage"] == {"swap /dev/sda1": "clear", "swap /swap": "luks2"}


async def test_devices_in_a_circle_end(tree: Tree) -> None:
    tree.device("dm-8", "253:8", on=("dm-9",), uuid="LVM-a", dm="a")
    tree.device("dm-9", "253:9", on=("dm-8",), uuid="LVM-b", dm="b")
    assert (await look(tree, "DiskEncryption", devices=["/dev/dm-8"])).reason == "CannotTell"


async def test_secure_boot_is_read_from_the_firmware(tree: Tree) -> None:
    assert (await look(tree, "SecureBoot")).reason == "NoEfi"
    (tree.root / "sys/firmware/efi").mkdir(parents=True)
    assert (await look(tree, "SecureBoot")).reason == "CannotTell"
    tree.variable("SecureBoot", GLOBAL, 0)
    tree.variable("SetupMode", GLOBAL, 0)
    assert (await look(tree, "SecureBoot")).reason == "SecureBootOff"
    tree.variable("SecureBoot", GLOBAL, 1)
    assert (await look(tree, "SecureBoot")).reason == "Compliant"
    tree.variable("MokSBStateRT", SHIM, 1)
    assert (await look(tree, "SecureBoot")).reason == "ShimUnchecked"
    tree.variable("MokSBStateRT", SHIM, 0)
    tree.variable("SetupMode", GLOBAL, 1)
    assert (await look(tree, "SecureBoot")).reason == "SetupMode"


async def test_lockdown_is_at_least_what_was_asked(tree: Tree) -> None:
    spec: dict[str, Any] = {"enabled": False, "lockdown": "integrity"}
    assert (await look(tree, "SecureBoot", **spec)).reason == "NotLockedDown"
    tree.write("sys/kernel/security/lockdown", "none integrity [confidentiality]\n")
    assert (await look(tree, "SecureBoot", **spec)).reason == "Compliant"
    tree.write("sys/kernel/security/lockdown", "[none] integrity confidentiality\n")
    assert (await look(tree, "SecureBoot", **spec)).reason == "NotLockedDown"


PARSER = """\
#!/bin/sh
# As apparmor_parser: -N names, -Q only looks, -r loads, -R unloads; the file or standard input.
root={root}
profiles=$root/sys/kernel/security/apparmor/profiles
mode=$1; shift; [ "$1" = -K ] && shift
text=$(/bin/cat "${{1:--}}")
case "$text" in *nonsense*) echo "syntax error" >&2; exit 1;; esac
names=$(echo "$text" | /bin/sed -n 's/^profile "\\{{0,1\\}}\\([a-z]*\\).*/\\1/p')
case $mode in
  -N) echo "$names";;
  -r) for name in $names; do echo "$name (enforce)" >>$profiles; done;;
  -R) for name in $names; do /bin/sed -i "/^$name /d" $profiles; done;;
esac
"""


class Confined:
    """A machine with AppArmor, and the provider over it."""

    def __init__(self, tree: Tree, *, allowed: bool = True) -> None:
        self.tree = tree
        (tree.root / "etc").mkdir()
        tree.write("sys/module/apparmor/parameters/enabled", "Y\n")
        tree.write("sys/kernel/security/apparmor/profiles", "nginx (enforce)\n/usr/bin/man (complain)\n")
        tree.write("bin/apparmor_parser", PARSER.format(root=tree.root))
        (tree.root / "bin/apparmor_parser").chmod(0o755)
        self.provider = MandatoryAccessControlProvider(
            allowed=allowed,
            state=tree.root / "state",
            root=tree.root,
            programs=Programs(str(tree.root / "bin")),
            agent=("/opt/agent/python",),
        )

    @property
    def profiles(self) -> str:
        return (self.tree.root / "sys/kernel/security/apparmor/profiles").read_text()

    async def look(self, **spec: Any) -> Observed:
        resource = asked("MandatoryAccessControl", **spec)
        return (await self.provider.observe([resource], NOTHING))[resource.key]

    async def converge(self, **spec: Any) -> Observed:
        resource = asked("MandatoryAccessControl", **spec)
        self.provider.check(resource, NOTHING)
        await self.provider.prepare(resource, NOTHING)
        await self.provider.apply(resource, NOTHING)
        return await self.look(**spec)


async def test_profiles_are_asserted_by_their_mode(tree: Tree) -> None:
    confined = Confined(tree)
    assert (await confined.look(profiles={"nginx": "enforce", "/usr/bin/man": "loaded"})).reason == "Compliant"
    seen = await confined.look(profiles={"nginx": "enforce", "/usr/bin/man": "enforce", "sshd": "enforce"})
    assert seen.as_wanted
    assert seen.readiness == "degraded"
    assert seen.message == "/usr/bin/man is complain, wanted enforce; sshd is not loaded, wanted enforce"
    tree.write("sys/module/apparmor/parameters/enabled", "N\n")
    assert (await confined.look()).reason == "NotEnabled"


async def test_a_policy_is_loaded_changed_repaired_and_given_back(tree: Tree) -> None:
    confined = Confined(tree)
    first = {"mode": "enforce", "policy": "profile pump /srv/pump {\n}\n"}
    assert (await confined.look(**first)).differences
    assert (await confined.converge(**first)).as_wanted
    assert "pump (enforce)" in confined.profiles
    tree.write("sys/kernel/security/apparmor/profiles", "nginx (enforce)\n")
    assert (await confined.look(**first)).differences == ("policy: pump not loaded",)
    assert (await confined.converge(**first)).as_wanted
    second = {"mode": "enforce", "policy": "profile press /srv/press {\n}\n", "profiles": {"press": "enforce"}}
    assert (await confined.converge(**second)).reason == "Compliant"
    assert "pump" not in confined.profiles
    await confined.provider.remove(asked("MandatoryAccessControl").key, {})
    assert confined.profiles == "nginx (enforce)\n"
    assert list((tree.root / "etc/apparmor.d").glob("*")) == []


@pytest.mark.invariant("agent-is-never-its-own-casualty")
@pytest.mark.parametrize(
    "header", ["profile all /opt/** {", "/opt/agent/{perl,python} {", 'profile x "/opt/*/p?thon" flags=(enforce) {']
)
async def test_no_profile_confines_the_agent(tree: Tree, header: str) -> None:
    confined = Confined(tree)
    with pytest.raises(PermanentError) as caught:
        await confined.converge(mode="enforce", policy=f"{header}\n}}\n")
    assert caught.value.reason == "AgentPath"


async def test_what_cannot_be_enforced_says_so(tree: Tree) -> None:
    confined = Confined(tree)
    with pytest.raises(PermanentError) as refused:
        await confined.converge(mode="enforce", policy="profile nonsense /srv/x {\n}\n")
    assert refused.value.reason == "PolicyRefused"
    (tree.root / "bin/apparmor_parser").unlink()
    with pytest.raises(UnsupportedError) as missing:
        await confined.converge(mode="enforce", policy="profile pump /srv/pump {\n}\n")
    assert missing.value.reason == "NoParser"


async def test_selinux_is_set_to_enforcing_and_given_back(tree: Tree) -> None:
    confined = Confined(tree)
    tree.write("sys/fs/selinux/enforce", "0")
    assert (await confined.look(system="selinux")).reason == "NotEnforcing"
    assert (await confined.converge(system="selinux", mode="enforce")).reason == "Compliant"
    await confined.provider.remove(asked("MandatoryAccessControl").key, {})
    assert (tree.root / "sys/fs/selinux/enforce").read_text() == "0"


async def test_selinux_that_is_only_asserted_now_has_its_mode_back(tree: Tree) -> None:
    confined = Confined(tree)
    tree.write("sys/fs/selinux/enforce", "0")
    await confined.converge(system="selinux", mode="enforce")
    assert (await confined.look(system="selinux")).differences == ("mode: is ours still",)
    assert (await confined.converge(system="selinux")).reason == "NotEnforcing"
    assert (tree.root / "sys/fs/selinux/enforce").read_text() == "0"


async def test_the_mode_from_before_outlasts_a_second_apply_and_another_name(tree: Tree) -> None:
    confined = Confined(tree)
    tree.write("sys/fs/selinux/enforce", "0")
    await confined.converge(system="selinux", mode="enforce")
    await confined.converge(system="selinux", mode="enforce")
    spec = {"system": "selinux", "mode": "enforce"}
    body = {"apiVersion": "holdfast.io/v1alpha1", "kind": "MandatoryAccessControl", "metadata": {"name": "other"}}
    renamed = target.resource({**body, "spec": spec})
    await confined.provider.apply(renamed, NOTHING)
    await confined.provider.remove(asked("MandatoryAccessControl").key, {})
    assert (tree.root / "sys/fs/selinux/enforce").read_text() == "1"
    await confined.provider.remove(renamed.key, {})
    assert (tree.root / "sys/fs/selinux/enforce").read_text() == "0"


async def test_the_mode_of_another_boot_does_not_come_back(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine is booted with by now is not of our making."""
    confined = Confined(tree)
    tree.write("sys/fs/selinux/enforce", "0")
    await confined.converge(system="selinux", mode="enforce")
    monkeypatch.setattr(confinement, "boot_id", lambda: "another")
    tree.write("sys/fs/selinux/enforce", "1")
    await confined.provider.remove(asked("MandatoryAccessControl").key, {})
    assert (tree.root / "sys/fs/selinux/enforce").read_text() == "1"
    assert (await confined.look(system="selinux")).as_wanted


async def test_enforcing_needs_leave(tree: Tree) -> None:
    confined = Confined(tree, allowed=False)
    with pytest.raises(UnsupportedError) as caught:
        await confined.converge(mode="enforce", policy="profile pump /srv/pump {\n}\n")
    assert caught.value.reason == "SecurityClosed"


async def test_the_name_of_a_mount_makes_no_line_of_its_own(tree: Tree) -> None:
    tree.mount("/home/ada/x\u2028\x1c99 1 253:1 / /boot rw - ext4 /dev/mapper/vg-root", "0:60", "fuse", "fuse")
    seen = await look(tree, "DiskEncryption", mounts=["/boot"])
    assert seen.reason == "NotEncrypted", seen.message


async def test_a_mount_with_a_wide_blank_in_its_name_is_found(tree: Tree) -> None:
    tree.mount("/wide\u3000blank", "253:1", "/dev/mapper/vg-root")
    seen = await look(tree, "DiskEncryption", mounts=["/wide\u3000blank"])
    assert seen.reason == "Compliant", seen.message
