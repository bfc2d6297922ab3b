"""On a booted site whose agent may do everything: hostile text wherever a kind takes it runs nothing. A canary tells."""

from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import msgspec
import pytest

from holdfast_protocol.kinds.table import KINDS
from support import images
from support.booted import Booted, booted
from support.specimens import CANARY, SHELL, SPECIMENS, body, is_taken, places, planted
from support.waiting import BOOTED_S, until

pytestmark = pytest.mark.root
SCRIPTS = {
    "SystemdService",
    "SystemdTimer",
    "SystemdSocket",
    "SystemdMount",
    "SystemdDropIn",
}  # a unit's text is a program
ONE_OF_THEM = {"StatefulSet", "DaemonSet", "Job", "CronJob", "Deployment"}  # pods again: Pod stands for all
ELSEWHERE = {
    "Kubernetes",
    "DeviceSource",
    "Bridge",
}  # no server here: what they send is data of a protocol, and no program is run
OPTIONS = ["--file-root", "/srv", "--systemd", "system", "--engine", "unix:///run/docker.sock", "--kernel", "--network"]
MORE = ["--machine", "--packages", "--accounts", "--security"]
OVER = {"Ready", "Failed", "Degraded", "Unsupported", "Waiting"}
MAX_EACH = 12  # resources of a kind


def hostile() -> list[dict[str, Any]]:
    """Return resources that a hub takes, with a hostile text at every place where it takes one: as many places in each
    resource as go together."""
    found = []
    for kind in sorted(set(KINDS) - ONE_OF_THEM - ELSEWHERE):
        specs: list[dict[str, Any]] = []
        for number, path in enumerate(places(kind)):
            if kind in SCRIPTS and path[-1:] == ("unit",):
                continue
            for text in islice(cycle(SHELL), number, number + len(SHELL)):
                if specs and is_taken(kind, together := planted(kind, specs[-1], path, text)):
                    specs[-1] = together
                    break
                if is_taken(kind, alone := planted(kind, SPECIMENS[kind], path, text)):
                    specs.append(alone)
                    break
        found += [body(kind, spec, f"h-{number}") for number, spec in enumerate(specs[:MAX_EACH])]
    plain: list[dict[str, Any]] = msgspec.json.decode(msgspec.json.encode(found))  # no two share a part
    return [_escaped(each) for each in plain]


def _escaped(value: Any) -> Any:
    """Return a body as a blueprint says it: `${` begins an expression there."""
    match value:
        case dict():
            return {_escaped(key): _escaped(inner) for key, inner in value.items()}
        case list():
            return [_escaped(inner) for inner in value]
        case str():
            return value.replace("${", "$${")
    return value


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    folder = tmp_path_factory.mktemp("hostile")
    with booted(folder, "press-01", *OPTIONS, *MORE, before=lambda machine: images.load(machine, "press:1")) as it:
        yield it


@pytest.mark.invariant("no-shell-strings")
def test_hostile_text_in_every_field_that_takes_it_runs_nothing_on_a_machine(site: Booted) -> None:
    resources = hostile()
    assert len({each["kind"] for each in resources}) >= 9, "hardly anything was taken"
    probe = site.machine.run(["sh", "-c", f"touch {CANARY} && test -e {CANARY} && rm {CANARY} && echo sings"])
    assert probe.stdout.strip() == "sings"
    site.give(*resources)
    keys = {f"{each['kind']}/{each['metadata']['name']}" for each in resources}

    tried: set[str] = set()

    def judged() -> bool:  # a Pod whose probes fail is started again and again: that they were made is enough
        for key, found in site.resources().items():
            if found["type"] in OVER or " probe: " in found.get("message", ""):
                tried.add(key)
        return keys <= tried

    until(judged, BOOTED_S, "every resource to be tried", every=0.5)
    ready = {key.partition("/")[0] for key, each in site.resources().items() if each["type"] == "Ready"}
    assert {"File", "Directory", "ConfigMap"} <= ready, "text is text, and was written"
    assert not site.machine.exists(CANARY)
    containers = site.machine.run(["docker", "ps", "-aq"]).stdout.split()
    for each in containers:
        assert CANARY not in site.machine.run(["docker", "diff", each]).stdout.splitlines()
    site.give()
    site.given_back()
    assert not site.machine.exists(CANARY)
