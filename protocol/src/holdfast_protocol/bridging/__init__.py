"""What a bridge between two brokers does with a message: pure."""
