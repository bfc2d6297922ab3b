"""The look around: what ip(8) says, whatever it leaves out."""

import pytest

from holdfast_edge.sensors import surroundings

pytestmark = pytest.mark.anyio


async def test_a_neighbour_without_a_state_is_a_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {
        "address": [{"addr_info": [{"local": "192.0.2.7"}]}],
        "route": [{"gateway": "127.0.0.254"}],
        "neigh": [{"dst": "127.0.0.254", "lladdr": "02:00:00:00:00:01"}],
    }

    async def ip(*words: str) -> list[dict[str, object]]:
        return next((found for name, found in said.items() if name in words), [])

    async def silent(gateways: object) -> bool:
        return False

    monkeypatch.setattr(surroundings, "_ip", ip)
    monkeypatch.setattr(surroundings, "_answering", silent)
    assert await surroundings.look_around() == ("address", "gateway")
