"""Image references: which registry, and where a mirror has the same. Pure."""

from collections.abc import Mapping

from holdfast_protocol.kinds.pods.pull_secrets import DOCKER_HUB, registry_host


def registry(reference: str) -> str:
    """Return the host[:port] an image comes from; docker.io when the reference names none."""
    first, slash, _ = reference.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        return registry_host(first)
    return DOCKER_HUB


def mirrored(reference: str, mirrors: Mapping[str, str]) -> str:
    """Return where the site's mirror has an image, the reference itself when its registry has none."""
    host = registry(reference)
    mirror = mirrors.get(host)
    if mirror is None:
        return reference
    first, _, rest = reference.partition("/")
    path = rest if rest and registry_host(first) == host else reference
    if host == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    return f"{mirror}/{path}"


def pinned(reference: str) -> bool:
    """Return whether a reference names one content for ever."""
    return "@sha256:" in reference


def name_and_tag(reference: str) -> tuple[str, str]:
    """Return an unpinned reference's name and tag, `latest` for none."""
    if ":" in reference.rpartition("/")[2]:
        name, _, tag = reference.rpartition(":")
        return name, tag
    return reference, "latest"
