import msgspec

from holdfast_hub.core.placement import Placement, PlacementIndex, SiteView, explain, matches
from holdfast_hub.core.selectors import Requirement
from holdfast_protocol.wire.names import SiteName


def site(name: str, zones: tuple[str, ...] = (), **labels: str) -> SiteView:
    return SiteView(SiteName(name), labels, {"zone": zones, "name": (name,)})


WEST = Placement(field_selector=(Requirement("zone", "In", ("west",)),))
EDGE_NOT_WEST = Placement((Requirement("tier", "In", ("edge",)),), (Requirement("zone", "NotIn", ("west",)),))


def test_both_selectors_must_hold() -> None:
    assert matches(EDGE_NOT_WEST, site("a", tier="edge"))
    assert not matches(EDGE_NOT_WEST, site("a", ("west", "north"), tier="edge"))
    assert not matches(EDGE_NOT_WEST, site("a"))


def test_a_site_in_two_zones_is_in_each_of_them() -> None:
    both = Placement(field_selector=(Requirement("zone", "In", ("west",)), Requirement("zone", "In", ("north",))))
    assert matches(both, site("a", ("west", "north")))
    assert not matches(both, site("a", ("west",)))


def test_without_a_placement_an_instance_is_nowhere_and_with_an_empty_selector_everywhere() -> None:
    assert not matches(None, site("a"))
    assert matches(Placement(label_selector=()), site("a"))


def test_an_explanation_says_each_requirement_and_what_the_site_has() -> None:
    tier, zone = explain(EDGE_NOT_WEST, site("a", ("west",)))
    assert str(tier) == "fails: label tier in (edge) (the site has nothing)"
    assert str(zone) == "fails: field zone notin (west) (the site has 'west')"


def test_a_placement_survives_being_stored_as_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(EDGE_NOT_WEST), type=Placement) == EDGE_NOT_WEST


def test_a_change_of_a_site_says_which_instances_it_touches() -> None:
    index = PlacementIndex()
    index.put_instance("west", WEST)
    index.put_instance("edge", EDGE_NOT_WEST)
    index.put_instance("nowhere", None)
    index.put_instance("everywhere", Placement(label_selector=()))
    assert index.put_site(site("a", ("west",))) == {"west", "everywhere"}
    assert index.put_site(site("a", ("north",), tier="edge")) == {"west", "edge"}
    assert index.instances_of(SiteName("a")) == {"edge", "everywhere"}
    assert index.sites_of("edge") == {"a"}
    assert index.remove_site(SiteName("a")) == {"edge", "everywhere"}
    assert index.sites_of("everywhere") == set()
    assert index.instances_of(SiteName("a")) == set()


def test_a_named_site_is_found_by_its_name() -> None:
    index = PlacementIndex()
    for name in ("a", "b", "c"):
        index.put_site(site(name))
    index.put_instance("two", Placement(field_selector=(Requirement("name", "In", ("a", "c", "z")),)))
    index.put_instance("rest", Placement(field_selector=(Requirement("name", "NotIn", ("a",)),)))
    assert index.sites_of("two") == {"a", "c"}
    assert index.sites_of("rest") == {"b", "c"}
    assert index.instances_of(SiteName("a")) == {"two"}


def test_what_the_index_gives_out_is_the_callers_own() -> None:
    index = PlacementIndex()
    index.put_site(site("a", ("west",)))
    index.put_instance("west", WEST)
    index.sites_of("west").clear()
    assert index.sites_of("west") == {"a"}


def test_nothing_is_left_of_what_was_removed() -> None:
    index = PlacementIndex()
    index.put_site(site("a", ("west",), tier="edge"))
    index.put_instance("west", WEST)
    index.remove_instance("west")
    index.remove_site(SiteName("a"))
    assert not any(vars(index).values())
