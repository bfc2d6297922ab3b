"""One run of all rows at one booted site: all created, all changed, all altered by hand and repaired, all removed."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from support.booted import Booted
from support.shown.table import FAILING, ROWS, bodies
from support.waiting import BOOTED_S, until

Phase = Literal["before", "created", "changed", "drifted", "repaired", "removed"]
_AGENT: Final = "holdfast-edge.service"
_MARK: Final = "@@"
_TRIAL: Final = (
    "holdfast-edge-guard-"  # the units of a trial's guard: the last change may still be on trial when it is reported
)
# What a machine is made of, as far as these kinds reach.
_STANDING: Final = r"""
find /etc /usr/lib/systemd/system /home /srv -xdev -printf '%p %y %m %u:%g %l\n'
find /etc -xdev -type f -exec sha256sum {} +
systemctl list-unit-files --no-legend
docker ps -a --format 'container {{.Names}}'
docker network ls --format 'network {{.Name}}'
docker volume ls --format 'volume {{.Name}}'
nft list tables
ip -o address | sed 's/ valid_lft.*//'
ip route
dpkg-query -W -f '${Package} ${db:Status-Abbrev}\n'
findmnt -rno TARGET,OPTIONS
"""
# What may be otherwise in the end, and why.
_LEFT: Final = {
    r"/etc/(passwd|group|g?shadow|sub[ug]id)- ": "a backup of whoever changed the accounts last",
    r"/etc/systemd/system/\w+\.target\.wants d ": "systemd takes away an empty one",
    r"/srv/every-host/job ": "what a Job has done is done",
    r"/srv/every/mounted d ": "the empty folder that systemd makes for a mount stays",
    r"holdfast-edge-upgrade-\w+\.(timer|service) ": "the guard of an upgrade goes when its time is over",
}


@dataclass
class Run:
    """`seen`: what the machine showed of each kind at the end of each phase; `said`: what the agent said of it then.

    `trouble`: what went wrong by phase or kind: a target the hub did not see reached, a line that failed.
    `standing`: the lines of what the machine was made of before and after.
    """

    seen: dict[Phase, dict[str, str]] = field(default_factory=dict)
    said: dict[Phase, dict[str, str]] = field(default_factory=dict)
    trouble: dict[str, str] = field(default_factory=dict)
    failing: dict[str, list[str]] = field(default_factory=dict)  # what the agent said with each spec
    standing: list[set[str]] = field(default_factory=list)


def run(site: Booted) -> Run:
    """Go through all phases. Nothing is raised for a kind that is not as wanted: that is for whoever reads the run."""
    made = Run(standing=[_standing(site)])
    made.seen["before"] = looks(site, ROWS)
    for phase, changed in (("created", False), ("changed", True)):
        site.give(*(body for kind in ROWS for body in bodies(kind, changed=changed)))
        _reached(made, site, phase)
        _do(made, site, {kind: row.meanwhile for kind, row in ROWS.items()})
        _shown(made, site, phase, {kind: row.shows[changed] for kind, row in ROWS.items()})
    with _paused(site):
        _do(made, site, {kind: row.drift for kind, row in ROWS.items()})
        made.seen["drifted"] = looks(site, ROWS)
    _shown(made, site, "repaired", {kind: row.shows[1] for kind, row in ROWS.items()})
    _reached(made, site, "repaired")
    site.give(*(body for kind in FAILING for body in bodies(kind, changed=False)))
    before = made.seen["before"]
    _shown(made, site, "removed", {kind: row.shows[1] if row.kept else before[kind] for kind, row in ROWS.items()})
    _refused(made, site, 0)
    site.give(*(body for kind in FAILING for body in bodies(kind, changed=True)))
    _refused(made, site, 1)
    site.give()
    _reached(made, site, "removed")
    _in_time(lambda: _TRIAL not in site.machine.run(["systemctl", "list-units", "--all", "--no-legend"]).stdout)
    made.standing.append(_standing(site))
    return made


def looks(site: Booted, kinds: Iterable[str]) -> dict[str, str]:
    """Return what the machine shows of each of these kinds, with single blanks."""
    asked = list(kinds)
    script = "".join(f"echo '{_MARK}{kind}'; ({ROWS[kind].look}) 2>/dev/null </dev/null; echo\n" for kind in asked)
    parts = site.machine.run(["sh"], stdin=script, check=False).stdout.split(_MARK)[1:]
    found = {kind: " ".join(text.split()) for kind, _, text in (part.partition("\n") for part in parts)}
    return {kind: found.get(kind, "") for kind in asked}


def _standing(site: Booted) -> set[str]:
    lines = site.machine.run(["sh"], stdin=_STANDING).stdout.splitlines()
    found = {" ".join(line.split()) for line in lines}  # columns are as wide as their longest name
    return {line for line in found if not any(re.search(left, f"{line} ") for left in _LEFT)}


def _do(made: Run, site: Booted, lines: Mapping[str, str]) -> None:
    """Have the machine do each line; one that fails is trouble of its kind."""
    script = "".join(f"({line}) </dev/null || echo '{_MARK}{kind}' >&2\n" for kind, line in lines.items() if line)
    said = site.machine.run(["sh"], stdin=script).stderr
    made.trouble |= {kind: f"{line}: {said}" for kind, line in lines.items() if f"{_MARK}{kind}\n" in said}


def _reached(made: Run, site: Booted, phase: Phase) -> None:
    try:
        site.settled()
    except TimeoutError as error:
        made.trouble[phase] = "\n".join([str(error), *error.__notes__])


def _shown(made: Run, site: Booted, phase: Phase, wanted: Mapping[str, str]) -> None:
    """Wait until the machine shows all that is wanted, and keep what it shows in the end."""
    seen: dict[str, str] = {}

    def all_there() -> bool:
        seen.update(looks(site, [kind for kind in wanted if seen.get(kind) != wanted[kind]]))
        return seen == wanted

    _in_time(all_there)
    made.seen[phase] = looks(site, wanted)
    said = site.resources()
    made.said[phase] = {kind: str(said.get(f"{kind}/{ROWS[kind].name}", "nothing")) for kind in wanted}


def _refused(made: Run, site: Booted, number: int) -> None:
    """Wait until the agent judges all that can only fail here by these specs, and keep what it says."""
    said: dict[str, str] = {}

    def all_said() -> bool:
        found = site.resources()
        said.update({kind: _text(found.get(f"{kind}/{row.name}", {})) for kind, row in FAILING.items()})
        return all(re.search(row.says[number], said[kind]) for kind, row in FAILING.items())

    _in_time(all_said)
    for kind, text in said.items():
        made.failing.setdefault(kind, []).append(text)


def _text(condition: Mapping[str, Any]) -> str:
    return " ".join(str(condition.get(part, "")) for part in ("type", "reason", "message"))


def _in_time(probe: Callable[[], bool]) -> None:
    """Wait until it is so, or for as long as a phase may take: what is missing then is in the run."""
    deadline = time.monotonic() + BOOTED_S
    until(lambda: probe() or time.monotonic() > deadline, 2 * BOOTED_S, "a phase to end", every=0.3)


@contextmanager
def _paused(site: Booted) -> Iterator[None]:
    """Have the agent stand still meanwhile: what is done by hand is all there before it sees any of it."""
    site.machine.run(["systemctl", "kill", "--signal=STOP", _AGENT])
    try:
        yield
    finally:
        site.machine.run(["systemctl", "kill", "--signal=CONT", _AGENT])
