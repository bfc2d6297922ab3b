"""KernelModule: real files, and a stand-in for modprobe and /sys, for the kernels of test machines often load no modules."""

from pathlib import Path
from typing import Any

import pytest

from holdfast_edge.providers.modules.live import Live
from holdfast_edge.providers.modules.provider import KernelModuleProvider
from holdfast_edge.providers.port import Observed, Scope
from holdfast_protocol.errors import PermanentError, ProviderError, UnsupportedError
from holdfast_protocol.wire import target
from holdfast_protocol.wire.target import Resource

pytestmark = pytest.mark.anyio
NOTHING = Scope(resources={})
MODPROBE = """\
#!/bin/sh
[ "$1" = -- ] || exit 2
echo "load $2" >> "{root}/log"
[ -e "{root}/denied" ] && {{ echo "modprobe: ERROR: could not insert '$2': Operation not permitted" >&2; exit 1; }}
[ "$2" = nonesuch ] && {{ echo "modprobe: FATAL: Module $2 not found in directory /lib/modules/1" >&2; exit 1; }}
/bin/mkdir -p "{root}/sys/module/$2/parameters" && echo live > "{root}/sys/module/$2/initstate"
"""
RMMOD = """\
#!/bin/sh
echo "unload $2" >> "{root}/log"
[ -e "{root}/used" ] && {{ echo "rmmod: ERROR: Module $2 is in use" >&2; exit 1; }}
/bin/rm -r "{root}/sys/module/$2"
"""


class Machine:
    """A machine's /, as far as modules go, with the provider over it."""

    def __init__(self, root: Path, *, programs: bool = True) -> None:
        self.root = root
        self.etc = root / "etc"
        for folder in ("etc", "sys/module", "proc", "bin"):
            (root / folder).mkdir(parents=True)
        (root / "proc/modules").touch()
        (root / "log").touch()
        if programs:
            for name, text in (("modprobe", MODPROBE), ("rmmod", RMMOD)):
                (root / "bin" / name).write_text(text.format(root=root))
                (root / "bin" / name).chmod(0o755)
        self.provider = self.restarted()

    def restarted(self) -> KernelModuleProvider:
        return KernelModuleProvider(
            state=self.root / "state", etc=self.etc, live=Live(self.root, str(self.root / "bin"))
        )

    def put(self, module: str, *, built_in: bool = False, **parameters: str) -> None:
        folder = self.root / "sys/module" / module
        (folder / "parameters").mkdir(parents=True)
        if not built_in:
            (folder / "initstate").write_text("live\n")
        for name, value in parameters.items():
            (folder / "parameters" / name).write_text(f"{value}\n")

    def reboot(self) -> None:
        """Lose what was loaded, and load what the files say."""
        for folder in (self.root / "sys/module").iterdir():
            (folder / "initstate").unlink()
            (folder / "parameters").rmdir()
            folder.rmdir()
        for file in (self.etc / "modules-load.d").glob("*.conf"):
            for line in file.read_text().splitlines():
                if not line.startswith("#"):
                    self.put(line)

    @property
    def log(self) -> list[str]:
        return (self.root / "log").read_text().splitlines()

    @property
    def files(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.etc)): path.read_text().splitlines()[-1]
            for path in sorted(self.etc.rglob("*"))
            if path.is_file()
        }

    async def look(self, resource: Resource) -> Observed:
        return (await self.provider.observe([resource], NOTHING))[resource.key]

    async def converge(self, resource: Resource) -> Observed:
        self.provider.check(resource, NOTHING)
        await self.provider.apply(resource, NOTHING)
        seen = await self.look(resource)
        assert seen.as_wanted, seen
        return seen

    async def refused(self, resource: Resource) -> ProviderError:
        with pytest.raises(ProviderError) as caught:
            await self.provider.apply(resource, NOTHING)
        return caught.value


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def module(name: str = "loop", /, **spec: Any) -> Resource:
    body = {"apiVersion": "v1", "kind": "KernelModule", "metadata": {"name": name}, "spec": spec}
    return target.resource(body)


async def test_a_module_is_loaded_now_and_at_boot_repaired_and_removed(machine: Machine) -> None:
    resource = module(parameters={"max_loop": 8})
    assert not (await machine.look(resource)).exists
    await machine.converge(resource)
    assert machine.log == ["load loop"]
    assert machine.files == {
        "modprobe.d/holdfast-loop.conf": "options loop max_loop=8",
        "modules-load.d/holdfast-loop.conf": "loop",
    }
    machine.reboot()
    assert (await machine.look(resource)).as_wanted
    machine.provider._live.unload("loop")
    (machine.etc / "modprobe.d/holdfast-loop.conf").write_text("edited\n")
    assert (await machine.look(resource)).differences == ("file: differs", "loaded: it is not")
    await machine.converge(resource)
    machine.provider = machine.restarted()
    await machine.provider.remove(resource.key, resource.body)
    await machine.provider.remove(resource.key, resource.body)
    assert machine.files == {}
    assert machine.log == ["load loop", "unload loop", "load loop", "unload loop"]


@pytest.mark.invariant("only-owned-things-are-removed")
async def test_what_was_loaded_before_us_stays_loaded(machine: Machine) -> None:
    machine.put("loop")
    await machine.converge(module())
    await machine.provider.remove(module().key, {})
    assert machine.log == []
    assert machine.files == {}


async def test_a_built_in_module_is_there_and_its_parameters_are_said_to_be_elsewhere(machine: Machine) -> None:
    machine.put("loop", built_in=True, max_loop="4", part="Y")
    builtin = machine.root / "lib/modules"
    builtin.mkdir(parents=True)
    seen = await machine.converge(module(parameters={"max_loop": 8, "part": True}))
    assert (seen.readiness, seen.reason, seen.detail["standing"]) == ("ready", "NextLoad", "built-in")
    assert seen.message.startswith("max_loop is 4; ")
    assert "command line" in seen.message
    assert "needsBoot" not in seen.status  # it would not help
    assert machine.log == []


async def test_parameters_of_a_loaded_module_hold_from_its_next_load(machine: Machine) -> None:
    machine.put("loop", max_loop="4")
    seen = await machine.converge(module(parameters={"max_loop": 8}))
    assert seen.message == "max_loop is 4; parameters are given when it is loaded next"
    assert seen.status["needsBoot"] == seen.message


async def test_another_module_takes_the_place_of_the_first(machine: Machine) -> None:
    await machine.converge(module())
    await machine.converge(module("loop", name="snd-hda"))
    assert machine.log == ["load loop", "unload loop", "load snd_hda"]
    assert machine.files == {"modules-load.d/holdfast-loop.conf": "snd_hda"}
    await machine.converge(module("loop", name="snd-hda", parameters={"a": 1}, loaded=False))
    assert machine.log[-1] == "unload snd_hda"
    assert machine.files == {"modprobe.d/holdfast-loop.conf": "options snd_hda a=1"}


async def test_of_two_that_want_a_module_the_last_one_unloads_it(machine: Machine) -> None:
    one, two = module("one", name="loop"), module("two", name="loop")
    await machine.converge(one)
    await machine.converge(two)
    await machine.provider.remove(one.key, {})
    assert machine.log == ["load loop"]
    await machine.provider.remove(two.key, {})
    assert machine.log == ["load loop", "unload loop"]


async def test_one_in_use_stays_and_the_removal_succeeds(machine: Machine) -> None:
    await machine.converge(module())
    (machine.root / "used").touch()
    await machine.provider.remove(module().key, {})
    assert machine.files == {}
    assert machine.provider._live.standing("loop") == "loaded"


async def test_what_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "one")
    error = await machine.refused(module("nonesuch"))
    assert (type(error), error.reason) == (PermanentError, "UnknownModule")
    (machine.root / "denied").touch()
    error = await machine.refused(module())
    assert (type(error), error.reason) == (UnsupportedError, "NotPermitted")
    (machine.root / "proc/modules").unlink()
    assert (await machine.refused(module())).reason == "NoModules"
    bare = Machine(tmp_path / "two", programs=False)
    error = await bare.refused(module())
    assert (type(error), error.reason) == (UnsupportedError, "NoModprobe")


@pytest.mark.parametrize("name", ["../x", "a/b", "A b", "x" * 64])
async def test_a_name_that_is_no_file_s_is_refused(machine: Machine, name: str) -> None:
    resource = module(name, name="loop")
    with pytest.raises(PermanentError) as caught:
        machine.provider.check(resource, NOTHING)
    assert caught.value.reason == "BadName"
    assert (await machine.look(resource)).reason == "BadName"
