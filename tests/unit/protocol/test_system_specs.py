"""Specs of packages, accounts, keys and policies: what is accepted, and every refusal with its place."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds import (
    disk_encryption,
    group,
    kubernetes,
    mandatory_access_control,
    package,
    secure_boot,
    ssh_key,
    ssh_policy,
    user,
)

KEY = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes(32)).decode()
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}


def named(judge: Callable[[dict[str, Any], str], object]) -> Callable[[dict[str, Any]], object]:
    return lambda spec: judge(spec, "thing")


@pytest.mark.parametrize(
    ("judge", "spec", "place"),
    [
        (named(package.wanted), {"packages": [{"name": "-o=x"}]}, "spec.packages[0].name"),
        (named(package.wanted), {"packages": [{"name": "a b"}]}, "spec.packages[0].name"),
        (named(package.wanted), {"packages": [{"name": "vim"}, {"name": "vim"}]}, "spec.packages"),
        (named(package.wanted), {"packages": [{"name": "vim"}], "version": "1"}, "spec.packages"),
        (named(package.wanted), {"version": "1;rm"}, "spec.version"),
        (named(package.wanted), {"state": "absent", "version": "1"}, "spec.version"),
        (named(user.wanted), {"name": "root"}, "spec.name"),
        (named(user.wanted), {"name": "a:b"}, "spec.name"),
        (named(user.wanted), {"uid": 0}, "spec.uid"),
        (named(user.wanted), {"groups": ["a", "a"]}, "spec.groups"),
        (named(user.wanted), {"groups": ["-x"]}, "spec.groups[0]"),
        (named(user.wanted), {"home": "/home/../root"}, "spec.home"),
        (named(user.wanted), {"shell": "/bin/sh:x"}, "spec.shell"),
        (named(user.wanted), {"comment": "a\nb"}, "spec.comment"),
        (named(user.wanted), {"passwordFrom": {"configMap": "c", "key": "k"}}, "spec.passwordFrom"),
        (named(group.wanted), {"gid": 0}, "spec.gid"),
        (named(group.wanted), {"name": "root"}, "spec.name"),
        (named(ssh_key.wanted), {"user": "ada", "keys": []}, "spec.keys"),
        (named(ssh_key.wanted), {"user": "ada", "keys": [KEY, KEY]}, "spec.keys"),
        (named(ssh_key.wanted), {"user": "ada", "keys": ["ssh-dss AAAA"]}, "spec.keys[0]"),
        (named(ssh_key.wanted), {"user": "ada", "keys": [KEY.replace("ed25519", "rsa", 1)]}, "spec.keys[0]"),
        (named(ssh_key.wanted), {"user": "ada", "keys": [f"{KEY} a\nb"]}, "spec.keys[0]"),
        (
            named(ssh_key.wanted),
            {"user": "ada", "keys": [{"key": KEY, "options": ['command="a" b']}]},
            "spec.keys[0].options",
        ),
        (ssh_policy.wanted, {"settings": {}}, "spec.settings"),
        (ssh_policy.wanted, {"settings": {"Port": 22}}, "spec.settings.Port"),
        (ssh_policy.wanted, {"settings": {"ForceCommand": "x"}}, "spec.settings.ForceCommand"),
        (ssh_policy.wanted, {"settings": {"AllowUsers": "a\nMatch all"}}, "spec.settings.AllowUsers"),
        (ssh_policy.wanted, {"settings": {"AllowUsers": ["a b"]}}, "spec.settings.AllowUsers"),
        (ssh_policy.wanted, {"settings": {"Ciphers": "+aes128-cbc"}}, "spec.settings.Ciphers"),
        (ssh_policy.wanted, {"settings": {"usedns": "maybe"}}, "spec.settings.UseDNS"),
        (
            ssh_policy.wanted,
            {"settings": {"PasswordAuthentication": False, "AuthenticationMethods": ["password"]}},
            "spec.settings: would leave no way",
        ),
        (mandatory_access_control.wanted, {"policy": "x"}, "spec.policy"),
        (mandatory_access_control.wanted, {"mode": "enforce"}, "spec.policy"),
        (mandatory_access_control.wanted, {"mode": "enforce", "policy": '#include "/root/x"'}, "spec.policy"),
        (mandatory_access_control.wanted, {"system": "selinux", "profiles": {"a": "enforce"}}, "spec.profiles"),
        (disk_encryption.wanted, {}, "spec"),
        (disk_encryption.wanted, {"mounts": ["srv"]}, "spec.mounts[0]"),
        (disk_encryption.wanted, {"devices": ["/etc/passwd"]}, "spec.devices[0]"),
        (secure_boot.wanted, {"enabled": False}, "spec"),
        (kubernetes.wanted, {"manifests": []}, "spec.manifests"),
        (kubernetes.wanted, {"manifests": [CONFIG, CONFIG]}, "spec.manifests"),
        (kubernetes.wanted, {"manifests": [CONFIG | {"apiVersion": "../v1"}]}, "spec.manifests[0].apiVersion"),
        (kubernetes.wanted, {"manifests": [CONFIG | {"metadata": {"name": "a/b"}}]}, "spec.manifests[0].metadata.name"),
        (kubernetes.wanted, {"manifests": [CONFIG | {"status": {}}]}, "spec.manifests[0].status"),
        (kubernetes.wanted, {"manifests": [CONFIG | {"kind": "PodList"}]}, "spec.manifests[0].kind"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(
    judge: Callable[[dict[str, Any]], object], spec: dict[str, Any], place: str
) -> None:
    with pytest.raises(WireError) as caught:
        judge(spec)
    assert caught.value.message.startswith(place)


def test_a_name_left_out_is_the_resource_s() -> None:
    assert package.wanted({}, "vim").items == (package.Item("vim"),)
    assert user.wanted({}, "ada").name == group.wanted({}, "ada").name == "ada"


def test_a_password_is_a_hash_and_in_no_message() -> None:
    assert user.password_hash(b"$6$salt$abcdefghijkl\n") == "$6$salt$abcdefghijkl"
    with pytest.raises(WireError) as caught:
        user.password_hash(b"hunter2:0:0")
    assert "hunter2" not in str(caught.value)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"), max_size=200)


@given(TEXTS, st.lists(st.sampled_from([f"{KEY} one holdfast:x", f"{KEY} two holdfast:x"]), unique=True))
def test_other_lines_of_a_file_of_keys_stay_and_ours_are_exact(text: str, lines: list[str]) -> None:
    made = ssh_key.merged(text, "holdfast:x", lines)
    assert ssh_key.ours(made, "holdfast:x") == lines
    others = [line for line in text.split("\n") if line not in ssh_key.ours(text, "holdfast:x")]
    assert [line for line in made.split("\n") if line and line not in lines] == [line for line in others if line]
    assert ssh_key.merged(made, "holdfast:x", lines) == made


def test_a_mark_of_another_resource_is_another_mark() -> None:
    text = f"{KEY} holdfast:crew-2\n"
    assert ssh_key.merged(text, "holdfast:crew", ()) == text


def test_a_policy_compares_as_sshd_answers() -> None:
    settings = {
        "permitrootlogin": "prohibit-password",
        "LoginGraceTime": "1h30m",
        "AllowUsers": ["ada", "bob@10.0.0.*"],
    }
    want = ssh_policy.wanted({"settings": settings})
    assert ssh_policy.render(want).splitlines() == [
        "AllowUsers ada bob@10.0.0.*",
        "LoginGraceTime 1h30m",
        "PermitRootLogin prohibit-password",
    ]
    (path,) = ssh_policy.native({"settings": settings}, "doors")
    assert path == "ssh/sshd_config.d/00-doors.conf"
    assert ssh_policy.native({"settings": settings, "mode": "assert"}, "doors") == {}
    said = "permitrootlogin without-password\nlogingracetime 5400\nallowusers ada\nallowusers bob@10.0.0.*\n"
    assert ssh_policy.unmet(want, ssh_policy.effective(said)) == []
    other = ssh_policy.effective("permitrootlogin yes\nlogingracetime 60\n")
    assert ssh_policy.unmet(want, other) == [
        "AllowUsers: this sshd does not know it",
        "LoginGraceTime: is 60, wanted 1h30m",
        "PermitRootLogin: is yes, wanted prohibit-password",
    ]


@pytest.mark.parametrize(
    ("said", "ways"),
    [
        ("pubkeyauthentication yes\npasswordauthentication no", ["publickey"]),
        ("pubkeyauthentication no\npasswordauthentication no\nhostbasedauthentication yes", []),
        ("pubkeyauthentication yes\nauthenticationmethods publickey,password", []),
        ("pubkeyauthentication yes\nauthenticationmethods password publickey", ["publickey"]),
        (
            "kbdinteractiveauthentication yes\nauthenticationmethods keyboard-interactive:pam",
            ["keyboard-interactive:pam"],
        ),
        ("passwordauthentication yes\nauthenticationmethods any", ["password"]),
    ],
)
def test_ways_in_are_what_is_on_and_suffices(said: str, ways: list[str]) -> None:
    assert ssh_policy.ways_in(ssh_policy.effective(said)) == ways


@pytest.mark.parametrize(
    ("policy", "confined"),
    [
        ("profile x /usr/bin/** {\n}", True),
        ("/usr/{s,}bin/python* {\n}", True),
        ("profile x @{exe} {\n}", True),
        ("profile x /usr/bin/pump {\n  /usr/bin/** r,\n  /usr/bin/{python,perl} ix,\n}", False),
        ("profile x {\n}", False),
    ],
)
def test_a_profile_is_known_by_what_it_attaches_to(policy: str, confined: bool) -> None:
    assert mandatory_access_control.confines(policy, "/usr/bin/python3.11") is confined
