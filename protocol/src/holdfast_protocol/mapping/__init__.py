"""What devices send, as readings: formats, topic patterns, templates and the rules made of them. Pure."""
