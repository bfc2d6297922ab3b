"""Kits: what a node starts with. The hub makes its key and keeps only the public half."""

import base64
import secrets
from collections.abc import Iterator
from typing import Final

import msgspec

from holdfast_hub.link.identity import Identity
from holdfast_hub.operations.hub import Hub
from holdfast_hub.store import audit, sites
from holdfast_protocol.errors import InputError, Problem, WireError
from holdfast_protocol.wire import envelope
from holdfast_protocol.wire.names import NodeName, SiteName, node_name

MAX_TEXT: Final = 253  # characters
CLUSTER_CA: Final = "/etc/holdfast/cluster-ca.pem"
CLUSTER_TOKEN: Final = "/etc/holdfast/cluster.token"  # noqa: S105 (where it lies)


class KitWords(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For whom a kit is made and what the agent may change there: nothing that is not said.

    `host` and `port` are where the site reaches the broker, empty for the hub's own choice; `devices` is HOST:PORT of the
    site's broker, `device_broker` where the agent runs one itself.
    """

    node: str = "node-1"
    host: str = ""
    port: int = 0
    state_dir: str = "/var/lib/holdfast"
    file_roots: tuple[str, ...] = ()
    engine: str = ""
    systemd: str = ""
    kernel: bool = False
    network: bool = False
    machine: bool = False
    packages: bool = False
    accounts: bool = False
    security: bool = False
    reboots: bool = False
    sources: bool = False
    bridges: bool = False
    kubernetes: str = ""
    devices: str = ""
    device_broker: str = ""
    profile: str = ""


async def site_kit(hub: Hub, name: str, words: KitWords, *, author: str) -> dict[str, str]:
    """Return the files a node starts with: `edge.toml` and `node.key`, its private key, which the hub does not keep.

    Made again for the same node, the key before is no longer accepted.
    """
    try:
        node = node_name(words.node)
    except WireError as error:
        raise InputError([Problem(error.message, path="node")]) from None
    if problems := list(_problems(words)):
        raise InputError(problems)
    seed = secrets.token_bytes(32)
    public = envelope.Signer(seed).public

    def keeping() -> SiteName:
        site = hub.fleet.site(name).row.name
        with hub.database.transaction() as connection:
            sites.put_node(connection, site, node, public, hub.now())
            detail = {"node": node, "key": envelope.key_id(public)}
            audit.add(connection, at=hub.now(), actor=author, action="kit", subjects=[f"Site/{site}"], detail=detail)
        return site

    site = await hub.database.call(keeping)
    hub.keys.put(site, node, public)
    hub.feed.tell("site", site)
    return {
        "edge.toml": _edge_toml(hub.identity, site, node, words),
        "node.key": base64.b64encode(seed).decode() + "\n",
    }


def _problems(words: KitWords) -> Iterator[Problem]:
    texts = {"host": words.host, "state_dir": words.state_dir, "engine": words.engine, "devices": words.devices}
    texts |= {"kubernetes": words.kubernetes, "device_broker": words.device_broker}
    for path, text in (*texts.items(), *((f"file_roots[{n}]", root) for n, root in enumerate(words.file_roots))):
        if len(text) > MAX_TEXT or not text.isprintable():
            yield Problem(f"not at most {MAX_TEXT} printable characters", path=path)
    if not 0 <= words.port < 65536:
        yield Problem(f"{words.port} is not a port", path="port")
    if words.systemd not in ("", "system", "user"):
        yield Problem("must be system or user", path="systemd")
    for path, folder in (("state_dir", words.state_dir), *(("file_roots", root) for root in words.file_roots)):
        if not folder.startswith("/"):
            yield Problem(f"{folder[:80]!r} is not an absolute path", path=path)
    if words.kubernetes and not words.kubernetes.startswith(
        ("https://", "http://127.", "http://[::1]", "http://localhost")
    ):
        yield Problem("must be https://HOST:PORT, or the site's machine itself", path="kubernetes")
    if words.engine and not words.engine.startswith("unix:///"):
        yield Problem("must be a socket: unix:///run/docker.sock", path="engine")
    if words.profile not in ("", "micro", "mini", "standard"):
        yield Problem("must be micro, mini or standard", path="profile")
    for path, text in (("devices", words.devices), ("device_broker", words.device_broker)):
        host, _, number = text.rpartition(":")
        if text and (not host or not number.isascii() or not number.isdigit() or not 0 < int(number[:6]) < 65536):
            yield Problem(f"{text[:80]!r} is not HOST:PORT", path=path)
    if words.devices and words.device_broker:
        yield Problem("the site has a broker, or the agent runs one", path="device_broker", hint="one of the two")


def _edge_toml(identity: Identity, site: SiteName, node: NodeName, words: KitWords) -> str:
    parts = [
        f"# Made by the hub of fleet {identity.fleet} for {site}/{node}.",
        f"fleet = {_toml(identity.fleet)}",
        f"site = {_toml(site)}",
        f"node = {_toml(node)}",
        f"state_dir = {_toml(words.state_dir)}",
        'key_file = "node.key"',
        f"profile = {_toml(words.profile)}  # micro, mini, standard: what it may take; empty: by its memory",
        "",
        "[hub]",
        f"host = {_toml(words.host or identity.host)}",
        f"port = {words.port or identity.port}",
        "",
        "# What the agent may change here; nothing that is not said.",
        "[providers]",
        f"file_roots = {_toml(words.file_roots)}",
        f"engine = {_toml(words.engine)}  # unix:///run/docker.sock",
        f"systemd = {_toml(words.systemd)}  # system, or user",
        f"kernel = {_toml(words.kernel)}  # whether its settings, its modules and the firewall may be changed",
        f"packages = {_toml(words.packages)}  # whether they may be installed and removed",
        f"accounts = {_toml(words.accounts)}  # whether users, groups and their SSH keys may be changed",
        f"security = {_toml(words.security)}  # whether sshd and mandatory access control may be changed",
        f"reboots = {_toml(words.reboots)}  # whether the machine may be restarted, by policy or on request",
        f"sources = {_toml(words.sources)}  # whether more sources of device data may be added",
        f"bridges = {_toml(words.bridges)}  # whether messages may be handed to other brokers, and taken from there",
        f"network = {'true' if words.network else 'false'}  # whether its interfaces may be, by systemd-networkd",
        f"machine = {'true' if words.machine else 'false'}  # whether its name and its clock may be",
        "",
    ]
    if words.kubernetes:
        parts += [
            "# The site's own API server. Files of the node: ca_file, and token_file or cert_file with key_file.",
            "[providers.kubernetes]",
            f"server = {_toml(words.kubernetes)}",
            f"ca_file = {_toml(CLUSTER_CA)}",
            f"token_file = {_toml(CLUSTER_TOKEN)}",
            "",
        ]
    host, _, port = words.devices.rpartition(":")
    if words.devices:
        parts += [
            "# The site's own broker, where devices publish.",
            "[devices]",
            f"host = {_toml(host)}",
            f"port = {int(port)}",
            "",
        ]
    host, _, port = words.device_broker.rpartition(":")
    if words.device_broker:
        parts += [
            "# A broker that the agent runs, where devices publish: everybody, unless passwords or client_ca say otherwise.",
            "[broker]",
            f"host = {_toml(host)}",
            f"port = {int(port)}",
            "",
            "[devices]",
            "",
        ]
    public = base64.b64encode(identity.signer.public).decode()
    parts += [
        "[trust]",
        "threshold = 1",
        "",
        "[[trust.keys]]",
        f"public = {_toml(public)}",
        f"epoch = {identity.epoch}",
        "",
    ]
    return "\n".join(parts)


def _toml(value: str | bool | tuple[str, ...]) -> str:
    """Return a TOML string, truth or array; JSON's escapes are a subset of TOML's."""
    return msgspec.json.encode(value).decode()
