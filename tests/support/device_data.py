"""Readings put into a hub as if a node had sent them."""

from holdfast_hub.operations.hub import Hub
from holdfast_hub.store.batches import BatchWriter, Opened
from holdfast_protocol.wire import batch
from holdfast_protocol.wire.batch import Group, placed
from holdfast_protocol.wire.contents import contents
from holdfast_protocol.wire.names import NodeName, SiteName
from holdfast_protocol.wire.readings import Reading, encode
from support.builders import FLEET, SITE
from support.hubs import NODE
from support.streams import SIGNER, STAMP, sealed


class Sender:
    """Stores readings as a node's stream, group by group."""

    def __init__(self, hub: Hub, site: str = SITE, node: str = NODE) -> None:
        self.hub = hub
        self._site, self._node = SiteName(site), NodeName(node)
        self._first, self._chain = 1, batch.GENESIS
        self._writer = BatchWriter()

    def skip(self, count: int) -> None:
        """Leave out readings: what is sent next stands above the high-water mark."""
        self._first += count

    def send(self, *readings: Reading) -> None:
        segments = [Group(each.count, "readings", STAMP, each.blob) for each in encode(readings)]
        data = sealed(segments, first=self._first, before=self._chain, fleet=FLEET, site=self._site, node=self._node)
        opened = batch.open_batch(data, {SIGNER.keyid: SIGNER.public})
        found = contents(segments)
        where = placed(opened.first, opened.before, opened.segments)
        with self.hub.streams.database.transaction() as connection:
            stored = self._writer.write(connection, Opened(opened, [(each, next(found)) for each in where]), data, 7)
        assert not stored.refused
        self._first, self._chain = self._first + len(readings), opened.after
