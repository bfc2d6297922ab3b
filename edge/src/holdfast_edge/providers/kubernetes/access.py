"""Access to the site's own API server, as edge.toml says it. Pure."""

import ipaddress
from urllib.parse import urlsplit

import msgspec


class Access(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the server is and who we are to it. Files hold what may be renewed: they are read for every connection."""

    server: str  # https://HOST:PORT; http only to this machine itself
    ca_file: str = ""  # "": the system's authorities
    token_file: str = ""
    cert_file: str = ""
    key_file: str = ""


def problem(access: Access) -> str:
    """Return what is wrong with the settings, "" for nothing."""
    try:
        parts = urlsplit(access.server)
        port_fits = parts.port is None or 0 < parts.port < 65536
    except ValueError:
        return "server is no address"
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_fits or parts.path not in ("", "/"):
        return "server must be https://HOST:PORT"
    if parts.query or parts.fragment or "@" in parts.netloc:
        return "server must be https://HOST:PORT and no more"
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        return "server without TLS must be this machine itself"
    if bool(access.cert_file) != bool(access.key_file):
        return "cert_file and key_file belong together"
    files = (access.ca_file, access.token_file, access.cert_file, access.key_file)
    return "" if all(not path or path.startswith("/") for path in files) else "files must be absolute paths"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
