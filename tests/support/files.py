"""Files as a target writes them, and one provider's look and change of them."""

from pathlib import Path
from typing import Any

import pytest

from holdfast_edge.providers.files.provider import FileProvider
from holdfast_edge.providers.port import Observed, Scope
from holdfast_protocol.errors import PermanentError
from holdfast_protocol.wire import target
from holdfast_protocol.wire.target import Resource

NOTHING = Scope(resources={})


def fresh(root: Path, tmp_path: Path) -> FileProvider:
    return FileProvider(roots=[root], denied=[root / "agent"], state=tmp_path / "state")


def file(path: Path | str, content: str | None = "one\n", /, name: str = "", **spec: Any) -> Resource:
    body = {
        "apiVersion": "v1",
        "kind": "File",
        "metadata": {"name": name or "file"},
        "spec": {"path": str(path)} | ({} if content is None else {"content": content}) | spec,
    }
    return target.resource(body)


async def look(provider: FileProvider, resource: Resource, scope: Scope = NOTHING) -> Observed:
    return (await provider.observe([resource], scope))[resource.key]


async def converge(provider: FileProvider, resource: Resource, scope: Scope = NOTHING) -> None:
    provider.check(resource, scope)
    await provider.apply(resource, scope)
    seen = await look(provider, resource, scope)
    assert seen.as_wanted, seen


def refuse(provider: FileProvider, resource: Resource, scope: Scope = NOTHING) -> str:
    with pytest.raises(PermanentError) as caught:
        provider.check(resource, scope)
    return caught.value.reason


def script(path: Path, text: str) -> str:
    """Write a program of the shell and return its path."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)
