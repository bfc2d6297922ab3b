"""The fields of Kubernetes' Pod, Deployment, ConfigMap and Secret that a site understands. What is not here is refused by name.

Names, defaults and meanings are those of Kubernetes' core/v1 and apps/v1 API reference.
"""

from typing import Any, Final, Literal

import msgspec
from msgspec import field

from holdfast_protocol.kinds.pods.quantities import Quantity

Labels = dict[str, str]
RestartPolicy = Literal["Always", "OnFailure", "Never"]
PullPolicy = Literal["Always", "IfNotPresent", "Never"]
FILE_MODE: Final = 0o644


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, rename="camel"):
    """Defaults are left out when encoded, so a field added here later changes no digest of what exists."""


class KeyRef(Strict, frozen=True):
    name: str
    key: str
    optional: bool = False


class FieldRef(Strict, frozen=True):
    field_path: str
    api_version: Literal["v1"] = "v1"


class ValueFrom(Strict, frozen=True):
    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None
    field_ref: FieldRef | None = None


class Variable(Strict, frozen=True):
    name: str
    value: str = ""
    value_from: ValueFrom | None = None


class SourceRef(Strict, frozen=True):
    name: str
    optional: bool = False


class NameRef(Strict, frozen=True):
    name: str


class VariablesFrom(Strict, frozen=True):
    prefix: str = ""
    config_map_ref: SourceRef | None = None
    secret_ref: SourceRef | None = None


class Port(Strict, frozen=True):
    container_port: int
    host_port: int = 0  # 0: not published
    host_ip: str = field(default="", name="hostIP")
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    name: str = ""


class VolumeMount(Strict, frozen=True):
    name: str
    mount_path: str
    read_only: bool = False
    sub_path: str = ""


class Resources(Strict, frozen=True):
    limits: dict[str, Quantity] = {}
    requests: dict[str, Quantity] = {}


class ExecAction(Strict, frozen=True):
    command: list[str]


class HttpHeader(Strict, frozen=True):
    name: str
    value: str


class HttpGetAction(Strict, frozen=True):
    port: int | str
    path: str = "/"
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"
    host: str = ""
    http_headers: list[HttpHeader] = []


class TcpSocketAction(Strict, frozen=True):
    port: int | str
    host: str = ""


class Probe(Strict, frozen=True):
    """Times in seconds."""

    exec_: ExecAction | None = field(default=None, name="exec")
    http_get: HttpGetAction | None = None
    tcp_socket: TcpSocketAction | None = None
    initial_delay_seconds: int = 0
    period_seconds: int = 10
    timeout_seconds: int = 1
    success_threshold: int = 1
    failure_threshold: int = 3


class Capabilities(Strict, frozen=True):
    add: list[str] = []
    drop: list[str] = []


class SeccompProfile(Strict, frozen=True):
    type: Literal["RuntimeDefault", "Unconfined"]


class AppArmorProfile(Strict, frozen=True):
    type: Literal["RuntimeDefault", "Unconfined", "Localhost"]
    localhost_profile: str = ""  # the name of one loaded at the site


class SecurityContext(Strict, frozen=True):
    privileged: bool = False
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    read_only_root_filesystem: bool = False
    allow_privilege_escalation: bool = True
    capabilities: Capabilities = Capabilities()
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None


class PodSecurityContext(Strict, frozen=True):
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    supplemental_groups: list[int] = []
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None


class Container(Strict, frozen=True):
    name: str
    image: str
    command: list[str] = []
    args: list[str] = []
    working_dir: str = ""
    env: list[Variable] = []
    env_from: list[VariablesFrom] = []
    ports: list[Port] = []
    volume_mounts: list[VolumeMount] = []
    resources: Resources = Resources()
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    image_pull_policy: PullPolicy | None = None  # by the image's tag: Always for latest, else IfNotPresent
    security_context: SecurityContext = SecurityContext()
    stdin: bool = False
    tty: bool = False


class EmptyDir(Strict, frozen=True):
    medium: Literal["", "Memory"] = ""
    size_limit: Quantity | None = None


class HostPath(Strict, frozen=True):
    path: str
    type: Literal[
        "", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket", "CharDevice", "BlockDevice"
    ] = ""


class Item(Strict, frozen=True):
    key: str
    path: str
    mode: int | None = None


class ConfigMapVolume(Strict, frozen=True):
    name: str
    items: list[Item] | None = None  # None: every key
    default_mode: int = FILE_MODE
    optional: bool = False


class SecretVolume(Strict, frozen=True):
    secret_name: str
    items: list[Item] | None = None
    default_mode: int = FILE_MODE
    optional: bool = False


class ClaimVolume(Strict, frozen=True):
    claim_name: str
    read_only: bool = False


class Volume(Strict, frozen=True):
    name: str
    empty_dir: EmptyDir | None = None
    host_path: HostPath | None = None
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    persistent_volume_claim: ClaimVolume | None = None


class PodSpec(Strict, frozen=True):
    containers: list[Container]
    init_containers: list[Container] = []
    volumes: list[Volume] = []
    restart_policy: RestartPolicy = "Always"
    termination_grace_period_seconds: int = 30
    host_network: bool = False
    hostname: str = ""
    security_context: PodSecurityContext = PodSecurityContext()
    image_pull_secrets: list[NameRef] = []
    # What follows may only say what is true at a site anyway, so that standard manifests pass unchanged.
    dns_policy: Literal["Default", "ClusterFirst"] = "Default"  # both: the engine's own names, then the machine's
    automount_service_account_token: bool = False
    enable_service_links: bool = False


class TemplateMetadata(Strict, frozen=True):
    name: str = ""
    labels: Labels = {}
    annotations: Labels = {}


class PodTemplate(Strict, frozen=True):
    spec: PodSpec
    metadata: TemplateMetadata = TemplateMetadata()


class RollingUpdate(Strict, frozen=True):
    max_unavailable: int | str = "25%"
    max_surge: int | str = "25%"  # an upper bound, and no replica is ever made beyond the number asked for


class Strategy(Strict, frozen=True):
    type: Literal["RollingUpdate", "Recreate"] = "RollingUpdate"
    rolling_update: RollingUpdate | None = None


class Selector(Strict, frozen=True):
    match_labels: Labels = {}


class DeploymentSpec(Strict, frozen=True):
    template: PodTemplate
    replicas: int = 1
    selector: Selector = Selector()
    strategy: Strategy = Strategy()
    min_ready_seconds: int = 0
    # Kept for the day the manifest is ejected: history is the hub's, giving up is the agent's lifecycle.
    revision_history_limit: int = 10
    progress_deadline_seconds: int = 600


class Metadata(Strict, frozen=True):
    name: str
    namespace: str = ""
    labels: Labels = {}
    annotations: Labels = {}


class WorkloadDocument(Strict, frozen=True):
    api_version: str
    kind: str
    metadata: Metadata
    spec: dict[str, Any] = {}


class ConfigMapDocument(Strict, frozen=True):
    api_version: str
    kind: str
    metadata: Metadata
    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}  # base64
    immutable: bool = False


class SecretDocument(Strict, frozen=True):
    api_version: str
    kind: str
    metadata: Metadata
    data: dict[str, str] = {}  # base64
    string_data: dict[str, str] = {}  # wins over `data`
    type: str = "Opaque"
    immutable: bool = False
