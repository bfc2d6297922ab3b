"""Names a blueprint may use, and the API versions that mean the same.

Ours is `holdfast.io/v1alpha1`. The original documents' `start-alpha.io` versions are aliases of it, as written there;
a resource keeps the version its author wrote, providers go by kind.
"""

import re
from typing import Final

API_VERSION: Final = "holdfast.io/v1alpha1"
ALIASES: Final = frozenset({"start-alpha.io/v1alpha1", "compute.start-alpha.io/v1alpha1"})
KRO_KIND: Final = "ResourceGraphDefinition"  # a blueprint as kro writes it
KRO_VERSION: Final = "kro.run/v1alpha1"
KRO_GROUP: Final = "kro.run"
OBJECTS: Final = (  # ours, placed without a blueprint
    "Policy",
    "Overlay",
    "MaintenanceWindow",
    "DriftPolicy",
    "OverrideDecision",
    "RebootPolicy",
    "RebootRequest",
    "Retention",
    "Sink",
)
GROUPS: Final = ("holdfast.io", "start-alpha.io")  # an instance may put one of them before its schema's version

_KIND: Final = re.compile(r"[A-Z][a-zA-Z0-9]{0,62}")
_VERSION: Final = re.compile(r"v[0-9]+((alpha|beta)[0-9]+)?")
_ID: Final = re.compile(r"[a-z][a-zA-Z0-9]*")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")

# Words kro keeps for itself, and words CEL cannot have as an identifier.
RESERVED: Final = frozenset(
    [
        "apiVersion",
        "context",
        "dependency",
        "dependencies",
        "each",
        "externalRef",
        "externalReference",
        "externalRefs",
        "externalReferences",
        "graph",
        "graphengine",
        "instance",
        "item",
        "items",
        "kind",
        "kro",
        "metadata",
        "namespace",
        "object",
        "resource",
        "resourcegraphdefinition",
        "resourceGraphDefinition",
        "resources",
        "root",
        "runtime",
        "schema",
        "self",
        "serviceAccountName",
        "spec",
        "status",
        "this",
        "variables",
        "vars",
        "version",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    ]
)

# Kinds of Kubernetes that live in no namespace.
CLUSTER_KINDS: Final = frozenset(
    [
        "APIService",
        "ClusterRole",
        "ClusterRoleBinding",
        "CSIDriver",
        "CSINode",
        "CustomResourceDefinition",
        "IngressClass",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "RuntimeClass",
        "StorageClass",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
        "VolumeAttachment",
    ]
)


def is_blueprint(kind: str) -> bool:
    """Return whether documents of a kind are blueprints."""
    return kind in ("Blueprint", KRO_KIND)


def is_ours(api_version: str) -> bool:
    """Return whether an API version is ours or an alias of it."""
    return api_version == API_VERSION or api_version in ALIASES


def is_kind(text: str) -> bool:
    return _KIND.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Return whether `text` is a version without a group: v1, v1alpha1, v2beta3."""
    return _VERSION.fullmatch(text) is not None


def is_id(text: str) -> bool:
    """Return whether `text` may name a resource inside its blueprint: lower camel case, at most 63."""
    return len(text) <= 63 and _ID.fullmatch(text) is not None


def has_control(text: str) -> bool:
    """Return whether `text` holds a control character other than newline and tab, or a line separator."""
    return _CONTROL.search(text) is not None
