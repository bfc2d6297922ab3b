"""Everything one site should be as plain files: of all its instances, with its overlays, and one script for all."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_hub.operations import ejection
from holdfast_hub.operations.hub import Hub
from holdfast_protocol.errors import NotFoundError
from support.builders import SITE
from support.hubs import BLUEPRINT, add_site, hub_at, instance, put

pytestmark = pytest.mark.anyio
OVERLAY = """\
apiVersion: holdfast.io/v1alpha1
kind: Overlay
metadata: {name: tune}
spec:
  patches: [{target: {kind: File}, patch: {spec: {content: tuned}}}]
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with hub_at(tmp_path) as made:
        yield made


async def test_a_site_ejects_what_is_placed_there_with_its_overlays(hub: Hub) -> None:
    await add_site(hub)
    await add_site(hub, "press-02", zone="east")
    await put(hub, BLUEPRINT, instance("one"), instance("two", path="/etc/two"), OVERLAY)
    await put(hub, instance("away", path="/etc/away").replace("values: [west]", "values: [east]"))
    made = await ejection.eject_site(hub, SITE)
    assert {path.split("/")[0] for path in made.files} == {"one", "two", "install.sh"}
    assert made.files["one/files/etc/motd"] == made.files["two/files/etc/two"] == "tuned"
    everywhere = await ejection.eject_blueprints(hub, [])
    assert everywhere.files["one/files/etc/motd"] == "hello", "overlays are of sites"
    with pytest.raises(NotFoundError):
        await ejection.eject_site(hub, "nowhere")


async def test_the_site_s_script_runs_all_of_them_and_backwards_to_take_back(hub: Hub, tmp_path: Path) -> None:
    await add_site(hub)
    await put(hub, BLUEPRINT, instance("one"), instance("two", path="/etc/two"))
    made = await ejection.eject_site(hub, SITE)
    (tmp_path / "install.sh").write_text(made.files["install.sh"])
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "install.sh").write_text(f'echo {name} "$@"\n')
    for words, said in ((["--dry-run"], ["one", "two"]), (["--uninstall"], ["two", "one"])):
        done = subprocess.run(["sh", tmp_path / "install.sh", *words], capture_output=True, text=True, check=True)
        assert [line for line in done.stdout.splitlines() if "--" in line] == [f"{name} {words[0]}" for name in said]
    (tmp_path / "one/install.sh").write_text("exit 3\n")
    failed = subprocess.run(["sh", tmp_path / "install.sh"], capture_output=True, text=True)
    assert (failed.returncode != 0, "two" in failed.stdout) == (True, False)
