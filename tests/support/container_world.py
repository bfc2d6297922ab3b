"""A container provider on a real engine, and the documents it is given."""

from pathlib import Path
from typing import Any

from holdfast_edge.providers.container.provider import ContainerProvider
from holdfast_edge.providers.port import Observed, Scope
from holdfast_protocol.kinds.pods.admission import Rules
from holdfast_protocol.wire.names import SiteName
from holdfast_protocol.wire.target import Resource, resource
from support.engine import IMAGE, RealEngine

FOREVER = ["sh", "-c", "trap exit TERM; while true; do sleep 3600 & wait $!; done"]


class World:
    """A site's resources and the provider that keeps them."""

    def __init__(self, engine: RealEngine, state: Path) -> None:
        self.engine = engine
        self.state = state
        self.site = SiteName("lyon")
        self.resources: dict[str, Resource] = {}
        self.provider = self.new_provider()

    def new_provider(self) -> ContainerProvider:
        """As after a restart of the agent: nothing remembered."""
        return ContainerProvider(
            self.engine.url, self.site, self.state, rules=Rules(host_paths=(str(self.state.parent / "data"),))
        )

    def put(self, body: dict[str, Any]) -> Resource:
        made = resource(body)
        self.resources[made.key] = made
        return made

    @property
    def scope(self) -> Scope:
        return Scope({each.key: each for each in self.resources.values()})

    async def look(self, wanted: Resource) -> Observed:
        return (await self.provider.observe([wanted], self.scope))[wanted.key]

    async def apply(self, wanted: Resource) -> Observed:
        self.provider.check(wanted, self.scope)
        await self.provider.apply(wanted, self.scope)
        return await self.look(wanted)

    def containers(self) -> list[dict[str, Any]]:
        """Everything of this site as the engine tells it, by name."""
        listed = self.engine.client.containers(all=True, filters={"label": f"holdfast.io/site={self.site}"})
        inspected = [self.engine.client.inspect_container(each["Id"]) for each in listed]
        return sorted(inspected, key=lambda each: each["Name"])

    def ids(self) -> list[str]:
        return [each["Id"] for each in self.containers()]


def container(**fields: Any) -> dict[str, Any]:
    return {"name": "app", "image": IMAGE, "command": FOREVER, **fields}


def deployment(*containers: dict[str, Any], name: str = "vision", spec: Any = None, **pod: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            **(spec or {}),
            "template": {
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": list(containers) or [container()],
                    **pod,
                }
            },
        },
    }


def pod(*containers: dict[str, Any], name: str = "job", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": list(containers) or [container()], **spec},
    }
