"""What doctor says of a hub that is not well."""

from typing import Any

from holdfast_hub.cli.client import Client
from holdfast_hub.cli.doctor import _hub


class Answers(Client):
    """A client whose hub says what it is told to."""

    def __init__(self, **health: Any) -> None:
        super().__init__("")
        broker = {"url": "mqtt://b:1", "embedded": False, "connected": True, "reason": "", "message": ""}
        self._health = {"version": "1", "fleet": "f", "online": 0, "sites": 0, "unpublished": 0, "broker": broker}
        self._health |= {"problems": [], **health}

    def get(self, path: str, **query: str | int | None) -> Any:
        return self._health if path == "/v1/health" else {"items": []}


def test_a_broker_that_cannot_be_reached_is_told_with_why() -> None:
    text = "b:1: nothing listens there (is it running, and is this its address?)"
    broker = {"url": "mqtt://b:1", "embedded": False, "connected": False, "reason": "Unreachable", "message": text}
    (found,) = [each for each in _hub(Answers(broker=broker)) if not each.well]
    assert (found.subject, found.message) == ("broker", f"not connected: {text}")


def test_what_the_hub_could_not_do_is_told() -> None:
    (found,) = [
        each for each in _hub(Answers(problems=["retention: DiskFull: full", "hello: UnknownNode: x"])) if not each.well
    ]
    assert found.message == "retention: DiskFull: full; hello: UnknownNode: x"
    assert all(each.well for each in _hub(Answers()))
