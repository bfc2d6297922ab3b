"""Users, groups, SSH keys and packages on a booted machine: made, changed, repaired and given back."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import sshd
from support.booted import Booted, booted
from support.debs import build, offer
from support.machines import Machine
from support.waiting import HANGS_S, until

pytestmark = pytest.mark.root
OPTIONS = ("--accounts", "--packages", "--security")


def prepare(machine: Machine) -> None:
    sshd.install(machine)
    machine.run(["useradd", "--create-home", "--shell", "/bin/sh", "--comment", "before us", "veteran"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    with booted(tmp_path_factory.mktemp("people"), "press-01", *OPTIONS, before=prepare) as site:
        yield site


def public_key(folder: Path, name: str) -> str:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
    subprocess.run(command, check=True)
    return (folder / f"{name}.pub").read_text().strip()


def account(site: Booted, name: str) -> list[str]:
    """Return the fields of an account, none for nobody."""
    line = site.machine.run(["getent", "passwd", name], check=False).stdout.strip()
    return line.split(":") if line else []


def groups(site: Booted, name: str) -> set[str]:
    return set(site.machine.run(["id", "-nG", name]).stdout.split())


def user(name: str, **spec: Any) -> dict[str, Any]:
    return {"kind": "User", "name": name, "spec": spec}


def test_a_user_is_made_changed_repaired_and_given_back(site: Booted) -> None:
    hashed = subprocess.run(["openssl", "passwd", "-6", "machine"], capture_output=True, text=True, check=True)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "passwords"},
        "stringData": {"ada": hashed.stdout.strip()},
    }
    wanted = {"uid": 4001, "groups": ["daemon", "printers"], "shell": "/bin/sh", "comment": "Ada"}
    ada = user("ada", **wanted, passwordFrom={"secret": "passwords", "key": "ada"})
    printers = {"kind": "Group", "name": "printers", "spec": {"gid": 4100}}
    site.give(printers, secret, ada)
    site.settled()
    assert account(site, "ada")[2:] == ["4001", "4001", "Ada", "/home/ada", "/bin/sh"]
    assert groups(site, "ada") == {"ada", "daemon", "printers"}
    assert hashed.stdout.strip() in site.machine.read("/etc/shadow")
    assert site.machine.run(["stat", "-c", "%U", "/home/ada"]).stdout.strip() == "ada"

    site.machine.run(["usermod", "--shell", "/bin/false", "--groups", "", "ada"])
    until(
        lambda: account(site, "ada")[-1] == "/bin/sh" and "printers" in groups(site, "ada"),
        HANGS_S,
        "the user's repair",
    )
    site.machine.run(["userdel", "--remove", "ada"])
    until(lambda: account(site, "ada")[2:3] == ["4001"], HANGS_S, "the user to come back")
    until(lambda: hashed.stdout.strip() in site.machine.read("/etc/shadow"), HANGS_S, "the password to come back")

    site.give(printers, secret, ada | {"spec": {**ada["spec"], "comment": "Countess", "locked": True}})
    site.settled()
    assert account(site, "ada")[4] == "Countess"
    assert f"ada:!{hashed.stdout.strip()}" in site.machine.read("/etc/shadow")

    site.give()
    site.given_back()
    assert account(site, "ada") == []
    assert "printers" not in site.machine.read("/etc/group")
    assert site.machine.exists("/home/ada"), "a home stays unless the target says otherwise"


def test_a_user_that_was_there_is_taken_over_only_when_the_target_says_so(site: Booted) -> None:
    site.give(user("veteran", shell="/bin/bash"))
    site.says("User/veteran", "NotOurs")
    assert account(site, "veteran")[-1] == "/bin/sh"
    site.give(user("veteran", shell="/bin/bash", takeOver=True))
    site.settled()
    assert account(site, "veteran")[-1] == "/bin/bash"
    site.give()
    site.given_back()
    assert account(site, "veteran")[4:] == ["before us", "/home/veteran", "/bin/sh"]


@pytest.mark.invariant("only-owned-things-are-removed")
def test_keys_of_ours_come_and_go_and_every_other_line_stays(site: Booted, tmp_path: Path) -> None:
    theirs, first, second = (public_key(tmp_path, name) for name in ("theirs", "first", "second"))
    path = "/home/veteran/.ssh/authorized_keys"
    site.machine.run(["install", "-d", "-m", "700", "-o", "veteran", "-g", "veteran", "/home/veteran/.ssh"])
    site.machine.write(path, f"# by hand\n{theirs}\n", mode=0o600)
    site.machine.run(["chown", "veteran:veteran", path])

    def key(*keys: Any) -> dict[str, Any]:
        return {"kind": "SSHKey", "name": "crew", "spec": {"user": "veteran", "keys": list(keys)}}

    site.give(key(first, {"key": second, "options": ['from="10.0.0.0/8"', "no-pty"]}))
    site.settled()
    lines = site.machine.read(path).splitlines()
    assert lines == [
        "# by hand",
        theirs,
        f"{first} holdfast:crew",
        f'from="10.0.0.0/8",no-pty {second} holdfast:crew',
    ]
    assert site.machine.run(["stat", "-c", "%U %a", path]).stdout.strip() == "veteran 600"

    site.machine.write(path, f"{theirs}\n# mine too\n", mode=0o600)
    until(lambda: site.machine.read(path).count("holdfast:crew") == 2, HANGS_S, "our keys to come back")
    assert site.machine.read(path).startswith(f"{theirs}\n# mine too\n")

    site.give(key(second))
    site.settled()
    assert first not in site.machine.read(path)
    site.give()
    site.given_back()
    assert site.machine.read(path) == f"{theirs}\n# mine too\n"


def test_a_file_of_keys_that_leads_elsewhere_is_refused(site: Booted, tmp_path: Path) -> None:
    path = "/home/veteran/.ssh/authorized_keys"
    site.machine.run(["install", "-d", "-m", "700", "-o", "veteran", "-g", "veteran", "/home/veteran/.ssh"])
    site.machine.run(["rm", "-f", path])
    site.machine.run(["ln", "-s", "/etc/shadow", path])
    before = site.machine.read("/etc/shadow")
    key = public_key(tmp_path, "any")
    site.give({"kind": "SSHKey", "name": "trap", "spec": {"user": "veteran", "keys": [key]}})
    site.says("SSHKey/trap", "SymbolicLink")
    site.machine.run(["rm", path])
    site.machine.run(["ln", "/etc/shadow", path])
    site.give({"kind": "SSHKey", "name": "trap", "spec": {"user": "veteran", "keys": [{"key": key}]}})
    site.says("SSHKey/trap", "UnsafeFile")
    assert site.machine.read("/etc/shadow") == before
    site.machine.run(["rm", path])
    spec = {"user": "veteran", "keys": [{"key": key, "options": ["restrict"]}]}
    site.give({"kind": "SSHKey", "name": "trap", "spec": spec})
    site.settled()
    site.give()
    site.given_back()
    assert not site.machine.exists(path)


@pytest.fixture(scope="module")
def debs(site: Booted) -> Machine:
    """The site's machine with a repository in its own folder as the only source of packages."""
    machine = site.machine
    for version in ("1.0", "2.0"):
        build(machine, "hf-gauge", version, depends="hf-library", conffile=f"version={version}\n")
    build(machine, "hf-library", "1.0")
    build(machine, "hf-bystander", "1.0", depends="hf-library")
    offer(machine)
    return machine


def version(machine: Machine, name: str) -> str:
    """Return want, state and version of a package, "" for one nobody knows."""
    form = "-f=${db:Status-Want} ${db:Status-Status} ${Version}"
    return machine.run(["dpkg-query", "-W", form, name], check=False).stdout


def packages(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"kind": "Package", "name": "tools", "spec": {"packages": list(items), **more}}


def test_packages_are_installed_changed_repaired_and_given_back(site: Booted, debs: Machine) -> None:
    site.give(packages({"name": "hf-gauge", "version": "1.0"}))
    site.settled()
    assert version(debs, "hf-gauge") == "install installed 1.0"
    debs.write("/etc/hf-gauge.conf", "edited=yes\n")

    site.give(packages({"name": "hf-gauge", "version": "2.0", "state": "held"}))
    site.settled()
    assert version(debs, "hf-gauge") == "hold installed 2.0"
    assert debs.read("/etc/hf-gauge.conf") == "edited=yes\n", "a configuration file that was edited stays"

    debs.run(["dpkg", "--remove", "--force-hold", "hf-gauge"])
    until(lambda: version(debs, "hf-gauge") == "hold installed 2.0", HANGS_S, "the package to come back")
    debs.run(["apt-mark", "unhold", "hf-gauge"])
    until(lambda: version(debs, "hf-gauge").startswith("hold"), HANGS_S, "the hold to come back")

    site.give(packages({"name": "hf-gauge"}, {"name": "hf-library", "state": "absent"}))
    site.says("Package/tools", "RemovesOthers|is not ours|differs|Failed")
    site.give()
    site.given_back()
    assert " installed" not in version(debs, "hf-gauge") + version(debs, "hf-library")


@pytest.mark.invariant("only-owned-things-are-removed")
def test_a_package_that_was_there_stays_and_what_others_need_as_well(site: Booted, debs: Machine) -> None:
    debs.run(["apt-get", "update", "-q"])
    debs.run(["apt-get", "install", "-y", "-q", "hf-bystander"])
    site.give(packages({"name": "hf-gauge"}, {"name": "hf-bystander", "state": "absent"}))
    site.says("Package/tools", "NotOurs")
    assert version(debs, "hf-bystander") == "install installed 1.0"
    site.give(packages({"name": "hf-gauge"}))
    site.settled()
    site.give()
    site.given_back()
    assert " installed" not in version(debs, "hf-gauge")
    assert version(debs, "hf-library") == "install installed 1.0", "it was there before"
    site.give(packages({"name": "hf-nothing"}))
    site.says("Package/tools", "UnknownPackage")
    site.give(packages({"name": "hf-bystander", "state": "absent", "takeOver": True}))
    site.settled()
    assert " installed" not in version(debs, "hf-bystander")
    site.give()
    site.given_back()


@pytest.mark.invariant("agent-is-never-its-own-casualty")
def test_what_the_system_stands_on_is_not_taken_away(site: Booted, debs: Machine) -> None:
    site.give(packages({"name": "bash", "state": "absent", "takeOver": True}))
    site.says("Package/tools", "Protected")
    assert version(debs, "bash").startswith("install installed")
    site.give()
    site.given_back()


def test_a_run_that_was_cut_off_is_finished_and_a_lock_is_waited_for(site: Booted, debs: Machine) -> None:
    debs.run(["dpkg", "--unpack", "/srv/debs/hf-library_1.0_all.deb"])
    holder = (
        "import fcntl,time; f=open('/var/lib/dpkg/lock-frontend','r+'); fcntl.lockf(f,fcntl.LOCK_EX); time.sleep(600)"
    )
    debs.run(["systemd-run", "--quiet", "--unit=upgrades", "python3", "-c", holder])
    held = "import fcntl; fcntl.lockf(open('/var/lib/dpkg/lock-frontend','r+'),fcntl.LOCK_EX|fcntl.LOCK_NB)"
    until(lambda: debs.run(["python3", "-c", held], check=False).returncode, HANGS_S, "the lock to be held")
    site.give(packages({"name": "hf-gauge"}))
    said = site.says("Package/tools", "DpkgLocked")
    assert "python3 (pid" in said["message"]
    debs.run(["systemctl", "stop", "upgrades"])
    site.settled()
    assert version(debs, "hf-gauge") == "install installed 2.0"
    assert version(debs, "hf-library") == "install installed 1.0"
    site.give()
    site.given_back()


def effective(site: Booted, key: str) -> str:
    said = site.machine.run(["/usr/sbin/sshd", "-T", "-f", "/etc/ssh/sshd_config"]).stdout
    return next(line.partition(" ")[2] for line in said.splitlines() if line.startswith(f"{key} "))


def policy(mode: str = "enforce", **settings: Any) -> dict[str, Any]:
    return {"kind": "SSHPolicy", "name": "doors", "spec": {"mode": mode, "settings": settings}}


def reloads(site: Booted) -> int:
    done = site.machine.run(["cat", "/run/sshd-reloads"], check=False)
    return done.stdout.count("reloaded")


def test_an_ssh_policy_is_enforced_repaired_and_given_back(site: Booted) -> None:
    path = "/etc/ssh/sshd_config.d/00-holdfast-doors.conf"
    site.give(policy(PasswordAuthentication=False, X11Forwarding=False, LoginGraceTime="1m"))
    site.settled()
    assert [effective(site, key) for key in ("passwordauthentication", "x11forwarding", "logingracetime")][:2] == [
        "no",
        "no",
    ]
    assert reloads(site) == 1
    site.machine.write(path, "X11Forwarding yes\n")
    until(lambda: effective(site, "x11forwarding") == "no", HANGS_S, "the policy to come back")

    site.give(policy(MaxAuthTries=3))
    site.settled()
    assert (effective(site, "maxauthtries"), effective(site, "x11forwarding")) == ("3", "yes")

    site.machine.write("/etc/ssh/sshd_config.d/00-a.conf", "MaxAuthTries 9\n")
    site.machine.run(["touch", "/etc/ssh/sshd_config"])  # a file of another name is else seen by the periodic look
    assert "MaxAuthTries: is 9, wanted 3" in site.says("SSHPolicy/doors", "Overridden")["message"]
    site.machine.run(["rm", "/etc/ssh/sshd_config.d/00-a.conf"])
    site.machine.run(["touch", "/etc/ssh/sshd_config"])
    site.settled()

    site.give(policy("assert", X11Forwarding=False))
    said = site.says("SSHPolicy/doors", "PolicyNotMet")
    assert (said["type"], site.machine.exists(path)) == ("Degraded", False)
    site.give()
    site.given_back()
    assert effective(site, "maxauthtries") == "6"


@pytest.mark.invariant("agent-is-never-its-own-casualty")
def test_no_policy_locks_everybody_out_or_stops_sshd(site: Booted) -> None:
    site.machine.write("/etc/ssh/sshd_config.d/50-keys.conf", "PubkeyAuthentication no\n")
    site.give(policy(PasswordAuthentication=False))
    site.says("SSHPolicy/doors", "LocksOut")
    assert effective(site, "passwordauthentication") == "yes"
    site.machine.write("/etc/ssh/sshd_config.d/50-keys.conf", "Nonsense yes\n")
    site.give(policy(MaxAuthTries=4))
    site.says("SSHPolicy/doors", "BadConfiguration")
    assert not site.machine.exists("/etc/ssh/sshd_config.d/00-holdfast-doors.conf")
    site.machine.run(["rm", "/etc/ssh/sshd_config.d/50-keys.conf"])
    site.give()
    site.given_back()
