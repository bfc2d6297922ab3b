"""Sinks: stored readings on their way to other systems, each at its own pace."""
