"""How a DeviceSource carries commands to its devices: templates of topics, checked, filled in and read again.

A template is levels of a topic; {device}, {name} and {id} each stand for one level, names as `wire.levels` writes them.
"""

from typing import Final, Literal

import msgspec

from holdfast_protocol.kinds.shapes import invalid
from holdfast_protocol.wire.levels import level_of, name_of

MAX_TEMPLATE: Final = 256  # characters
MAX_LEVELS: Final = 32
_WORDS: Final = ("{device}", "{name}", "{id}")


class Commands(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`topic` has {device}, and may have {name} and {id}. `answer` has {device}; without {id} the answer's own field `id`
    says which command it is of."""

    topic: str = "commands/{device}/{name}"
    answer: str = "answers/{device}/{id}"
    qos: Literal[0, 1] = 1


class Desired(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`topic` has {device}; what stands there is retained."""

    topic: str = "desired/{device}"
    qos: Literal[0, 1] = 1


class AmqpCommands(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Templates of topics, as routing keys with dots for slashes. Answers come to `queue`, made, durable, and bound."""

    queue: str
    exchange: str = "amq.topic"
    topic: str = "commands/{device}/{name}"
    answer: str = "answers/{device}/{id}"


def check_commands(given: Commands | AmqpCommands, path: str) -> None:
    """Raise WireError InvalidSpec for templates that name no device, or could take our commands for answers."""
    check_template(given.topic, f"{path}.topic", _WORDS)
    check_template(given.answer, f"{path}.answer", ("{device}", "{id}"))
    one, other = given.topic.split("/"), given.answer.split("/")
    if len(one) == len(other) and all(a == b or a in _WORDS or b in _WORDS for a, b in zip(one, other, strict=True)):
        raise invalid(f"{path}.answer: a command would be an answer to itself", "commands/… and answers/…")


def check_template(template: str, path: str, words: tuple[str, ...]) -> None:
    """Raise WireError InvalidSpec for what is no template of those words, {device} among them."""
    levels = template.split("/")
    said = [level for level in levels if level in words]
    plain = "".join(level for level in levels if level not in words)
    if not 0 < len(template) <= MAX_TEMPLATE or len(levels) > MAX_LEVELS or not plain.isprintable():
        raise invalid(f"{path}: must be 1 to {MAX_TEMPLATE} printable characters and at most {MAX_LEVELS} levels")
    if set(plain) & set("{}+#") or "" in levels or template.startswith("$"):
        raise invalid(f"{path}: its levels are text, or one of {' '.join(words)}", f"line-1/{words[0]}/{words[-1]}")
    if said.count("{device}") != 1 or len(set(said)) != len(said):
        raise invalid(f"{path}: must have {{device}}, and nothing twice", f"line-1/{words[0]}/{words[-1]}")


def filled(template: str, device: str, name: str = "", id_: str = "") -> str:
    """Return the topic of a device's command, answer or desired properties."""
    words = {"{device}": device, "{name}": name, "{id}": id_}
    return "/".join(level_of(words[level]) if level in words else level for level in template.split("/"))


def filter_of(template: str) -> str:
    """Return the subscription that takes what is published by a template."""
    return "/".join("+" if level in _WORDS else level for level in template.split("/"))


def read_topic(template: str, topic: str) -> tuple[str, str] | None:
    """Return device and id ("" where the template has none); None for a topic that is not of this template."""
    wanted, found = template.split("/"), topic.split("/")
    if len(wanted) != len(found):
        return None
    said = {"{device}": "", "{id}": ""}
    for level, given in zip(wanted, found, strict=True):
        if level in said:
            name = name_of(given)
            if name is None:
                return None
            said[level] = name
        elif level != given:
            return None
    return said["{device}"], said["{id}"]
