"""Brokers for the tests of this folder: Mosquitto always with the files that production uses."""

from collections.abc import Iterator

import pytest

from support import mosquitto, rabbitmq
from support.either import Broker


@pytest.fixture(scope="session")
def rabbit() -> Iterator[rabbitmq.RabbitMQ]:
    """One for all tests of a worker: each has queues of its own, and one that kills it starts it again."""
    with rabbitmq.running() as it:
        yield it


@pytest.fixture
def real() -> Iterator[mosquitto.Mosquitto]:
    with mosquitto.running("hub.conf") as broker:
        yield broker


@pytest.fixture(params=["mosquitto", "fake"])
def broker(request: pytest.FixtureRequest) -> Broker:
    return Broker.twin() if request.param == "fake" else Broker.real(request.getfixturevalue("real"))


@pytest.fixture(params=[5, 4], ids=["mqtt5", "mqtt3.1.1"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def local() -> Iterator[mosquitto.Mosquitto]:
    with mosquitto.running("site.conf") as broker:
        yield broker


@pytest.fixture(scope="module")
def remote() -> Iterator[mosquitto.Mosquitto]:
    with mosquitto.running("site.conf") as broker:
        yield broker
