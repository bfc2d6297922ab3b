"""Logbook: what the containers of a resource wrote last."""

from holdfast_edge.providers.container.engine import Engine
from holdfast_protocol.kinds.pods.specification import SITE
from holdfast_protocol.wire.names import ResourceKey, SiteName


async def tails(engine: Engine, site: SiteName, key: ResourceKey, lines: int) -> str:
    """Return the last lines of each container of a resource, each line with the container's name before it."""
    sight = await engine.look({SITE: site})
    found = []
    for each in sight.containers:
        if each.resource == key:
            text = await engine.tail(each.id, lines)
            found += [f"{each.container}[{each.replica}] {line}" for line in text.splitlines()]
    return "\n".join(found)
