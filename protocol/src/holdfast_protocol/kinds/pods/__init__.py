"""Kubernetes' workloads, their configuration and what they take of a machine, as a site understands them. Pure."""
