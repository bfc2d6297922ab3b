"""Settings: edge.toml, read once, with every trouble said by file and key."""

import base64
import binascii
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from holdfast_edge.core import metering, profiles
from holdfast_edge.core.deferral import NotNow
from holdfast_edge.core.metering import Metered
from holdfast_edge.core.profiles import Budgets
from holdfast_edge.core.trial import Limits as DeadMan
from holdfast_edge.page import address
from holdfast_edge.providers.kubernetes.access import Access, problem
from holdfast_edge.sensors.facts import memory_mb
from holdfast_edge.store.outbox_state import Quotas
from holdfast_edge.store.targets import Trust
from holdfast_protocol.errors import InputError, Problem, WireError
from holdfast_protocol.kinds.misfits import misfits
from holdfast_protocol.runtime import zones
from holdfast_protocol.wire.envelope import Signer, key_id
from holdfast_protocol.wire.flaws import Flaw
from holdfast_protocol.wire.names import fleet_name, node_name, site_name

DEFAULT: Final = Path("/etc/holdfast/edge.toml")
LOOPBACK: Final = "127.0.0.1"
DOOR: Final = "door"  # the socket of the broker the agent runs, in that one's folder
_LINE: Final = re.compile(r" \(at line (\d+), column (\d+)\)$")
_REGISTRY: Final = re.compile(r"[A-Za-z0-9][-.A-Za-z0-9]{0,252}(:[0-9]{1,5})?")


class Hub(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The broker to reach the hub by."""

    host: str
    port: int = 1883


class TrustKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    public: str  # base64 of the raw 32 bytes
    epoch: int = 1


class TrustSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: tuple[TrustKey, ...]
    threshold: int = 1  # signatures by different keys that a target needs


class Devices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The site's own broker, where devices publish."""

    host: str = LOOPBACK
    port: int = 1883
    topics: tuple[str, ...] = ("devices/#",)


class Broker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A broker that the agent runs for the devices of the site."""

    host: str = LOOPBACK  # the address it listens at
    port: int = 1883
    certificate: str = ""  # PEM, with `key`: devices speak TLS
    key: str = ""
    client_ca: str = ""  # PEM: devices need a certificate of one of these, and are who it names
    passwords: str = ""  # as mosquitto_passwd writes them: devices need one
    access: str = ""  # Mosquitto's acl_file: who may say and hear what


class Near(msgspec.Struct, frozen=True):
    """How the agent reaches the site's broker: by a socket, where `unix` is not ""."""

    host: str
    port: int
    unix: str = ""


class Providers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the agent may change here. Empty means not at all."""

    file_roots: tuple[str, ...] = ()
    engine: str = ""  # unix:///run/docker.sock
    host_paths: tuple[str, ...] = ()  # folders of the machine that containers may mount
    privileged: bool = False  # whether containers may be
    # Where the site asks for images instead: {"docker.io" = "bastion.lan:5000"}; whom to trust there the engine knows.
    registry_mirrors: dict[str, str] = msgspec.field(default_factory=dict)
    systemd: Literal["", "system", "user"] = ""
    kernel: bool = False  # whether its settings, its modules and the firewall may be changed
    network: bool = False  # whether its interfaces may be, by systemd-networkd
    machine: bool = False  # whether its name and its clock may be
    packages: bool = False  # whether they may be installed and removed
    accounts: bool = False  # whether users, groups and their SSH keys may be changed
    security: bool = False  # whether sshd and mandatory access control may be changed, not only looked at
    kubernetes: Access | None = None  # the site's own API server; None: there is none
    reboots: bool = False  # whether the machine may be restarted, by policy or on request
    sources: bool = False  # whether more sources of device data may be added (DeviceSource)
    bridges: bool = False  # whether messages may be handed to other brokers, and taken from them (Bridge)


class Timing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All in seconds."""

    look_every_s: float = 30.0
    soak_s: float = 60.0  # that a new target must be as wanted and ready before it is last-good
    observe_within_s: float = 20.0  # for one provider
    change_within_s: float = 300.0  # for one resource


class LocalPage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The page for whoever stands at the site."""

    listen: str = ""  # 127.0.0.1:8470, [::1]:8470 or unix:/run/holdfast/page.sock; "": there is none
    logs: bool = False  # whether it shows what workloads wrote: all who may read it read that


class Transaction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a site gets to a new target, and back: deadlines in seconds."""

    prepare_deadline_s: float = 3600.0  # to fetch and try everything, while the machine stays as it is
    progress_deadline_s: float = 600.0  # for one resource that names none itself, to be as wanted and ready
    rollback: bool = True  # whether a target that fails is gone back from


class Reboots(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Restarts of the machine."""

    notice: str = "/run/holdfast/reboot"  # a file that says when and why before it goes; "": none


class Systemd(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How systemd is reached; pystemd is an extra, holdfast-edge[pystemd]."""

    door: Literal["dbus-fast", "pystemd"] = "dbus-fast"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    fleet: str
    site: str
    state_dir: str
    key_file: str  # holds base64 of the node's 32-byte Ed25519 seed
    hub: Hub
    trust: TrustSettings
    node: str = "node-1"
    profile: Literal["", "micro", "mini", "standard"] = ""  # what it may take, unless said here; "": by its memory
    devices: Devices | None = None  # None: no devices are read
    broker: Broker | None = None  # None: the agent runs none
    providers: Providers = Providers()
    timing: Timing = Timing()
    transaction: Transaction = Transaction()
    quotas: Quotas = Quotas()
    metered: Metered = Metered()
    budgets: Budgets = profiles.TABLE["standard"].budgets
    page: LocalPage = LocalPage()
    not_now: NotNow = NotNow()
    dead_man: DeadMan = DeadMan()
    systemd: Systemd = Systemd()
    reboots: Reboots = Reboots()

    @property
    def broker_folder(self) -> Path:
        """Of the broker the agent runs."""
        return Path(self.state_dir) / "broker"

    @property
    def near(self) -> Near | None:
        """The site's broker: the one the agent runs, or that of `devices`; None when there is none."""
        if self.broker is not None:
            return Near(self.broker.host, self.broker.port, str(self.broker_folder / DOOR))
        return None if self.devices is None else Near(self.devices.host, self.devices.port)

    def trusted(self) -> Trust:
        """Return whom the site believes; `read` has checked it."""
        keys = {key_id(public): (public, key.epoch) for key in self.trust.keys if (public := _raw(key.public))}
        return Trust(
            fleet=fleet_name(self.fleet),
            site=site_name(self.site),
            keys={name: public for name, (public, _) in keys.items()},
            epochs={name: epoch for name, (_, epoch) in keys.items()},
            threshold=self.trust.threshold,
        )


def read(path: Path) -> Settings:
    """Return the settings in a file, what it leaves out by the node's profile; raises InputError with every problem found.

    Relative paths are from its folder.
    """
    values: dict[str, Any] = {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        name = values.get("profile") or profiles.by_memory(memory_mb())
        values = profiles.completed(values, name) if name in profiles.TABLE else values
        settings = msgspec.convert(values, Settings)
    except OSError as error:
        raise InputError([Problem(error.strerror or str(error), file=str(path))]) from None
    except tomllib.TOMLDecodeError as error:
        place = _LINE.search(str(error))
        line, column = (int(place[1]), int(place[2])) if place else (0, 0)
        problem = Problem(_LINE.sub("", str(error)), file=str(path), line=line, column=column)
        raise InputError([problem]) from None
    except UnicodeDecodeError:
        raise InputError([Problem("not UTF-8", file=str(path))]) from None
    except msgspec.ValidationError:
        found = misfits(values, Settings)
        raise InputError(
            [Problem(each.message, str(path), path=_key(each), hint=each.hint) for each in found]
        ) from None
    if problems := list(_problems(settings, str(path))):
        raise InputError(problems)
    return _from(path.absolute().parent, settings)


def _from(folder: Path, settings: Settings) -> Settings:
    """Return settings with the paths that are relative to a folder made absolute."""
    broker = settings.broker
    if broker is not None:
        names = ("certificate", "key", "client_ca", "passwords", "access")
        given = {name: str(folder / path) for name in names if (path := getattr(broker, name))}
        broker = msgspec.structs.replace(broker, **given)
    return msgspec.structs.replace(
        settings, state_dir=str(folder / settings.state_dir), key_file=str(folder / settings.key_file), broker=broker
    )


def _key(flaw: Flaw) -> str:
    """Return the place of a flaw as TOML names it: trust.keys[0].public."""
    return "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in flaw.path)[1:]


def signer(settings: Settings) -> Signer:
    """Return the node's key; raises InputError when the file is missing or holds anything else."""
    path = Path(settings.key_file)
    try:
        seed = _raw(path.read_text(encoding="ascii").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError([Problem(f"cannot be read: {error}", file=str(path))]) from None
    if not seed:
        raise InputError([Problem("must hold base64 of 32 bytes", file=str(path))])
    return Signer(seed)


def _raw(text: str) -> bytes:
    """Return 32 raw bytes from base64, b"" for anything else."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return raw if len(raw) == 32 else b""


def _problems(settings: Settings, file: str) -> list[Problem]:
    found: list[Problem] = []

    def say(path: str, message: str) -> None:
        found.append(Problem(message, file=file, path=path))

    for key, check in (("fleet", fleet_name), ("site", site_name), ("node", node_name)):
        try:
            check(getattr(settings, key))
        except WireError as error:
            say(key, error.message)
    for number, trusted in enumerate(settings.trust.keys):
        if not _raw(trusted.public):
            say(f"trust.keys[{number}].public", "must be base64 of 32 bytes")
        if trusted.epoch < 1:
            say(f"trust.keys[{number}].epoch", "must be 1 or more")
    different = len({trusted.public for trusted in settings.trust.keys})
    if not 1 <= settings.trust.threshold <= different:
        say("trust.threshold", f"must be 1 to {different}, the number of different keys")
    for name in Timing.__struct_fields__:
        if getattr(settings.timing, name) <= 0:
            say(f"timing.{name}", "must be more than 0")
    for name in Budgets.__struct_fields__:
        if getattr(settings.budgets, name) < 1:
            say(f"budgets.{name}", "must be 1 or more")
    for name in Quotas.__struct_fields__:
        least = 0 if name in ("ballast", "file") else 1
        if getattr(settings.quotas, name) < least:
            say(f"quotas.{name}", f"must be {least} or more")
    for name in ("prepare_deadline_s", "progress_deadline_s"):
        if getattr(settings.transaction, name) <= 0:
            say(f"transaction.{name}", "must be more than 0")
    if settings.dead_man.within_s < 5:
        say("dead_man.within_s", "must be 5 or more: a network takes a while")
    for name in ("at_most_s", "ask_within_s"):
        if getattr(settings.not_now, name) <= 0:
            say(f"not_now.{name}", "must be more than 0")
    for number, command in enumerate(settings.not_now.commands):
        if not command.startswith("/"):
            say(f"not_now.commands[{number}]", "must be an absolute path")
    for key in ("hub", "devices", "broker"):
        if (place := getattr(settings, key)) is not None and not 0 < place.port < 65536:
            say(f"{key}.port", "must be 1 to 65535")
    for key in ("file_roots", "host_paths"):
        for number, folder in enumerate(getattr(settings.providers, key)):
            if not folder.startswith("/"):
                say(f"providers.{key}[{number}]", "must be an absolute path")
    for registry, mirror in settings.providers.registry_mirrors.items():
        if not _REGISTRY.fullmatch(registry) or not _REGISTRY.fullmatch(mirror):
            say(f"providers.registry_mirrors.{registry[:80]}", "must be host or host:port, on both sides")
    if settings.page.listen:
        try:
            address.place(settings.page.listen)
        except InputError as error:
            say("page.listen", error.message)
    for path, message in _broker_problems(settings.broker, settings.devices):
        say(path, message)
    if settings.devices is not None:
        from holdfast_protocol.mapping.convention import prefixes

        try:
            prefixes(settings.devices.topics)
        except InputError as error:
            say("devices.topics", error.message)
    if wrong := metering.problem(settings.metered, zone_known=zones.zone(settings.metered.time_zone) is not None):
        say("metered", wrong)
    if settings.providers.kubernetes is not None and (wrong := problem(settings.providers.kubernetes)):
        say("providers.kubernetes", wrong)
    if settings.providers.engine and not settings.providers.engine.startswith("unix:///"):
        say("providers.engine", "must be a local socket: unix:///run/docker.sock")
    return found


def _broker_problems(broker: Broker | None, devices: Devices | None) -> Iterator[tuple[str, str]]:
    if broker is None:
        return
    if not broker.host or not broker.host.isprintable() or any(sign.isspace() for sign in broker.host):
        yield "broker.host", "must be an address of this machine"
    if devices is not None and (devices.host, devices.port) not in {(LOOPBACK, 1883), (broker.host, broker.port)}:
        yield "devices.host", "devices are read from the broker the agent runs: leave host and port out"
    if bool(broker.certificate) != bool(broker.key):
        yield "broker.certificate", "certificate and key come together"
    if broker.client_ca and not broker.certificate:
        yield "broker.client_ca", "needs a certificate and a key of the broker"
    if broker.client_ca and broker.passwords:
        yield "broker.passwords", "devices have certificates, or passwords"
