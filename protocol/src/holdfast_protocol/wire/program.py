"""Program: what a site needs to evaluate an instance by itself, with the pure code the hub renders by.

Only instances that leave something to their sites have one: `readyWhen`, a status, or resources that read what only a
site knows (late ones). Everything else of an instance is in its resources already.
"""

from typing import Any, Final

import msgspec

from holdfast_protocol.errors import WireError
from holdfast_protocol.wire import strict

FEATURE: Final = "programs/v1"
MAX_PROGRAMS: Final = 500  # instances with one, at a site
MAX_BYTES: Final = 1024 * 1024  # of one definition as JSON, and of one instance's values


class Late(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A resource of the blueprint that is decided at the site. `external`: only read there, never made."""

    id: str
    kind: str
    why: str  # what of it only a site knows
    external: bool = False


class ProgramInstance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One instance. `schema` is what the name means in expressions: apiVersion, kind, metadata, spec."""

    owner: str  # Kind/name
    schema: dict[str, Any]
    late: tuple[Late, ...] = ()  # in the order to make them


class Program(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A blueprint's definition at one revision, for all its instances at a site that need one."""

    blueprint: str
    revision: int
    definition: dict[str, Any]  # the document's value: apiVersion, kind, metadata.name, spec
    instances: tuple[ProgramInstance, ...]


def check_programs(programs: tuple[Program, ...]) -> None:
    """Raise WireError for programs that are too many, too large, or claim an instance twice."""
    if sum(len(each.instances) for each in programs) > MAX_PROGRAMS:
        raise WireError(f"more than {MAX_PROGRAMS} instances to evaluate", reason="TooLarge")
    seen: set[str] = set()
    for program in programs:
        if not isinstance(program.definition.get("spec"), dict):
            raise WireError(f"{program.blueprint[:80]}: a definition has a spec", reason="BadProgram")
        for value in (program.definition, *(each.schema for each in program.instances)):
            if len(strict.encode(value)) > MAX_BYTES:
                raise WireError(f"{program.blueprint[:80]}: larger than {MAX_BYTES} bytes", reason="TooLarge")
        for instance in program.instances:
            if instance.owner in seen:
                raise WireError(f"{instance.owner[:80]} is evaluated twice", reason="BadProgram")
            seen.add(instance.owner)


def merged(programs: list[Program]) -> tuple[Program, ...]:
    """Return programs with one entry for each definition, in order of blueprint and revision."""
    found: dict[tuple[str, int, bytes], Program] = {}
    for each in programs:
        key = (each.blueprint, each.revision, strict.encode(each.definition))
        held = found.get(key)
        instances = (*held.instances, *each.instances) if held else each.instances
        ordered = tuple(sorted(instances, key=lambda instance: instance.owner))
        found[key] = msgspec.structs.replace(each, instances=ordered)
    return tuple(found[key] for key in sorted(found))
