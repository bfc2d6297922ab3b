"""The main job from end to end: every claim is looked at where it holds, at the hub's commands and inside the sites."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from demo.commands import Hub
from demo.screen import Screen, Step
from demo.sites import FOLDER, LYON, PLACES, REPOSITORY, STAGE, TURIN, UNIT, Ground, Site
from support.waiting import until

EXAMPLE = REPOSITORY / "docs/examples/inspection"
CHANGED = EXAMPLE / "changed/instance.yaml"
SETTINGS = f"{FOLDER}/settings.ini"
FIRST = ("inspection:1", "0.80")  # image and threshold
SECOND = ("inspection:2", "0.92")
EVERY_MS = 100.0
OFFLINE_S = 8.0
KINDS = {"containers": "Deployment", "service": "SystemdService", "files": "File"}


def tell(screen: Screen, hub: Hub, ground: Ground, folder: Path, standing: list[Site]) -> None:
    """Tell the whole story; the sites go to `standing`. The first thing that is not so ends it by an exception."""
    with screen.step("A hub with its broker, and three sites") as step:
        sites = start(step, hub, ground)
        standing += sites.values()
    lyon, turin, osaka = (sites[place.name] for place in PLACES)
    with screen.step("The sites join, their devices publish") as step:
        join(step, hub, sites.values(), folder)
    with screen.step("One blueprint, placed by zone and stage") as step:
        place(step, hub, [lyon, turin], osaka)
    with screen.step(f"Broken by hand at {LYON.name}, repaired by the site") as step:
        repair(step, lyon)
    with screen.step(f"{TURIN.name} offline: devices publish on, drift is repaired, then everything arrives") as step:
        offline(step, hub, turin)
    with screen.step("A changed blueprint: first the difference, then the new state") as step:
        change(step, hub, [lyon, turin], osaka)
    with screen.step("Every reading of every site is stored exactly once") as step:
        account(step, hub, sites.values())
    with screen.step("Leaving: the blueprint as plain files") as step:
        eject(step, hub, folder / "ejected")


def start(step: Step, hub: Hub, ground: Ground) -> dict[str, Site]:
    step.say(ground.words)
    address, port = ground.hub_address, ground.hub_port
    with ThreadPoolExecutor(1) as thread, step.console.status("booting"):
        booting = thread.submit(ground.boot, PLACES)
        hub.start(f"{address}:{port}")
        step.check(hub.sites() == {}, f"holdfast up: a hub on {address}:{port}, no site yet")
        sites = {site.name: site for site in booting.result()}
    step.check(len(sites) == len(PLACES), f"{len(sites)} sites run: {', '.join(sites)}")
    for site in sites.values():
        if site.lacks:
            step.say(f"{site.name} has not {', '.join(site.lacks)}")
    return sites


def join(step: Step, hub: Hub, sites: Any, folder: Path) -> None:
    for site, each in zip(sites, PLACES, strict=True):
        kit = folder / "kits" / each.name
        hub.add_site(each.name, each.zone, STAGE, kit, site.kit_options)
        site.join(kit)
    step.wait(lambda: all(each["online"] for each in hub.sites().values()), 30, "all three are online")
    for site in sites:
        site.start_devices(devices_of(site), EVERY_MS)
    for site in sites:
        step.wait(partial(hub.readings, site.name), 20, f"the first readings of {site.name} are at the hub")


def place(step: Step, hub: Hub, selected: Sequence[Site], other: Site) -> None:
    began = time.monotonic()
    answer = hub.apply(EXAMPLE / "blueprint.yaml", EXAMPLE / "instance.yaml")
    names = sorted(site.name for site in selected)
    step.check(sorted(answer["sites"]) == names, f"holdfast apply: {' and '.join(names)} get a new target")
    for site in selected:
        step.wait(partial(stands, site, *FIRST), 45, f"{site.name}: {', '.join(kept(site))} are there")
        step.wait(partial(at_hub, hub, site), 20, f"{site.name}: the hub knows it")
    step.figures["applied_s"] = time.monotonic() - began
    nowhere(step, hub, other)
    step.show(hub.say("get", "sites"))


def repair(step: Step, site: Site) -> None:
    if "Deployment" in site.kinds:
        (gone,) = site.containers()
        site.remove_container(gone.split()[0])
        took = step.wait(
            lambda: not missing(site, *FIRST) and gone not in site.containers(),
            30,
            "docker rm -f: a new container runs",
        )
        step.figures["container_s"] = took
    wanted = site.read(SETTINGS)
    site.write(SETTINGS, "threshold = 0\n")
    step.figures["file_s"] = step.wait(lambda: site.read(SETTINGS) == wanted, 30, "file overwritten: it is as it was")
    if "SystemdService" in site.kinds:
        site.stop_unit(UNIT)
        step.figures["service_s"] = step.wait(
            lambda: site.unit_active(UNIT), 30, "systemctl stop: the service runs again"
        )


def offline(step: Step, hub: Hub, site: Site) -> None:
    site.cut()
    began = time.monotonic()
    step.say(f"the network of {site.name} is cut")
    quiet = settled(lambda: len(hub.readings(site.name)))
    broken = break_everything(site)
    step.figures["repair_s"] = step.wait(
        lambda: not missing(site, *FIRST) and not set(broken) & set(site.containers()),
        40,
        f"{', '.join(kept(site))} broken by hand: all of it repaired with no hub",
    )
    with step.console.status("the devices publish on"):
        until(lambda: time.monotonic() - began >= OFFLINE_S, OFFLINE_S + 5, "time to pass", every=0.2)
    at_the_hub = len(hub.readings(site.name))
    step.check(at_the_hub == quiet, f"nothing of it reached the hub: still {quiet} readings of {site.name}")
    site.restore()
    expected = int(
        (time.monotonic() - began) * 1000 / EVERY_MS * len(devices_of(site)) * 0.5
    )  # a loaded machine is slower
    caught_up = step.wait(partial(arrived, hub, site, at_the_hub + expected), 60, "network back: what was kept arrives")
    step.figures["offline_s"] = time.monotonic() - began - caught_up
    step.figures["caught_up_s"] = caught_up
    step.wait(lambda: at_hub(hub, site), 30, f"the hub knows again how {site.name} is")


def change(step: Step, hub: Hub, selected: Sequence[Site], other: Site) -> None:
    data, text = hub.diff(CHANGED)
    touched = sorted(name for group in data["groups"] for name in group["sites"])
    names = sorted(site.name for site in selected)
    step.check(not data["same"] and touched == names, f"holdfast diff: {' and '.join(names)} would change")
    step.show(text)
    step.check(not missing(selected[0], *FIRST), "asking changed nothing")
    began = time.monotonic()
    hub.apply(CHANGED)
    for site in selected:
        step.wait(partial(stands, site, *SECOND), 45, f"{site.name} has the new state")
        step.wait(partial(at_hub, hub, site), 20, f"{site.name}: the hub knows it")
    step.figures["changed_s"] = time.monotonic() - began
    nowhere(step, hub, other)
    step.check(hub.diff(CHANGED)[0]["same"], "holdfast diff: nothing left to change")


def account(step: Step, hub: Hub, sites: Any) -> None:
    total = 0
    for site in sites:
        sent = site.stop_devices()
        count = sum(sent.values())
        step.wait(partial(arrived, hub, site, count), 60, f"{site.name}: {count} sent")
        stored: dict[str, list[int]] = {}
        for reading in hub.readings(site.name):
            stored.setdefault(reading["device"], []).append(reading["value"])
        for device, last in sent.items():
            numbers = sorted(stored.get(device, []))
            held = numbers == list(range(1, last + 1))
            step.check(held, f"{device}: 1 to {last}, each once", trouble(numbers, last))
        step.check(set(stored) == set(sent), f"{site.name}: and of no other device")
        step.wait(partial(exact, hub, site), 20, f"holdfast ledger {site.name}: exact")
        total += count
    step.figures["readings"] = total


def eject(step: Step, hub: Hub, folder: Path) -> None:
    files = hub.eject(folder)
    for file in files:
        step.say(file)
    names = {Path(file).name for file in files}
    step.check("deployment.yaml" in names, "a Kubernetes manifest")
    step.check(any(name.endswith((".unit", ".service")) for name in names), "a systemd unit")
    step.check(all((folder / file).stat().st_size for file in files), f"{len(files)} files, none empty")


def devices_of(site: Site) -> list[str]:
    return [f"{site.name}-camera", f"{site.name}-scale"]


def kept(site: Site) -> list[str]:
    return [word for word, kind in KINDS.items() if kind in site.kinds]


def missing(site: Site, image: str, threshold: str) -> list[str]:
    """Return what is not yet so inside the site, of what it can keep."""
    found = []
    if "Deployment" in site.kinds and [c.split()[1:] for c in site.containers()] != [[image, threshold]]:
        found.append("container")
    if "SystemdService" in site.kinds and not site.unit_active(UNIT):
        found.append("service")
    if not site.exists(SETTINGS) or f"threshold = {threshold}\nimage = {image}\n" not in site.read(SETTINGS):
        found.append("settings")
    if not site.exists(f"{FOLDER}/NOTICE"):
        found.append("notice")
    return found


def stands(site: Site, image: str, threshold: str) -> bool:
    return not missing(site, image, threshold)


def arrived(hub: Hub, site: Site, count: int) -> bool:
    return len(hub.readings(site.name)) >= count


def exact(hub: Hub, site: Site) -> bool:
    return bool(hub.ledger(site.name)["exact"])


def at_hub(hub: Hub, site: Site) -> bool:
    """Return whether the hub has it from the site: everything it can keep is ready, and only the rest is unsupported."""
    known = hub.call("get", "site", site.name)
    types = {resource["key"].partition("/")[0]: resource["type"] for resource in known["resources"]}
    wanted = {kind: "Ready" if kind in site.kinds else "Unsupported" for kind in KINDS.values()}
    return bool(known["online"]) and known["observed_generation"] == known["generation"] and types == wanted


def nowhere(step: Step, hub: Hub, site: Site) -> None:
    known: Mapping[str, Any] = hub.sites()[site.name]
    untouched = not site.containers() and not site.exists(FOLDER)
    step.check(known["instances"] == [] and untouched, f"{site.name} is not selected and has nothing of it")


def break_everything(site: Site) -> list[str]:
    """Break all that the site keeps, at once; return the containers that were removed."""
    containers = site.containers()
    for container in containers:
        site.remove_container(container.split()[0])
    site.write(SETTINGS, "threshold = 0\n")
    if "SystemdService" in site.kinds:
        site.stop_unit(UNIT)
    return containers


def settled(count: Callable[[], int]) -> int:
    """Return a count once it has stood still for a second (what was on its way has arrived)."""
    last, since = count(), time.monotonic()

    def still() -> bool:
        nonlocal last, since
        if (now := count()) != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since >= 1

    until(still, 20, "the cut to be felt", every=0.1)
    return last


def trouble(numbers: Sequence[int], last: int) -> str:
    """Return which of the numbers 1 to `last` are not there, and which are there twice."""
    lost = sorted(set(range(1, last + 1)) - set(numbers))
    more = sorted({number for number in numbers if numbers.count(number) > 1 or number > last})
    return f"missing {lost[:10]}, too many {more[:10]}"
