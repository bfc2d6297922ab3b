"""Bridge: which brokers this node hands messages to and takes them from, kept for the loops that do."""
