"""Compose a site's target from its instances' resources, and say who else claims what only one may have.

A claim is anything on a site that has one owner: a resource's key, a file's path, a unit's name. Two claimants are
refused before anything is written, because at the site the last one applied would win, for ever in turn.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from holdfast_protocol.errors import Problem
from holdfast_protocol.wire import digest as digests
from holdfast_protocol.wire import strict, topics
from holdfast_protocol.wire.names import Digest
from holdfast_protocol.wire.target import MAX_KEY, MAX_RESOURCES, Content, Resource

REQUIRES: Final = ("resources/v1",)
MAX_CONTENT: Final = topics.TABLE["target"].limit * 3 // 4 - 16 * topics.KiB  # bytes: base64 and the envelope around it


class Contribution(msgspec.Struct, frozen=True):
    """What one instance puts on every site it is placed on."""

    owner: str  # Kind/name
    resources: tuple[Resource, ...]


class Composed(msgspec.Struct, frozen=True):
    """A site's content, its canonical encoding and digest. With problems it must not be used."""

    content: Content
    body: bytes
    digest: Digest
    problems: tuple[Problem, ...] = ()


def claims(body: dict[str, Any]) -> tuple[str, ...]:
    """Return what a resource must have for itself at a site, besides its key."""
    spec = body.get("spec") or {}
    match body.get("kind"):
        case "File" if isinstance(path := spec.get("path"), str):
            return (f"file {_normal(path)}",)
        case "SystemdService":
            name = str(body["metadata"]["name"])
            return (f"unit {name if name.endswith('.service') else f'{name}.service'}",)
        case _:
            return ()


def _normal(path: str) -> str:
    """Return a path without empty and `.` steps, so that two spellings of one file are one claim."""
    return "/" + "/".join(step for step in path.split("/") if step not in ("", "."))


def compose(contributions: Sequence[Contribution]) -> Composed:
    """Return the content of a site that gets these instances, in order of their names."""
    resources: list[Resource] = []
    owners: dict[str, str] = {}
    problems: list[Problem] = []
    for contribution in sorted(contributions, key=lambda each: each.owner):
        for resource in contribution.resources:
            resources.append(resource)
            if len(resource.key) > MAX_KEY:
                text = f"kind, namespace and name have {len(resource.key)} characters, the limit is {MAX_KEY}"
                problems.append(Problem(text, resource=contribution.owner))
            for claim in (resource.key, *claims(resource.body)):
                first = owners.setdefault(claim, contribution.owner)
                if first != contribution.owner:
                    problems.append(_collision(claim, first, contribution.owner, resource))
                    break
    content = Content(resources=tuple(resources), requires=REQUIRES)
    body = strict.encode(content)
    if len(resources) > MAX_RESOURCES:
        problems.append(Problem(f"{len(resources)} resources at one site, the limit is {MAX_RESOURCES}"))
    if len(body) > MAX_CONTENT:
        problems.append(Problem(f"a target of {len(body)} bytes, the limit is {MAX_CONTENT}"))
    return Composed(content, body, digests.digest_bytes(body), tuple(problems))


def _collision(claim: str, first: str, second: str, resource: Resource) -> Problem:
    return Problem(
        f"both {first} and {second} claim {claim}",
        resource=second,
        path=f"resources[{resource.id}]" if resource.id else "",
        hint="give it another name in one of them, or place them at different sites",
    )
