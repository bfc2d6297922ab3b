"""Specs of Sysctl and KernelModule: one meaning each, and nothing in them reaches further than it says."""

from typing import Any

import pytest

from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds import kernel_module, sysctl


def settings(**keys: Any) -> dict[str, str]:
    return sysctl.settings({"settings": keys})


def test_keys_are_read_as_sysctl_reads_them_and_written_back() -> None:
    keys = {
        "net.ipv4.ip_forward": 1,
        "net.ipv4.conf.eth0/7.forwarding": "1",
        "net/ipv4/conf/br.x/rp_filter": 0,
        "kernel.printk": "4\t4  1 7 ",
    }
    found = sysctl.settings({"settings": keys})
    assert found == {
        "kernel/printk": "4 4 1 7",
        "net/ipv4/conf/br.x/rp_filter": "0",
        "net/ipv4/conf/eth0.7/forwarding": "1",
        "net/ipv4/ip_forward": "1",
    }
    assert sysctl.render(found).splitlines() == [
        "kernel.printk = 4 4 1 7",
        "net.ipv4.conf.br/x.rp_filter = 0",
        "net.ipv4.conf.eth0/7.forwarding = 1",
        "net.ipv4.ip_forward = 1",
    ]
    assert {sysctl.path_of(sysctl.key_of(path)) for path in found} == set(found)


def test_one_key_may_be_said_without_a_map() -> None:
    assert sysctl.settings({"key": "vm.swappiness", "value": 10}) == {"vm/swappiness": "10"}


@pytest.mark.parametrize(
    "key",
    [
        "../../etc/passwd",
        "net..ipv4",
        "net/../../../etc/passwd",
        "net/./ipv4",
        "/etc/passwd",
        "net.ipv4.",
        ".net",
        "net",
        "",
        "-net.ipv4.ip_forward",
        "net.ipv4.*.x",
        "net.ipv4.a b",
        "net.ipv4.a\nkernel.x",
        "net.ipv4.a=1",
        "net.//.//.etc",
        "#kernel.x",
        "kernel." + "x" * 300,
        "kernel.\ud800",
    ],
)
def test_a_key_that_may_lead_elsewhere_is_refused(key: str) -> None:
    with pytest.raises(WireError) as caught:
        settings(**{key: 1})
    assert caught.value.reason == "BadKey"


@pytest.mark.parametrize(
    "value", ["", "  ", "1\nkernel.core_pattern = |/x", "1\r2", "\x00", "x" * 4001, "\ud800", "a\u2028b"]
)
def test_a_value_is_one_line(value: str) -> None:
    with pytest.raises(WireError) as caught:
        settings(**{"kernel.x": value})
    assert caught.value.reason == "InvalidSpec"


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"settings": {}},
        {"key": "kernel.x"},
        {"value": 1},
        {"key": "kernel.x", "value": 1, "settings": {"kernel.y": 1}},
        {"settings": {"kernel.x": True}},
        {"settings": {"kernel.x": 1.5}},
        {"settings": {"kernel.x": None}},
        {"settings": {"kernel.x": 1, "kernel/x": 2}},
        {"settings": {f"kernel.x{number}": 1 for number in range(201)}},
        {"other": 1},
    ],
)
def test_settings_that_say_nothing_or_two_things_are_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(WireError) as caught:
        sysctl.settings(spec)
    assert caught.value.reason == "InvalidSpec"


def test_a_module_is_called_as_the_kernel_calls_it() -> None:
    want = kernel_module.wanted({"parameters": {"b": True, "a": "x,y"}}, "snd-hda")
    assert kernel_module.render_load(want) == "snd_hda\n"
    assert kernel_module.render_options(want) == "options snd_hda a=x,y b=1\n"
    only = kernel_module.wanted({"name": "loop", "parameters": {"max_loop": 8}, "loaded": False}, "x")
    assert kernel_module.render_load(only) == ""
    assert kernel_module.render_options(kernel_module.wanted({}, "loop")) == ""


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"name": "../evil"}, "BadName"),
        ({"name": "--remove"}, "BadName"),
        ({"name": "a b"}, "BadName"),
        ({"name": "a\n"}, "BadName"),
        ({"name": "x" * 56}, "BadName"),
        ({"parameters": {"a b": 1}}, "InvalidSpec"),
        ({"parameters": {"a": "1 b=2"}}, "InvalidSpec"),
        ({"parameters": {"a": "1\ninstall x /bin/sh"}}, "InvalidSpec"),
        ({"parameters": {"a": '"'}}, "InvalidSpec"),
        ({"parameters": {"a": ""}}, "InvalidSpec"),
        ({"loaded": False}, "InvalidSpec"),
        ({"other": 1}, "InvalidSpec"),
    ],
)
def test_a_module_that_could_say_more_to_modprobe_is_refused(spec: dict[str, Any], reason: str) -> None:
    with pytest.raises(WireError) as caught:
        kernel_module.wanted(spec, "loop")
    assert caught.value.reason == reason
