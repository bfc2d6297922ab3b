"""DeviceSource: which inputs this node takes, kept for the ingest loops."""
