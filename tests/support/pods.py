"""Pods as documents, and what is planned of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from holdfast_edge.providers.container.planner import Planned, Planner
from holdfast_edge.providers.port import Scope
from holdfast_protocol.errors import PermanentError
from holdfast_protocol.kinds.pods.admission import Rules
from holdfast_protocol.wire.names import SiteName
from holdfast_protocol.wire.target import resource

SITE = SiteName("lyon")


RULES = Rules(host_paths=("/srv/data",), state="/var/lib/holdfast")


IMAGE = "registry.example:5000/acme/vision:1.0"


def body(container: Mapping[str, Any] = {}, *, spec: Mapping[str, Any] = {}, **pod: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "vision"},
        "spec": {**spec, "template": {"spec": {"containers": [{"name": "app", "image": IMAGE, **container}], **pod}}},
    }


def planned(document: dict[str, Any], *others: dict[str, Any], rules: Rules = RULES) -> Planned:
    wanted = resource(document)
    scope = Scope({each.key: each for each in (wanted, *map(resource, others))})
    return Planner(SITE, Path("/var/lib/holdfast"), rules).planned(wanted, scope)


def refused(document: dict[str, Any], *others: dict[str, Any], rules: Rules = RULES) -> PermanentError:
    with pytest.raises(PermanentError) as caught:
        planned(document, *others, rules=rules)
    return caught.value


def config_map(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": data}
