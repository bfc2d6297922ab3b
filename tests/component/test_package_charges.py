"""Packages over a stand-in for dpkg: what a kill left in our charge and never came is nobody's."""

from pathlib import Path

import pytest

from holdfast_edge.providers.disk.ledger import Ledger
from holdfast_edge.providers.disk.programs import Programs
from holdfast_edge.providers.packages.charges import Charge, Charges
from holdfast_edge.providers.packages.provider import PackageProvider
from holdfast_edge.providers.port import Scope
from holdfast_protocol.wire import target

pytestmark = [pytest.mark.anyio, pytest.mark.invariant("only-owned-things-are-removed")]
BODY = {
    "apiVersion": "holdfast.io/v1alpha1",
    "kind": "Package",
    "metadata": {"name": "jq"},
    "spec": {"packages": [{"name": "jq"}]},
}


class Dpkg:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "dpkg"
        self.folder.mkdir()
        self.tools = folder / "tools"
        self.tools.mkdir()
        query = self.tools / "dpkg-query"
        query.write_text(f'#!/bin/sh\nwhile IFS= read -r line; do echo "$line"; done < {self.folder}/status\n')
        query.chmod(0o755)
        self.has()

    def has(self, *names: str) -> None:
        rows = [f"{name}\t1\tinstall\tinstalled\tno\tno\toptional\n" for name in ("base", *names)]
        (self.folder / "status").write_text("".join(rows))


async def test_what_was_charged_to_us_and_never_came_is_not_ours_when_somebody_installs_it(tmp_path: Path) -> None:
    dpkg, wanted = Dpkg(tmp_path), target.resource(BODY)
    killed = Charges(Ledger(tmp_path / "state"))
    killed.put(wanted.key, {"jq": Charge(installed=True, asked=True)})  # and then the power went
    provider = PackageProvider(
        state=tmp_path / "state", dpkg=dpkg.folder, programs=Programs(f"{dpkg.tools}:/usr/bin:/bin")
    )
    await provider.observe([wanted], Scope({wanted.key: wanted}))
    dpkg.has("jq")  # by hand
    seen = await provider.observe([wanted], Scope({wanted.key: wanted}))
    assert seen[wanted.key].as_wanted
    assert Charges(Ledger(tmp_path / "state")).names() == frozenset()


async def test_what_came_stays_in_our_charge(tmp_path: Path) -> None:
    dpkg, wanted = Dpkg(tmp_path), target.resource(BODY)
    Charges(Ledger(tmp_path / "state")).put(wanted.key, {"jq": Charge(installed=True, asked=True)})
    dpkg.has("jq")
    provider = PackageProvider(
        state=tmp_path / "state", dpkg=dpkg.folder, programs=Programs(f"{dpkg.tools}:/usr/bin:/bin")
    )
    await provider.observe([wanted], Scope({wanted.key: wanted}))
    assert Charges(Ledger(tmp_path / "state")).names() == {"jq"}
