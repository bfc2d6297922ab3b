"""The agent's way to who it must reach: what no change may close."""

import msgspec


class Way(msgspec.Struct, frozen=True):
    """Where the agent reaches its hub's broker. A host that is a name is not resolved: its address may change.
    `broker`: where it reaches the site's own, of another machine."""

    host: str
    port: int
    broker: tuple[str, int] | None = None
