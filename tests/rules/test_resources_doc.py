"""docs/resources.md: every kind the agent has, every field of the machine's own kinds, and examples that are accepted."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from holdfast_edge.providers import registry
from holdfast_edge.providers.files import directory
from holdfast_edge.providers.files import wanted as files
from holdfast_edge.providers.port import Scope
from holdfast_edge.providers.systemd import wanted as systemd
from holdfast_protocol.kinds import firewall, kernel_module, sysctl
from holdfast_protocol.kinds.firewall import Way
from holdfast_protocol.wire import target
from support.builders import SITE

TEXT = (Path(__file__).resolve().parents[2] / "docs/resources.md").read_text()
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
EXAMPLES = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]
SPECS = {
    "File": (files.Spec, files.Source),
    "Directory": (directory.Spec,),
    "SystemdService": (systemd.Spec,),
    "Sysctl": (sysctl.Spec,),
    "KernelModule": (kernel_module.Spec,),
    "Firewall": (firewall.Spec, firewall.Policy, firewall.Rule),
}


def check(kind: str, body: dict[str, Any]) -> object:
    resource = target.resource({"apiVersion": "v1"} | body)
    match kind:
        case "File":
            return files.wanted(resource, Scope(resources={}))
        case "Directory":
            return directory.wanted(resource)
        case "SystemdService":
            return systemd.wanted(resource)
        case "Sysctl":
            return sysctl.settings(resource.spec)
        case "KernelModule":
            return kernel_module.wanted(resource.spec, resource.name)
    return firewall.render(resource.spec, resource.name, Way("10.0.0.1", 1883))


def test_every_kind_has_its_section(tmp_path: Path) -> None:
    chosen = registry.equip(
        file_roots=("/srv",),
        engine="",
        host_paths=(),
        privileged=False,
        systemd="",
        kernel=True,
        hub=Way("127.0.0.1", 1883),
        site=SITE,
        state=tmp_path,
        denied=(),
        environ={},
    )
    kinds = {kind for provider in chosen.providers for kind in provider.kinds}
    assert kinds == {kind for title in SECTIONS for kind in title.split(", ")}


@pytest.mark.parametrize("kind", SPECS)
def test_every_field_is_named(kind: str) -> None:
    for shape in SPECS[kind]:
        for field in msgspec.structs.fields(shape):
            assert re.search(rf"\b{field.encode_name}\b", SECTIONS[kind]), f"{kind}: {field.encode_name}"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: str(example["metadata"]["name"]))
def test_every_example_is_accepted(example: dict[str, Any]) -> None:
    assert check(example["kind"], example)


def test_every_kind_of_the_machine_has_an_example() -> None:
    assert {example["kind"] for example in EXAMPLES} == set(SPECS)
