"""What a File resource wants, its content found in the target. Pure."""

import msgspec

from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.port import Scope
from holdfast_protocol.errors import PermanentError, WireError
from holdfast_protocol.kinds import file
from holdfast_protocol.wire.digest import digest_bytes
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource


class Wanted(msgspec.Struct, frozen=True):
    path: str
    content: bytes
    digest: str  # of the content
    mode: int | None  # None: not ours to say
    owner: str | int  # "": not ours to say
    group: str | int


def wanted(resource: Resource, scope: Scope) -> Wanted:
    """Return what `resource` wants. Raises PermanentError: InvalidSpec, BadPath, MissingReference, TooLarge, UnsafeMode."""
    try:
        want = file.wanted(resource.spec)
        content = want.content if want.source is None else _found(want.source, resource, scope)
    except WireError as error:
        raise failures.refusal(error) from None
    assert content is not None  # without a source it is said
    return Wanted(want.path, content, digest_bytes(content), want.mode, want.owner, want.group)


def reference(resource: Resource) -> ResourceKey | None:
    """Return the key of the resource whose content is used, None when there is none (or the spec is not valid)."""
    source = resource.spec.get("contentFrom")
    if not isinstance(source, dict):
        return None
    kind = "Secret" if source.get("secret") else "ConfigMap"
    return _key(kind, str(source.get("secret") or source.get("configMap") or ""), resource)


def _key(kind: str, name: str, resource: Resource) -> ResourceKey:
    namespace = resource.body["metadata"].get("namespace")
    return ResourceKey(f"{kind}/{namespace}/{name}" if namespace else f"{kind}/{name}")


def _found(source: file.Source, resource: Resource, scope: Scope) -> bytes:
    key = _key("Secret", source.secret, resource) if source.secret else _key("ConfigMap", source.config_map, resource)
    other = scope.resources.get(key)
    if other is None:
        raise PermanentError(
            f"spec.contentFrom: {key} is not in the target",
            reason="MissingReference",
            hint=f"add {key} to the blueprint",
        )
    return file.content_in(source, other.body, key)
