"""The way to each destination there is."""

from holdfast_hub.blueprint.destinations import NATS, OTLP, Kafka, PostgreSQL, Webhook
from holdfast_hub.blueprint.sink import Spec
from holdfast_hub.sinks.kafka import KafkaOutlet
from holdfast_hub.sinks.nats import NATSOutlet
from holdfast_hub.sinks.otlp import OTLPOutlet
from holdfast_hub.sinks.outlet import Labels, Outlet
from holdfast_hub.sinks.postgresql import PostgreSQLOutlet
from holdfast_hub.sinks.webhook import WebhookOutlet
from holdfast_protocol.runtime.clock import Clock


def outlet(name: str, spec: Spec, clock: Clock, labels: Labels) -> Outlet:
    """Return the way to a sink's destination. Raises PermanentError when the hub lacks what it takes."""
    match spec.destination:
        case Webhook() as wanted:
            return WebhookOutlet(name, wanted, clock)
        case PostgreSQL() as wanted:
            return PostgreSQLOutlet(wanted)
        case OTLP() as wanted:
            return OTLPOutlet(wanted, clock, labels)
        case NATS() as wanted:
            return NATSOutlet(name, wanted)
        case Kafka() as wanted:
            return KafkaOutlet(name, wanted)
