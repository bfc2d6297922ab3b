"""The index agrees with looking at every site and every instance, whatever happened before."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast_hub.core.placement import Placement, PlacementIndex, SiteView, matches
from holdfast_hub.core.selectors import Requirement
from holdfast_protocol.wire.names import SiteName

NAMES = st.sampled_from(["a", "b"])
OWNERS = st.sampled_from(["i", "j"])
VALUES = st.sampled_from(["1", "2"])
KEYS = st.sampled_from(["x", "y", "name"])

requirements = st.one_of(
    st.builds(
        Requirement,
        KEYS,
        st.sampled_from(["In", "NotIn"]),
        st.lists(st.one_of(VALUES, NAMES), min_size=1, max_size=2).map(tuple),
    ),
    st.builds(Requirement, KEYS, st.sampled_from(["Exists", "DoesNotExist"])),
    st.builds(Requirement, KEYS, st.sampled_from(["Gt", "Lt"]), VALUES.map(lambda value: (value,))),
)
selectors = st.one_of(st.none(), st.lists(requirements, max_size=3).map(tuple))
placements = st.one_of(st.none(), st.builds(Placement, selectors, selectors))
sites = st.builds(
    SiteView,
    NAMES.map(SiteName),
    st.dictionaries(KEYS, VALUES, max_size=2),
    st.dictionaries(KEYS, st.lists(VALUES, max_size=2).map(tuple), max_size=2),
)
changes = st.one_of(
    st.tuples(st.just("put_site"), sites),
    st.tuples(st.just("remove_site"), NAMES.map(SiteName)),
    st.tuples(st.just("put_instance"), OWNERS, placements),
    st.tuples(st.just("remove_instance"), OWNERS),
)

# Asked of every index at its end, so that whatever is left over or missing in it shows.
PROBES: dict[str, Placement | None] = {
    f"{key}-{number}-{labels}": Placement((requirement,), None) if labels else Placement(None, (requirement,))
    for key in ("x", "y", "name")
    for number, requirement in enumerate(
        (
            Requirement(key, "In", ("1",)),
            Requirement(key, "In", ("2", "a")),
            Requirement(key, "NotIn", ("1",)),
            Requirement(key, "Exists"),
            Requirement(key, "DoesNotExist"),
        )
    )
    for labels in (True, False)
}


@given(st.lists(changes, min_size=4, max_size=16))
@settings(max_examples=100, deadline=None)
def test_the_index_agrees_with_brute_force(steps: list[tuple[Any, ...]]) -> None:
    index = PlacementIndex()
    held: dict[str, SiteView] = {}
    placed: dict[str, Placement | None] = {}
    for name, *arguments in steps:
        before = {owner for owner in placed if name.endswith("site") and _on(held, placed, owner, arguments[0])}
        touched = getattr(index, name)(*arguments)
        if name == "put_site":
            held[arguments[0].name] = arguments[0]
        elif name == "remove_site":
            held.pop(arguments[0], None)
        elif name == "put_instance":
            placed[arguments[0]] = arguments[1]
        else:
            placed.pop(arguments[0], None)
        if name.endswith("site"):
            after = {owner for owner in placed if _on(held, placed, owner, arguments[0])}
            assert touched == before ^ after
    for probe, placement in PROBES.items():
        index.put_instance(probe, placement)
        placed[probe] = placement
    for owner, placement in placed.items():
        assert index.sites_of(owner) == {site for site, view in held.items() if matches(placement, view)}
    for site, view in held.items():
        assert index.instances_of(SiteName(site)) == {owner for owner in placed if matches(placed[owner], view)}


def _on(held: dict[str, SiteView], placed: dict[str, Placement | None], owner: str, site: SiteView | str) -> bool:
    name = site.name if isinstance(site, SiteView) else site
    return name in held and matches(placed[owner], held[name])
