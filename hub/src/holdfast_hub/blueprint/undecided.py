"""What eject cannot write: resources only a site decides, named with the reason instead of half a manifest."""

from collections.abc import Sequence
from typing import Any, Final

from holdfast_hub.blueprint import yaml_writer
from holdfast_protocol.blueprint.definition import Definition
from holdfast_protocol.wire.program import Late

UNDECIDED: Final = "undecided-resources.yaml"  # hyphens: no resource's id can be called so
_HEAD: Final = (
    "# NOT ejected: these resources are decided at the site, from what it sees. Each entry is as the blueprint has it,\n"
    "# with its expressions; nothing in this folder stands for it. An externalRef is only read.\n"
)


def undecided(late: Sequence[Late], definition: Definition) -> str:
    """Return the file's text: each resource with its id, kind, why, and its entry as written in the blueprint."""
    entries = {each["id"]: each for each in definition.document.value["spec"]["resources"]}
    found: list[dict[str, Any]] = [
        {"id": each.id, "kind": each.kind, "why": each.why, "asWritten": entries[each.id]} for each in late
    ]
    return _HEAD + yaml_writer.write({"undecided": found})
