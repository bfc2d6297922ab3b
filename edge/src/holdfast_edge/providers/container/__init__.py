"""Deployments and Pods on a container engine's socket; ConfigMaps and Secrets as files for them and for anybody here."""
