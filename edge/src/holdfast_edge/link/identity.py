"""Who this node is to the hub."""

import msgspec

from holdfast_protocol.wire.envelope import Signer
from holdfast_protocol.wire.names import FleetName, NodeName, SiteName


class Identity(msgspec.Struct, frozen=True):
    """Everything this node says is signed with `signer`; its public half is what the hub knows the node by."""

    fleet: FleetName
    site: SiteName
    node: NodeName
    signer: Signer
