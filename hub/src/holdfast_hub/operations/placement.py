"""Which sites a person means, and why an instance is on a site or not."""

import msgspec

from holdfast_hub.core.placement import SiteView, explain
from holdfast_hub.core.selector_text import FieldTerm, parse_fields, parse_labels
from holdfast_hub.core.selectors import selects
from holdfast_hub.operations.fleet import Fleet, KnownSite
from holdfast_hub.operations.hub import Hub


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    instance: str
    site: str


class Explained(msgspec.Struct, frozen=True):
    """One requirement of a placement at one site."""

    space: str  # label or field
    requirement: str
    holds: bool
    found: tuple[str, ...]  # what the site has there


class Explanation(msgspec.Struct, frozen=True):
    """`placed` says what the requirements come to; `message` what they do not say."""

    instance: str  # Kind/name
    site: str
    placed: bool
    requirements: tuple[Explained, ...]
    message: str = ""


async def explain_placement(hub: Hub, asked: Asked) -> Explanation:
    """Return every requirement of an instance, or of an object by Kind/name, and what became of it at a site.

    Raises NotFoundError, ConflictError."""

    def explaining() -> Explanation:
        row = hub.fleet.objects.get(asked.instance) or hub.fleet.instance(asked.instance)
        known = hub.fleet.site(asked.site)
        if row.placement is None:
            return Explanation(row.owner, known.row.name, False, (), "it has no placement, and goes to no site")
        judged = explain(row.placement, known.view())
        requirements = tuple(Explained(each.space, each.requirement, each.holds, each.found) for each in judged)
        placed = all(each.holds for each in judged)
        message = "its placement selects every site" if not judged else ""
        if known.row.name in hub.fleet.colliding:
            message = "what is placed there cannot be together (see describe site): the site keeps the target it had"
        return Explanation(row.owner, known.row.name, placed, requirements, message)

    return await hub.store.read(lambda _: explaining())


def chosen_sites(fleet: Fleet, labels: str = "", fields: str = "") -> list[KnownSite]:
    """Return the sites that a label selector and a field selector, both as text, choose. Raises InputError."""
    requirements = parse_labels(labels) if labels else ()
    terms = parse_fields(fields) if fields else ()
    return [
        known
        for _, known in sorted(fleet.sites.items())
        if selects(requirements, known.row.labels) and (not terms or _terms_hold(terms, known.view()))
    ]


def _terms_hold(terms: tuple[FieldTerm, ...], site: SiteView) -> bool:
    """A field with several values equals each of them, one that is absent only the empty text."""
    return all((each.value in (site.fields.get(each.key) or ("",))) is not each.negated for each in terms)
