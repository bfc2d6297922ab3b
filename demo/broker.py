"""A site's broker: the shipped configuration with its four places filled in."""

from pathlib import Path

TEMPLATE = Path(__file__).parents[1] / "broker-config/site.conf"
PROGRAM = "/usr/sbin/mosquitto"


def configuration(port: int, folder: str, user: str) -> str:
    """Return `site.conf` for a broker on the loopback; `folder` is its own and `user` can write it."""
    text = TEMPLATE.read_text()
    for name, value in {"PORT": str(port), "LISTEN": "127.0.0.1", "FOLDER": folder, "USER": user}.items():
        text = text.replace(f"@{name}@", value)
    return text
