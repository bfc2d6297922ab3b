"""Texts that a resource refers to: keys of Secrets and ConfigMaps of the same target."""

from holdfast_edge.providers.port import Scope
from holdfast_protocol.errors import PermanentError
from holdfast_protocol.kinds import file
from holdfast_protocol.kinds.inputs import Material
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource


def referred_text(material: Material, field: str, resource: Resource, scope: Scope) -> str:
    """Return the text; raises PermanentError `MissingReference`, or for what holds none."""
    kind, name = ("Secret", material.secret) if material.secret else ("ConfigMap", material.config_map)
    namespace = resource.body["metadata"].get("namespace")
    key = ResourceKey(f"{kind}/{namespace}/{name}" if namespace else f"{kind}/{name}")
    other = scope.resources.get(key)
    if other is None:
        hint = f"add {key} to the blueprint"
        raise PermanentError(f"{field}: {key} is not in the target", reason="MissingReference", hint=hint)
    source = file.Source(material.key, material.config_map, material.secret)
    try:
        return file.content_in(source, other.body, key).decode("utf-8")
    except UnicodeDecodeError:
        raise PermanentError(f"{field}: {key} holds no text there", reason="InvalidSpec") from None
