"""Who the hub is to its sites."""

import msgspec

from holdfast_protocol.wire import envelope
from holdfast_protocol.wire.names import FleetName


class Identity(msgspec.Struct, frozen=True):
    """The hub's fleet, its key with the epoch that introduced it, and where sites reach its broker."""

    fleet: FleetName
    signer: envelope.Signer
    epoch: int
    host: str
    port: int
