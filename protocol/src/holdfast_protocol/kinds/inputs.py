"""The types of a DeviceSource: how each one's connection is written, and what is wrong with it."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.calendar.durations import seconds
from holdfast_protocol.kinds.carriers import AmqpCommands, Commands, Desired, check_commands, check_template
from holdfast_protocol.kinds.shapes import invalid
from holdfast_protocol.mapping.patterns import is_filter

MAX_TOPICS: Final = 100
MAX_PREFETCH: Final = 2_000  # fewer than messages are remembered, so that one that comes again is known
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_LEVEL: Final = re.compile(r"[^+#/\x00-\x1f\x7f]{1,256}")
_SHORT: Final = re.compile(r"[^\x00-\x1f\x7f]{1,255}")
_CLIENT: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


class Material(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A text that stands elsewhere: a key of a Secret or ConfigMap of the same target, or a file of the node."""

    key: str = ""
    secret: str = ""
    config_map: str = ""
    path: str = ""


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """PEM texts. Towards a broker: whom to believe (`ca`; without it, the machine's own), and who we are."""

    ca: Material | None = None
    cert: Material | None = None
    key: Material | None = None
    server_name: str = ""  # as in the broker's certificate; "": host


class Mqtt(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    host: str
    topics: tuple[str, ...] = ("devices/#",)
    port: int = 0  # 0: 1883, with tls 8883
    version: Literal["3.1.1", "5"] = "5"
    client_id: str = ""  # "": holdfast-SITE-NAME; of two with one the broker keeps the newer
    keep_alive: str = "30s"
    username: str = ""
    password: Material | None = None
    tls: Tls | None = None
    commands: Commands | None = None
    desired: Desired | None = None


class Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Devices push to POST /v1/readings. One of `token` and `username` with `password` where others than the node's own
    processes reach it."""

    port: int
    address: str = "127.0.0.1"
    token: Material | None = None
    username: str = ""
    password: Material | None = None
    tls: Tls | None = None  # cert and key of this server; ca: clients need a certificate of it


class Sparkplug(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Sparkplug B devices, as their host application. Their messages say device, metric, unit, time and quality themselves."""

    host: str
    host_id: str = ""  # of the host application, as edge nodes name their primary one; "": holdfast-SITE
    groups: tuple[str, ...] = ()  # none: all of them
    port: int = 0  # 0: 1883, with tls 8883
    version: Literal["3.1.1", "5"] = "5"
    client_id: str = ""  # "": holdfast-SITE-NAME
    keep_alive: str = "30s"
    username: str = ""
    password: Material | None = None
    tls: Tls | None = None
    commands: bool = False  # NCMD and DCMD: a command's name is a metric's, its data the value


class Amqp(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A queue of an AMQP 0-9-1 broker (RabbitMQ), or with version 1.0 an address of any AMQP 1.0 broker. The topic of a
    message is its routing key, its dots as slashes, where the broker says one; else its subject."""

    host: str
    queue: str = ""
    version: Literal["0-9-1", "1.0"] = "0-9-1"
    address: str = ""  # of version 1.0, instead of queue, exchange and keys
    port: int = 0  # 0: 5672, with tls 5671
    virtual_host: str = "/"
    exchange: str = ""  # a queue that is not there is made, durable, and bound to it; "": it must be there
    keys: tuple[str, ...] = ()  # binding keys
    prefetch: int = 500  # messages sent before the first is acknowledged
    keep_alive: str = "30s"
    username: str = ""  # "": guest, which brokers take from their own machine only; in 1.0 nobody, or tls.cert
    password: Material | None = None
    tls: Tls | None = None
    commands: AmqpCommands | None = None


class Type(msgspec.Struct, frozen=True):
    """`judge` (section, path, name of the resource) raises WireError; `materials` are by their place in the section."""

    judge: Callable[[Any, str, str], None]
    materials: Callable[[Any], dict[str, Material]]
    is_mapped: bool = True  # whether format and rules say what messages become


def _mqtt(given: Mqtt, path: str, _: str) -> None:
    check_host(given.host, f"{path}.host")
    if not 0 <= given.port < 65536:
        raise invalid(f"{path}.port: must be 1 to 65535")
    if not 0 < len(given.topics) <= MAX_TOPICS or not all(map(is_filter, given.topics)):
        raise invalid(f"{path}.topics: must hold 1 to {MAX_TOPICS} subscription filters")
    if given.client_id and not _CLIENT.fullmatch(given.client_id):
        raise invalid(f"{path}.clientId: 1 to 128 of letters, digits and _ . : -")
    if not 5 <= seconds(given.keep_alive, f"{path}.keepAlive") <= 3600:
        raise invalid(f"{path}.keepAlive: must be 5s to 1h")
    check_login(given.username, given.password, path)
    if given.tls is not None:
        check_tls(given.tls, f"{path}.tls")
    if given.commands is not None:
        check_commands(given.commands, f"{path}.commands")
    if given.desired is not None:
        check_template(given.desired.topic, f"{path}.desired.topic", ("{device}",))


def _http(given: Http, path: str, _: str) -> None:
    if not 0 < given.port < 65536:
        raise invalid(f"{path}.port: must be 1 to 65535")
    try:
        address = ipaddress.ip_address(given.address)
    except ValueError:
        raise invalid(f"{path}.address: {given.address[:80]!r} is no IP address") from None
    check_login(given.username, given.password, path)
    if given.token is not None:
        check_material(given.token, f"{path}.token")
        if given.username:
            raise invalid(f"{path}.token: or username, not both")
    if not address.is_loopback and given.token is None and not given.username:
        raise invalid(f"{path}.token: is needed, or username: others than this node reach {address}")
    if given.tls is not None:
        check_tls(given.tls, f"{path}.tls")
        if given.tls.cert is None or given.tls.server_name:
            raise invalid(f"{path}.tls.cert: is needed to serve TLS, with key; serverName is not")


def _sparkplug(given: Sparkplug, path: str, _: str) -> None:
    check_broker(given.host, given.port, path)
    for name in filter(None, (given.client_id, given.host_id)):
        if not _CLIENT.fullmatch(name):
            raise invalid(
                f"{path}.{'clientId' if name is given.client_id else 'hostId'}: 1 to 128 of letters, digits and _ . : -"
            )
    if len(given.groups) > MAX_TOPICS or not all(map(_LEVEL.fullmatch, given.groups)):
        raise invalid(f"{path}.groups: at most {MAX_TOPICS} names without + # / and controls")
    check_session(given.keep_alive, given.username, given.password, given.tls, path)


def _amqp(given: Amqp, path: str, _: str) -> None:
    check_broker(given.host, given.port, path)
    names = {"virtualHost": given.virtual_host}
    if given.version == "1.0":
        names["address"] = given.address
        for field in ("queue", "exchange", "keys", "commands"):
            if getattr(given, field):
                raise invalid(f"{path}.{field}: is of AMQP 0-9-1; in 1.0 there is address", "address: /amq/queue/NAME")
    else:
        names |= {"queue": given.queue} | ({"exchange": given.exchange} if given.exchange else {})
        if given.address:
            raise invalid(f"{path}.address: is of AMQP 1.0", 'version: "1.0"')
        if given.commands is not None:
            names |= {"commands.queue": given.commands.queue, "commands.exchange": given.commands.exchange}
            check_commands(given.commands, f"{path}.commands")
        if given.tls is not None and given.tls.server_name:
            raise invalid(f"{path}.tls.serverName: is the host in AMQP 0-9-1")
    for field, text in names.items():
        if not _SHORT.fullmatch(text) or len(text.encode()) > 255:
            raise invalid(f"{path}.{field}: must be 1 to 255 bytes of printable text")
    if bool(given.exchange) != bool(given.keys):
        raise invalid(f"{path}.keys: and exchange go together", 'keys: ["devices.#"]')
    if len(given.keys) > MAX_TOPICS or not all(
        _SHORT.fullmatch(key) and len(key.encode()) <= 255 for key in given.keys
    ):
        raise invalid(f"{path}.keys: at most {MAX_TOPICS} of 1 to 255 bytes of printable text")
    if not 1 <= given.prefetch <= MAX_PREFETCH:
        raise invalid(f"{path}.prefetch: must be 1 to {MAX_PREFETCH}")
    check_session(given.keep_alive, given.username, given.password, given.tls, path)


def check_broker(host: str, port: int, path: str) -> None:
    """Raise WireError InvalidSpec for a place no broker can be at."""
    check_host(host, f"{path}.host")
    if not 0 <= port < 65536:
        raise invalid(f"{path}.port: must be 1 to 65535")


def check_session(keep_alive: str, username: str, password: Material | None, tls: Tls | None, path: str) -> None:
    """Raise WireError InvalidSpec for what no connection to a broker can be made with."""
    if not 5 <= seconds(keep_alive, f"{path}.keepAlive") <= 3600:
        raise invalid(f"{path}.keepAlive: must be 5s to 1h")
    check_login(username, password, path)
    if tls is not None:
        check_tls(tls, f"{path}.tls")


def check_host(host: str, path: str) -> None:
    """Raise WireError InvalidSpec for what is neither a name nor an address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host):
            raise invalid(f"{path}: {host[:80]!r} is no host") from None


def check_login(username: str, password: Material | None, path: str) -> None:
    """Raise WireError InvalidSpec for half of a login, or one that is no text of a connection."""
    if len(username) > 256 or not username.isprintable() or ":" in username:
        raise invalid(f"{path}.username: at most 256 printable characters, no colon")
    if password is not None:
        check_material(password, f"{path}.password")
    if bool(username) != (password is not None):
        raise invalid(f"{path}.password: and username go together")


def check_tls(tls: Tls, path: str) -> None:
    """Raise WireError InvalidSpec for a key without a certificate and what is no reference."""
    for field in ("ca", "cert", "key"):
        material = getattr(tls, field)
        if material is not None:
            check_material(material, f"{path}.{field}", file=True)
    if (tls.cert is None) != (tls.key is None):
        raise invalid(f"{path}.key: and cert go together")
    if tls.server_name:
        check_host(tls.server_name, f"{path}.serverName")


def check_material(material: Material, path: str, *, file: bool = False) -> None:
    """Raise WireError InvalidSpec. Files are for TLS only: a password sent to a stranger could be any file's content."""
    sources = [each for each in (material.secret, material.config_map, material.path) if each]
    if len(sources) != 1 or bool(material.path) == bool(material.key):
        raise invalid(f"{path}: is a key of a secret or configMap{', or a path' if file else ''}")
    if material.config_map and not file:
        raise invalid(f"{path}: belongs in a secret")
    if material.path and not (file and material.path.startswith("/") and "\0" not in material.path):
        raise invalid(f"{path}: {'must be an absolute path' if file else 'is a key of a secret'}")


def tls_materials(tls: Tls | None) -> dict[str, Material]:
    """Return the references of a tls section by their place."""
    found = {f"tls.{field}": getattr(tls, field, None) for field in ("ca", "cert", "key")}
    return {place: each for place, each in found.items() if each is not None}


def login_materials(section: Any) -> dict[str, Material]:
    """Return the references of a section with password, token and tls, as far as it has them."""
    found = {field: getattr(section, field, None) for field in ("password", "token")}
    return {place: each for place, each in found.items() if each is not None} | tls_materials(section.tls)


TYPES: Final[Mapping[str, Type]] = {
    "mqtt": Type(_mqtt, login_materials),
    "http": Type(_http, login_materials),
    "sparkplug": Type(_sparkplug, login_materials, is_mapped=False),
    "amqp": Type(_amqp, login_materials),
}
