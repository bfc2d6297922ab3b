"""The nodes' public keys in memory: who may have signed a message is asked for every message."""

from collections.abc import Iterable

from holdfast_protocol.wire import envelope
from holdfast_protocol.wire.names import NodeName, SiteName


class KeyRing:
    """A mirror of committed rows, used only from the event loop."""

    def __init__(self) -> None:
        self._keys: dict[SiteName, dict[NodeName, dict[str, bytes]]] = {}

    def load(self, rows: Iterable[tuple[SiteName, NodeName, bytes]]) -> None:
        for site, node, public in rows:
            self.put(site, node, public)

    def put(self, site: SiteName, node: NodeName, public: bytes) -> None:
        self._keys.setdefault(site, {})[node] = {envelope.key_id(public): public}

    def forget(self, site: SiteName) -> None:
        self._keys.pop(site, None)

    def keys_of(self, site: SiteName, node: NodeName) -> dict[str, bytes]:
        """Return the keys a node signs with, by name; empty for a node that is not ours."""
        return self._keys.get(site, {}).get(node, {})
