"""References of container images: whether an engine could pull them, and where they stand in a resource."""

import re
from collections.abc import Iterator
from typing import Any, Final

from holdfast_protocol.blueprint.documents import Path

_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_DNS: Final = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST: Final = rf"(?:{_DNS}(?:\.{_DNS})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_DIGEST: Final = r"[A-Za-z][A-Za-z0-9]*:[0-9a-fA-F]{32,}"
_REFERENCE: Final = re.compile(
    rf"(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*(?::\w[\w.-]{{0,127}})?(?:@{_DIGEST})?", re.ASCII
)
MAX_REFERENCE: Final = 512


def image_problem(reference: str) -> str:
    """Return why no engine could pull this reference, "" when one could."""
    if len(reference) > MAX_REFERENCE:
        return "is too long"
    if _REFERENCE.fullmatch(reference):
        return ""
    repository = reference.partition("@")[0].rpartition(":")[0] or reference
    if re.search(r"[A-Z]", repository):
        return "has upper-case letters in its name, which no registry takes"
    return "is no valid image reference"


def is_image(path: Path) -> bool:
    """Return whether a path in a body is a container's image."""
    return len(path) > 3 and path[-1] == "image" and path[-3] in ("containers", "initContainers")


def images_of(body: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield (path, reference) of every container's image in a Pod, or in what makes Pods."""
    spec = body.get("spec")
    starts: list[tuple[Path, Any]] = [(("spec",), spec)]
    path: Path = ("spec",)
    for key in ("jobTemplate", "spec", "template", "spec"):
        if isinstance(spec, dict) and key in spec:
            spec = spec[key]
            path = (*path, key)
            starts.append((path, spec))
    for at, pod in starts:
        for key in ("containers", "initContainers"):
            containers = pod.get(key) if isinstance(pod, dict) else None
            for index, each in enumerate(containers if isinstance(containers, list) else ()):
                image = each.get("image") if isinstance(each, dict) else None
                if isinstance(image, str) and image:
                    yield (*at, key, index, "image"), image
