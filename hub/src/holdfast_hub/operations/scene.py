"""One moment of the fleet as it is judged: what every site should be, and what its nodes said."""

import sqlite3
from typing import Final

from holdfast_hub.core.convergence import Desired, Judgement, Reported, instance_judgement, is_online, site_judgement
from holdfast_hub.operations.hub import Hub
from holdfast_hub.store import sites, status, targets
from holdfast_hub.store.instances import InstanceRow
from holdfast_hub.store.status import NodeRow
from holdfast_hub.store.targets import TargetRow
from holdfast_protocol.wire.messages import InstanceStatus
from holdfast_protocol.wire.names import SiteName

HISTORY: Final = 20  # audit events shown with one object
WORST_FIRST: Final = ("ERROR", "IN_PROGRESS", "ACTIVE")  # of an instance at its sites


class Scene:
    """Everything needed to judge sites, read at one moment; for the database's thread."""

    def __init__(self, hub: Hub, connection: sqlite3.Connection, site: SiteName | None = None) -> None:
        self.hub = hub
        self.now = hub.now()
        self.newest: dict[SiteName, TargetRow] = {}
        if site is None:
            self.newest = targets.all_newest(connection, hub.partitions)
        elif row := targets.newest(connection, site):
            self.newest = {site: row}
        self.nodes: dict[SiteName, list[NodeRow]] = {}
        for node in status.nodes(connection, hub.partitions, site):
            self.nodes.setdefault(node.site, []).append(node)
        self.conflicts = sites.in_conflict(connection, hub.partitions)

    def reported(self, site: SiteName) -> list[Reported]:
        return [
            Reported(node.online, node.seen_at, node.epoch, node.generation, node.digest, node.status)
            for node in self.nodes.get(site, ())
        ]

    def desired(self, site: SiteName) -> Desired:
        row = self.newest.get(site)
        conflict = site in self.conflicts
        return Desired(row.epoch, row.generation, row.digest, conflict) if row else Desired(conflict=conflict)

    def site(self, site: SiteName) -> Judgement:
        return site_judgement(self.desired(site), self.reported(site), self.now)

    def instance(self, row: InstanceRow, site: SiteName) -> Judgement:
        wanted = frozenset(str(resource.key) for resource in row.resources)
        decides = row.program is not None and any(each.late for each in row.program.instances)
        return instance_judgement(self.desired(site), self.reported(site), row.owner, wanted, self.now, decides=decides)

    def evaluated(self, row: InstanceRow, site: SiteName) -> InstanceStatus | None:
        """Return what a site says of an instance it evaluates; of several nodes the one that is furthest from ACTIVE."""
        said = [
            each
            for node in self.nodes.get(site, ())
            for each in (node.status.instances if node.status is not None else ())
            if each.owner == row.owner
        ]
        return min(said, key=lambda each: WORST_FIRST.index(each.state), default=None)

    def online(self, node: NodeRow) -> bool:
        return is_online(
            Reported(node.online, node.seen_at, node.epoch, node.generation, node.digest, node.status), self.now
        )
