"""A Kubernetes resource's spec: manifests for an API server that the site has, handed over as they are."""

import re
from typing import Any, Final

import msgspec

from holdfast_protocol.kinds.shapes import invalid, shaped
from holdfast_protocol.wire import strict
from holdfast_protocol.wire.digest import digest
from holdfast_protocol.wire.labels import is_dns_label, is_dns_subdomain

MAX_MANIFESTS: Final = 100
MAX_BYTES: Final = 1024 * 1024  # of all of them
_VERSION: Final = re.compile(r"v[0-9][a-z0-9]{0,20}")
_KIND: Final = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:-]{0,251}[A-Za-z0-9])?")  # RBAC's have colons
_SERVERS: Final = ("managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "generateName")


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As written."""

    manifests: tuple[dict[str, Any], ...]
    namespace: str = ""  # for those that name none and need one; "": default
    force: bool = False  # take fields that another manager has, from the first time on


class Manifest(msgspec.Struct, frozen=True):
    body: dict[str, Any]
    api_version: str
    kind: str
    name: str
    namespace: str  # "": none is named
    digest: str

    @property
    def title(self) -> str:
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)


class Wanted(msgspec.Struct, frozen=True):
    manifests: tuple[Manifest, ...]
    force: bool


def wanted(spec: dict[str, Any]) -> Wanted:
    """Return what the spec wants. Raises WireError InvalidSpec."""
    given = shaped(spec, Spec)
    if not 0 < len(given.manifests) <= MAX_MANIFESTS:
        raise invalid(f"spec.manifests: must hold 1 to {MAX_MANIFESTS}")
    if len(strict.encode(given.manifests)) > MAX_BYTES:
        raise invalid(f"spec.manifests: more than {MAX_BYTES} bytes together")
    if given.namespace and not is_dns_label(given.namespace):
        raise invalid(f"spec.namespace: {given.namespace[:80]!r} is no namespace")
    found = tuple(_manifest(body, f"spec.manifests[{n}]", given.namespace) for n, body in enumerate(given.manifests))
    places = {(each.api_version.rpartition("/")[0], each.title) for each in found}
    if len(places) != len(found):
        raise invalid("spec.manifests: one object is there twice")
    return Wanted(found, given.force)


def _manifest(body: dict[str, Any], field: str, namespace: str) -> Manifest:
    api_version, kind, metadata = body.get("apiVersion"), body.get("kind"), body.get("metadata")
    if not isinstance(api_version, str) or not _is_version(api_version):
        raise invalid(f"{field}.apiVersion: is no version of an API", "as in apps/v1")
    if not isinstance(kind, str) or not _KIND.fullmatch(kind) or kind.endswith("List"):
        raise invalid(f"{field}.kind: is no kind of one object")
    if not isinstance(metadata, dict):
        raise invalid(f"{field}.metadata: must be a map")
    name, own = metadata.get("name"), metadata.get("namespace", "")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise invalid(f"{field}.metadata.name: is no name", "lower-case letters, digits, - and .")
    if not isinstance(own, str) or (own and not is_dns_subdomain(own)):
        raise invalid(f"{field}.metadata.namespace: is no namespace")
    if said := next((key for key in _SERVERS if key in metadata), ""):
        raise invalid(f"{field}.metadata.{said}: is the server's to say", "leave it out")
    if "status" in body:
        raise invalid(f"{field}.status: is the server's to say", "leave it out")
    return Manifest(body, api_version, kind, name, own or namespace, digest(body))


def _is_version(text: str) -> bool:
    """Whether this is v1 or GROUP/v1: it becomes a part of a path at the server."""
    group, slash, version = text.rpartition("/")
    return _VERSION.fullmatch(version) is not None and (not slash or is_dns_subdomain(group))
