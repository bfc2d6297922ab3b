"""Kinds of resources: what their spec may say and how the machine itself would say it. Pure; for both sides."""
