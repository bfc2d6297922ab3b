"""Routing keys of AMQP as topics, and back: as brokers that speak both have it."""

from typing import Final

_SWAPPED: Final = str.maketrans("./", "/.")


def topic_of(routing_key: str) -> str:
    """Return a routing key as a topic: its dots are slashes, and a slash in it a dot. The same way leads back."""
    return routing_key.translate(_SWAPPED)
