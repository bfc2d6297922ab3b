"""Compose a site's target from its instances' resources, and say who else claims what only one may have.

A claim is anything on a site that has one owner: a resource's key, a file's path, a unit's name. Two claimants are
refused before anything is written, because at the site the last one applied would win, for ever in turn.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from holdfast_protocol.errors import Problem
from holdfast_protocol.kinds.claims import VOLUME, Claimed, claims
from holdfast_protocol.wire import digest as digests
from holdfast_protocol.wire import strict, topics
from holdfast_protocol.wire.drift import annotation_flaw
from holdfast_protocol.wire.names import Digest
from holdfast_protocol.wire.program import FEATURE, MAX_PROGRAMS, Program, merged
from holdfast_protocol.wire.target import HOLDS, MAX_KEY, MAX_RESOURCES, Content, HubHold, Resource

REQUIRES: Final = ("resources/v1",)
MAX_CONTENT: Final = topics.TABLE["target"].limit * 3 // 4 - 16 * topics.KiB  # bytes: base64 and the envelope around it


class Contribution(msgspec.Struct, frozen=True):
    """What one instance puts on every site it is placed on."""

    owner: str  # Kind/name
    resources: tuple[Resource, ...]
    program: Program | None = None  # what the site evaluates for it


class Composed(msgspec.Struct, frozen=True):
    """A site's content, its canonical encoding and digest. With problems it must not be used."""

    content: Content
    body: bytes
    digest: Digest
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def compose(
    contributions: Sequence[Contribution],
    fields: Mapping[str, Any] | None = None,
    features: Sequence[str] = (),
    claims_of: Callable[[Resource], tuple[str, ...]] = lambda resource: claims(resource.body),
) -> Composed:
    """Return the content of a site that gets these instances, in order of their names.

    `fields` are what else its content says, `features` what a node must understand for it; `claims_of` may remember.
    """
    resources: list[Resource] = []
    claimed = Claimed()
    problems: list[Problem] = []
    for contribution in sorted(contributions, key=lambda each: each.owner):
        for resource in contribution.resources:
            resources.append(resource)
            if len(resource.key) > MAX_KEY:
                text = f"kind, namespace and name have {len(resource.key)} characters, the limit is {MAX_KEY}"
                problems.append(Problem(text, resource=contribution.owner))
            if wrong := annotation_flaw(resource.body):
                problems.append(Problem(f"{resource.key}: {wrong}", resource=contribution.owner))
            for claim in (resource.key, *claims_of(resource)):
                first = claimed.take(claim, f"{resource.key} of {contribution.owner}")
                shared = claim.startswith(VOLUME) and first.endswith(f" of {contribution.owner}")
                if first and not shared:
                    problems.append(_collision(claim, first, contribution.owner, resource))
                    break
    given = [each.program for each in contributions if each.program is not None]
    if len(given) > MAX_PROGRAMS:
        problems.append(Problem(f"{len(given)} instances to evaluate at one site, the limit is {MAX_PROGRAMS}"))
    programs = merged(given)
    requires = (*REQUIRES, *features, *((FEATURE,) if programs else ()))
    content = Content(resources=tuple(resources), requires=requires, programs=programs, **(fields or {}))
    body = strict.encode(content)
    if len(resources) > MAX_RESOURCES:
        problems.append(Problem(f"{len(resources)} resources at one site, the limit is {MAX_RESOURCES}"))
    if len(body) > MAX_CONTENT:
        problems.append(Problem(f"a target of {len(body)} bytes, the limit is {MAX_CONTENT}"))
    return Composed(content, body, digests.digest_bytes(body), tuple(problems))


def at_site(composed: Composed, holds: Sequence[HubHold], time_zone: str) -> Composed:
    """Return a composed content as one site gets it: with its holds, and its time zone where windows need one."""
    zone = time_zone if composed.content.windows else ""
    if not holds and not zone:
        return composed
    content = msgspec.structs.replace(
        composed.content,
        holds=tuple(holds),
        time_zone=zone,
        requires=(*composed.content.requires, *((HOLDS,) if holds else ())),
    )
    body = strict.encode(content)
    problems = composed.problems
    if len(body) > MAX_CONTENT:
        problems = (*problems, Problem(f"a target of {len(body)} bytes with its holds, the limit is {MAX_CONTENT}"))
    return msgspec.structs.replace(
        composed, content=content, body=body, digest=digests.digest_bytes(body), problems=problems
    )


def _collision(claim: str, holder: str, second: str, resource: Resource) -> Problem:
    key, _, first = holder.partition(" of ")
    both = f"{first} and {second}" if first != second else f"{key} and {resource.key} of {second}"
    hint = "give it another name in one of them" + (", or place them at different sites" if first != second else "")
    return Problem(
        f"both {both} claim {claim}",
        resource=second,
        path=f"resources[{resource.id}]" if resource.id else "",
        hint=hint,
    )
