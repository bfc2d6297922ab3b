"""AMQP 1.0 as a receiver of messages speaks it, without a socket: bytes in, deliveries and bytes out."""
