"""Names: one alphabet, one length rule, one type each.

A name is a DNS label (RFC 1123): lower-case letters, digits and inner hyphens, 1 to 63 characters.
"""

import hashlib
import re
from typing import Any, Final, NewType

from holdfast_protocol.errors import WireError

FleetName = NewType("FleetName", str)
SiteName = NewType("SiteName", str)
NodeName = NewType("NodeName", str)
Digest = NewType("Digest", str)  # sha256, 64 lower-case hex digits
Incarnation = NewType("Incarnation", str)  # 32 lower-case hex digits, random
ResourceKey = NewType("ResourceKey", str)  # Kind/name or Kind/namespace/name
Partition = NewType("Partition", str)  # two hex digits, 00 to 3f

PARTITIONS: Final = 64
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_HEX: Final = re.compile(r"[0-9a-f]+")


def is_name(text: str) -> bool:
    """Return whether `text` may name a fleet, site or node."""
    return len(text) <= 63 and _NAME.fullmatch(text) is not None


def _name(text: str, what: str) -> str:
    if not is_name(text):
        raise WireError(
            f"{what} name {text[:80]!r} is not 1 to 63 lower-case letters, digits and inner hyphens",
            reason="BadName",
        )
    return text


def fleet_name(text: str) -> FleetName:
    return FleetName(_name(text, "fleet"))


def site_name(text: str) -> SiteName:
    return SiteName(_name(text, "site"))


def node_name(text: str) -> NodeName:
    return NodeName(_name(text, "node"))


def is_hex(text: str, digits: int) -> bool:
    return len(text) == digits and _HEX.fullmatch(text) is not None


def partition(site: SiteName) -> Partition:
    """Return the partition a site's messages travel in: a stable hash, so that one replica sees them all."""
    return Partition(f"{hashlib.sha256(site.encode()).digest()[0] % PARTITIONS:02x}")


def all_partitions() -> tuple[Partition, ...]:
    return tuple(Partition(f"{n:02x}") for n in range(PARTITIONS))


def resource_key(body: dict[str, Any]) -> ResourceKey:
    """Return the identity of a rendered resource at its site. The caller has checked kind and metadata.name."""
    metadata = body["metadata"]
    namespace = metadata.get("namespace")
    middle = f"{namespace}/" if namespace else ""
    return ResourceKey(f"{body['kind']}/{middle}{metadata['name']}")
