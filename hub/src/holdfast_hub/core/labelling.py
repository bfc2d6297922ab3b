"""What a site is told of its own labels: only what its bridges name, {label.KEY}, as values of those bridges."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from holdfast_hub.core.target import Composed
from holdfast_protocol.bridging.rules import NONE
from holdfast_protocol.kinds.bridge import KIND
from holdfast_protocol.wire import digest as digests
from holdfast_protocol.wire import strict
from holdfast_protocol.wire.target import Resource, resource

_LABEL: Final = re.compile(r"\{label\.([A-Za-z0-9_./-]{1,57})\}")


def labelled(composed: Composed, labels: Mapping[str, str]) -> Composed:
    """Return a content with the labels of one site where its bridges name them; a label it has not is `_`."""
    resources = composed.content.resources
    told = tuple(_told(each, labels) if each.kind == KIND else each for each in resources)
    if all(now is before for now, before in zip(told, resources, strict=True)):
        return composed
    content = msgspec.structs.replace(composed.content, resources=told)
    body = strict.encode(content)
    return msgspec.structs.replace(composed, content=content, body=body, digest=digests.digest_bytes(body))


def _told(each: Resource, labels: Mapping[str, str]) -> Resource:
    names = set(_LABEL.findall(strict.encode(each.body).decode()))
    if not names:
        return each
    spec: dict[str, Any] = dict(each.body.get("spec") or {})
    values = {f"label.{name}": labels.get(name) or NONE for name in sorted(names)}
    spec["values"] = {**values, **(spec.get("values") or {})}
    made = resource({**each.body, "spec": spec})
    return msgspec.structs.replace(each, body=made.body, digest=made.digest)
