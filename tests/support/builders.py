"""Small valid things, with what a test cares about changed by keyword."""

from typing import Any

from holdfast_protocol.wire import digest, envelope, target
from holdfast_protocol.wire.names import FleetName, SiteName

FLEET = FleetName("acme")
SITE = SiteName("press-01")
HUB = envelope.Signer(bytes(range(32)))
NODE = envelope.Signer(bytes(range(32, 64)))
STRANGER = envelope.Signer(bytes(range(64, 96)))


def file_body(name: str = "motd", path: str = "/etc/motd", content: str = "hello\n", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "holdfast.io/v1alpha1",
        "kind": "File",
        "metadata": {"name": name},
        "spec": {"path": path, "content": content, **spec},
    }


def a_target(*bodies: dict[str, Any], generation: int = 1, epoch: int = 1, **fields: Any) -> target.Target:
    """Return a target of these bodies (one File when none is given)."""
    content = fields.pop(
        "content",
        target.Content(resources=tuple(target.resource(body) for body in bodies or (file_body(),))),
    )
    values: dict[str, Any] = {
        "fleet": FLEET,
        "site": SITE,
        "epoch": epoch,
        "generation": generation,
        "digest": digest.digest(content),
        "previous": "",
        "issued_at": 1_790_000_000_000,
        "content": content,
        **fields,
    }
    return target.Target(**values)


def expected(held: target.Target | None = None, **fields: Any) -> target.Expected:
    """Return what the site accepts when it holds `held` (None: nothing yet)."""
    values: dict[str, Any] = {
        "fleet": FLEET,
        "site": SITE,
        "keys": {HUB.keyid: HUB.public},
        "epochs": {HUB.keyid: 1},
        "held": held.position if held else (0, 0),
        "held_digest": held.digest if held else "",
        **fields,
    }
    return target.Expected(**values)
