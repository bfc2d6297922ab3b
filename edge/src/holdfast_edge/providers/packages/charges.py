"""Which packages we installed or hold, and for whom: the ledger's view of them. Blocking: call from a thread."""

from collections.abc import Iterable, Mapping

import msgspec

from holdfast_edge.providers.disk.ledger import Entry, Ledger
from holdfast_protocol.wire.names import ResourceKey


class Charge(msgspec.Struct, frozen=True, omit_defaults=True):
    """`installed` and `held`: by us. What we installed and the target did not ask for was drawn in by what it did."""

    installed: bool = False
    asked: bool = False
    held: bool = False

    @property
    def named(self) -> bool:
        """Whether the target named it: it is left over when it no longer does."""
        return self.asked or (self.held and not self.installed)


class Charges:
    """One package is in the charge of one resource."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def of(self, key: ResourceKey) -> dict[str, Charge]:
        return {name: _charge(entry) for name, entry in sorted(self._ledger.entries.items()) if entry.key == key}

    def names(self) -> frozenset[str]:
        """Return all that we installed."""
        return frozenset(name for name, entry in self._ledger.entries.items() if _charge(entry).installed)

    def put(self, key: ResourceKey, charges: Mapping[str, Charge]) -> None:
        """Write them, each durable on return: before the effect."""
        for name, charge in charges.items():
            entry = Entry(path=name, key=key, note=msgspec.json.encode(charge).decode())
            if self._ledger.entries.get(name) != entry:
                self._ledger.put(entry)

    def forget(self, names: Iterable[str]) -> None:
        for name in list(names):
            if name in self._ledger.entries:
                self._ledger.forget(name)


def _charge(entry: Entry) -> Charge:
    try:
        return msgspec.json.decode(entry.note, type=Charge)
    except msgspec.DecodeError:
        return Charge()  # of another version
