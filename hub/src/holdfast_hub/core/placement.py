"""Placement: which sites get an instance, by labels people give and fields sites have. It can say why.

`labelSelector` means what it means in Kubernetes. `fieldSelector.matchExpressions` is Karmada's: a field may have several
values (a site in two zones), `In` holds when one is listed, `NotIn` when none is. Both given: both must hold.

The index compares a change only with what it can touch, however large the fleet. Sites are posted under each of their
values; a placement hangs on one value it needs. The instances of a site are found among the placements that hang on that
site's values, the sites of an instance by combining postings. Only placements that need nothing (all their conditions
are NotIn or DoesNotExist) are compared with every change of a site.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from holdfast_hub.core.selectors import Requirement, Selector, check_keys, holds, read_expressions, read_selector
from holdfast_protocol.wire.flaws import Flaw
from holdfast_protocol.wire.names import SiteName

FIELDS: Final = ("name", "zone", "region", "provider", "arch", "os", "profile", "hardware")  # others only warn
Space = Literal["label", "field"]
Key = tuple[Space, str]
_NAME: Final[Key] = ("field", "name")  # every site has its own: never posted


class Placement(msgspec.Struct, frozen=True):
    """None is no condition; one of the two is always there."""

    label_selector: Selector | None = None
    field_selector: Selector | None = None

    def requirements(self) -> tuple[tuple[Space, Requirement], ...]:
        """Return everything that must hold."""
        found: list[tuple[Space, Requirement]] = [("label", each) for each in self.label_selector or ()]
        found += [("field", each) for each in self.field_selector or ()]
        return tuple(found)


class SiteView(msgspec.Struct, frozen=True):
    """What a selector can see of a site. `fields` has the site's name, zones, region, provider and reported facts."""

    name: SiteName
    labels: Mapping[str, str] = {}
    fields: Mapping[str, tuple[str, ...]] = {}


class Judgement(msgspec.Struct, frozen=True):
    """One requirement at one site: whether it holds, and what the site has there."""

    space: Space
    requirement: str
    holds: bool
    found: tuple[str, ...]

    def __str__(self) -> str:
        has = ", ".join(map(repr, self.found)) if self.found else "nothing"
        return f"{'holds' if self.holds else 'fails'}: {self.space} {self.requirement} (the site has {has})"


def matches(placement: Placement | None, site: SiteView) -> bool:
    """Return whether an instance belongs on a site; without a placement it belongs nowhere."""
    if placement is None:
        return False
    return all(holds(each, values_of(site, space, each.key)) for space, each in placement.requirements())


def explain(placement: Placement, site: SiteView) -> tuple[Judgement, ...]:
    """Return every requirement with what became of it at this site."""
    judged = []
    for space, each in placement.requirements():
        found = values_of(site, space, each.key)
        judged.append(Judgement(space, str(each), holds(each, found), found))
    return tuple(judged)


def values_of(site: SiteView, space: Space, key: str) -> tuple[str, ...]:
    """Return the values a site has under a key; none when it has no such key."""
    if space == "label":
        return (site.labels[key],) if key in site.labels else ()
    if key == "name":
        return (site.name,)
    return site.fields.get(key, ())


def read_placement(value: Any, flaws: list[Flaw]) -> Placement | None:
    """Return the placement in an instance's `spec.placement`; None when something was added to `flaws` as an error."""
    if not isinstance(value, dict):
        flaws.append(Flaw((), "placement is a map with labelSelector and fieldSelector"))
        return None
    before = len(flaws)
    check_keys(value, ("labelSelector", "fieldSelector"), flaws, ())
    labels = read_selector(value.get("labelSelector"), flaws, ("labelSelector",))
    fields = _read_fields(value.get("fieldSelector"), flaws)
    if len(flaws) == before and labels is None and fields is None:
        flaws.append(Flaw((), "placement selects nothing", "labelSelector: {} selects every site"))
    wrong = len(flaws) > before
    for index, each in enumerate(fields or ()):
        if each.key not in FIELDS:
            path = ("fieldSelector", "matchExpressions", index, "key")
            known = f"fields every fleet has: {', '.join(FIELDS)}"
            flaws.append(Flaw(path, f"a site has field {each.key[:80]!r} only if it reports it", known, warning=True))
    return None if wrong else Placement(labels, fields)


def _read_fields(value: Any, flaws: list[Flaw]) -> Selector | None:
    path = ("fieldSelector",)
    if value is None:
        return None
    if not isinstance(value, dict):
        flaws.append(Flaw(path, "fieldSelector is a map with matchExpressions"))
        return None
    check_keys(value, ("matchExpressions",), flaws, path)
    return tuple(read_expressions(value.get("matchExpressions"), flaws, (*path, "matchExpressions")))


class _Posting:
    """The sites with one value. A site's record is the tuple of its postings, so that a value is stored once."""

    __slots__ = ("key", "sites", "value")

    def __init__(self, key: Key, value: str) -> None:
        self.key = key
        self.value = value
        self.sites: set[SiteName] = set()


class PlacementIndex:
    """In memory, for one process. Instances are named by their owner text, sites by their name."""

    def __init__(self) -> None:
        self._postings: dict[Key, dict[str, _Posting]] = {}
        self._sites: dict[SiteName, tuple[_Posting, ...]] = {}
        self._placements: dict[str, Placement | None] = {}
        self._hanging: dict[tuple[Key, str | None], set[str]] = {}  # None: on any value of the key
        self._broad: set[str] = set()

    def put_site(self, site: SiteView) -> set[str]:
        """Add or replace a site; return the instances that it gained or lost."""
        before = self.instances_of(site.name)
        self._unpost(site.name)
        self._sites[site.name] = tuple(self._post(site.name, key, value) for key, value in _values(site))
        return before ^ self.instances_of(site.name)

    def remove_site(self, name: SiteName) -> set[str]:
        """Remove a site; return the instances it had."""
        before = self.instances_of(name)
        self._unpost(name)
        self._sites.pop(name, None)
        return before

    def put_instance(self, owner: str, placement: Placement | None) -> None:
        """Add or replace an instance; without a placement it is nowhere."""
        self.remove_instance(owner)
        self._placements[owner] = placement
        for hook in _hooks(placement):
            self._hanging.setdefault(hook, set()).add(owner)
        if placement is not None and not _hooks(placement):
            self._broad.add(owner)

    def remove_instance(self, owner: str) -> None:
        for hook in _hooks(self._placements.pop(owner, None)):
            hanging = self._hanging[hook]
            hanging.discard(owner)
            if not hanging:
                del self._hanging[hook]
        self._broad.discard(owner)

    def instances_of(self, site: SiteName) -> set[str]:
        """Return the instances placed on a site; none for an unknown one."""
        if site not in self._sites:
            return set()
        view = self._view(site)
        candidates = set(self._broad)
        for key, value in (*_values(view), (_NAME, str(site))):
            candidates |= self._hanging.get((key, value), set())
            candidates |= self._hanging.get((key, None), set())
        return {owner for owner in candidates if matches(self._placements[owner], view)}

    def sites_of(self, owner: str) -> set[SiteName]:
        """Return the sites an instance is placed on; none for an unknown one."""
        placement = self._placements.get(owner)
        if placement is None:
            return set()
        found: set[SiteName] | None = None
        without: list[set[SiteName]] = []
        needed = []
        for space, each in placement.requirements():
            if each.operator in ("NotIn", "DoesNotExist"):
                without.append(self._with_any((space, each.key), _inverse(each)))
            else:
                needed.append(self._with_any((space, each.key), each))
        for sites in sorted(needed, key=len):
            found = sites if found is None else found & sites
        result = set(self._sites) if found is None else set(found)
        for sites in without:
            result -= sites
        return result

    def _with_any(self, key: Key, requirement: Requirement) -> set[SiteName]:
        """Return the sites with a value that satisfies a requirement of the positive kind."""
        if key == _NAME:
            if requirement.operator == "In":
                return {SiteName(each) for each in requirement.values if SiteName(each) in self._sites}
            return {site for site in self._sites if holds(requirement, (site,))}
        postings = self._postings.get(key, {})
        if requirement.operator == "In":
            fitting = [postings[value] for value in requirement.values if value in postings]
        else:
            fitting = [each for each in postings.values() if holds(requirement, (each.value,))]
        if len(fitting) == 1:
            return fitting[0].sites  # not copied: callers only read it
        return set().union(*(each.sites for each in fitting))

    def _view(self, name: SiteName) -> SiteView:
        labels: dict[str, str] = {}
        fields: dict[str, tuple[str, ...]] = {}
        for posting in self._sites[name]:
            space, key = posting.key
            if space == "label":
                labels[key] = posting.value
            else:
                fields[key] = (*fields.get(key, ()), posting.value)
        return SiteView(name, labels, fields)

    def _post(self, site: SiteName, key: Key, value: str) -> _Posting:
        values = self._postings.setdefault(key, {})
        posting = values.get(value)
        if posting is None:
            posting = values[value] = _Posting(key, value)
        posting.sites.add(site)
        return posting

    def _unpost(self, site: SiteName) -> None:
        for posting in self._sites.get(site, ()):
            posting.sites.discard(site)
            if not posting.sites:
                values = self._postings[posting.key]
                del values[posting.value]
                if not values:
                    del self._postings[posting.key]


def _values(site: SiteView) -> Iterable[tuple[Key, str]]:
    for key, value in site.labels.items():
        yield ("label", key), value
    for key, values in site.fields.items():
        if key != "name":
            for value in dict.fromkeys(values):
                yield ("field", key), value


def _hooks(placement: Placement | None) -> list[tuple[Key, str | None]]:
    """Return where a placement hangs: the values of the one condition that likely fits the fewest sites."""
    if placement is None:
        return []
    best: tuple[int, Key, Requirement] | None = None
    for space, each in placement.requirements():
        if each.operator in ("NotIn", "DoesNotExist"):
            continue
        key: Key = (space, each.key)
        rank = -1 if key == _NAME else len(each.values) if each.operator == "In" else 1_000_000
        if best is None or rank < best[0]:
            best = (rank, key, each)
    if best is None:
        return []
    _, key, requirement = best
    if requirement.operator != "In":
        return [(key, None)]
    return [(key, value) for value in dict.fromkeys(requirement.values)]


def _inverse(requirement: Requirement) -> Requirement:
    if requirement.operator == "NotIn":
        return Requirement(requirement.key, "In", requirement.values)
    return Requirement(requirement.key, "Exists")
