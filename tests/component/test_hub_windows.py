"""Windows and holds at the hub: applied, placed, carried in targets, explained, audited, over by themselves."""

import re
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from holdfast_edge.core.deferral import NotNow
from holdfast_hub.operations import apply, holds, sites
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.sites import SiteWords
from holdfast_hub.operations.windows import explain_windows
from holdfast_hub.store import audit
from holdfast_hub.store import status as statuses
from holdfast_protocol.errors import InputError, NotFoundError
from holdfast_protocol.wire.messages import Hold
from holdfast_protocol.wire.windows import carried
from support.builders import NODE as NODE_KEY
from support.builders import SITE
from support.clock import FakeClock
from support.hubs import BLUEPRINT, add_site, content, give_key, hub_at, instance, newest, put, status

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()


def window(name: str = "nights", spec: str = "", cron: str = "0 2 * * *", gates: str = "[targets]") -> str:
    return (
        f"apiVersion: holdfast.io/v1alpha1\nkind: MaintenanceWindow\nmetadata: {{name: {name}}}\nspec:\n"
        f'  schedule: {{cron: "{cron}", duration: 2h}}\n  gates: {gates}\n{spec}'
    )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(wall=NOON)


@pytest.fixture
def hub(tmp_path: Path, clock: FakeClock) -> Iterator[Hub]:
    with hub_at(tmp_path, clock) as made:
        yield made


async def test_a_window_is_placed_as_an_instance_is_and_travels_in_the_targets_of_its_sites(hub: Hub) -> None:
    await add_site(hub)
    await add_site(hub, "press-02", zone="east")
    west = "  placement: {fieldSelector: {matchExpressions: [{key: zone, operator: In, values: [west]}]}}\n"
    await put(hub, BLUEPRINT, instance(), instance("east", zone="east"), window(spec=west))
    told = await content(hub)
    (made,) = [carried(entry) for entry in told.windows]
    assert (made.name, made.gates) == ("nights", ("targets",))
    assert "windows/v1" in told.requires
    assert (await content(hub, "press-02")).windows == ()


async def test_a_window_that_is_wrong_is_refused_with_its_place(hub: Hub) -> None:
    for text, path in (
        (window(cron="0 2 31 2 *"), "spec.schedule.cron"),
        (window(gates="[all]"), "spec.gates"),
        (window(spec="  timeZone: Europe/Atlantis\n"), "spec.timeZone"),
        (window(spec="  exceptions: {closed: [never]}\n"), "spec.exceptions.closed"),
    ):
        with pytest.raises(InputError) as refused:
            await put(hub, text)
        (problem,) = refused.value.problems
        assert problem.path.startswith(path)
        assert problem.line > 0


async def test_a_misspelt_word_of_a_window_is_told_with_the_word_that_was_meant(hub: Hub) -> None:
    wrong = window(gates="[targets, reboot]").replace("  schedule", "  timeZon: Europe/Berlin\n  schedule")
    with pytest.raises(InputError) as refused:
        await put(hub, wrong)
    told = {(problem.path, problem.hint) for problem in refused.value.problems}
    assert told == {("spec.timeZon", "did you mean timeZone?"), ("spec.gates[1]", "did you mean reboots?")}


async def test_the_time_zone_of_a_site_travels_with_its_windows_only(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, BLUEPRINT, instance())
    before = await newest(hub)
    await sites.describe_site(hub, SITE, SiteWords(time_zone="Europe/Berlin"), author="ann")
    assert await newest(hub) == before, "nothing there depends on it"
    await put(hub, window())
    assert (await content(hub)).time_zone == "Europe/Berlin"
    with pytest.raises(InputError):
        await sites.describe_site(hub, SITE, SiteWords(time_zone="Nowhere/None"), author="ann")


async def test_windows_are_explained_gate_by_gate_with_their_next_openings(hub: Hub) -> None:
    await add_site(hub)
    await sites.describe_site(hub, SITE, SiteWords(time_zone="Europe/Berlin"), author="ann")
    await put(hub, BLUEPRINT, instance(), window(), window("day", cron="0 13 * * *", gates="[drift]"))
    told = await explain_windows(hub, SITE)
    gates = {each.gate: (each.open, each.message) for each in told.gates}
    assert gates["targets"] == (False, "opens Tue 2026-06-02 02:00 to 04:00 Europe/Berlin (nights)")
    assert gates["drift"] == (True, "by day"), "14:00 in Berlin"
    assert gates["reboots"] == (True, "always: no window names it")
    nights = next(each for each in told.windows if each.window == "nights")
    assert (nights.zone, nights.zone_from, len(nights.openings)) == ("Europe/Berlin", "site", 3)


@pytest.mark.invariant("every-hold-expires")
async def test_a_hold_travels_in_the_target_is_listed_audited_and_over_by_itself(hub: Hub, clock: FakeClock) -> None:
    await add_site(hub)
    await put(hub, BLUEPRINT, instance())
    (made,) = await holds.make_holds(hub, [SITE], resources=["File/west"], seconds=7200, reason="audit", author="ann")
    told = await content(hub)
    (carried_,) = told.holds
    assert (carried_.id, carried_.until, carried_.seconds) == (made.id, int((NOON + 7200) * 1000), 7200)
    assert "holds/v1" in told.requires
    assert [each.id for each in await holds.list_holds(hub, SITE)] == [made.id]
    clock.advance(7200)
    assert await holds.list_holds(hub) == []
    assert await holds.expire_holds(hub) == [SITE]
    assert (await content(hub)).holds == ()
    actions = [each.action for each in await hub.store.read(lambda held: audit.newest(held, 3, f"Site/{SITE}"))]
    assert actions[:2] == ["hold-expired", "hold"]


async def test_a_hold_is_released_by_its_id_or_with_all_of_its_site(hub: Hub) -> None:
    await add_site(hub)
    await add_site(hub, "press-02")
    await put(hub, BLUEPRINT, instance())
    made = await holds.make_holds(hub, [SITE, "press-02"], resources=[], seconds=60, reason="why", author="ann")
    await holds.make_holds(hub, [SITE], resources=[], seconds=60, reason="more", author="ann")
    released = await holds.release_holds(hub, [made[1].id, SITE], author="bob")
    assert len(released) == 3
    assert (await content(hub)).holds == ()
    with pytest.raises(NotFoundError):
        await holds.release_holds(hub, [SITE], author="bob")


async def test_holds_survive_a_restart_of_the_hub(tmp_path: Path, clock: FakeClock) -> None:
    with hub_at(tmp_path, clock) as first:
        await add_site(first)
        await put(first, BLUEPRINT, instance())
        await holds.make_holds(first, [SITE], resources=[], seconds=60, reason="why", author="ann")
    with hub_at(tmp_path, clock) as second:
        await second.load()
        assert [each.reason for each in await holds.list_holds(second)] == ["why"]
        await put(second, window())
        assert len((await content(second)).holds) == 1


async def test_a_hold_made_at_the_site_is_listed_with_its_node(hub: Hub) -> None:
    await add_site(hub)
    await give_key(hub, NODE_KEY)
    local = Hold("ab12", "new valve", int((NOON + 600) * 1000), "uid 0")
    over = Hold("cd34", "old", int((NOON - 1) * 1000), "uid 0")
    said = status(None, holds=(local, over))
    await hub.store.write(lambda held: statuses.take_status(held, said, hub.now(), live=True))
    (found,) = await holds.list_holds(hub)
    assert (found.id, found.origin, found.node, found.by) == ("ab12", "site", "node-1", "uid 0")


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ({"seconds": 0}, "seconds"),
        ({"seconds": 31 * 86400}, "seconds"),
        ({"reason": " "}, "reason"),
        ({"resources": ["motd"]}, "resources[0]"),
        ({"sites": []}, "sites"),
    ],
)
async def test_a_hold_without_an_end_or_a_reason_is_refused(hub: Hub, words: dict[str, object], path: str) -> None:
    await add_site(hub)
    given = {"sites": [SITE], "resources": [], "seconds": 60, "reason": "why", **words}
    with pytest.raises(InputError) as refused:
        await holds.make_holds(hub, **given, author="ann")  # type: ignore[arg-type]
    assert [problem.path for problem in refused.value.problems] == [path]


async def test_the_document_s_window_is_accepted_as_printed(hub: Hub) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs/operations.md").read_text()
    (block,) = [each for each in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "MaintenanceWindow" in each]
    await sites.add_site(hub, SITE, SiteWords(labels={"zone": "west"}, zones=["west"]), author="ann")
    await put(hub, BLUEPRINT, instance(), block)
    (made,) = [carried(entry) for entry in (await content(hub)).windows]
    assert (made.gates, made.time_zone, len(made.calendar.closed)) == (("targets", "reboots"), "Europe/Berlin", 1)
    (settings,) = [each for each in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if "not_now" in each]
    assert msgspec.convert(tomllib.loads(settings)["not_now"], NotNow).commands == ("/usr/bin/press",)


async def test_a_deleted_site_leaves_no_holds_behind(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, BLUEPRINT, instance())
    await holds.make_holds(hub, [SITE], resources=[], seconds=60, reason="why", author="ann")
    await apply.delete_site(hub, SITE, author="ann")
    assert await holds.list_holds(hub) == []


async def test_holds_too_large_for_a_target_are_refused(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, BLUEPRINT, instance())
    many = [f"File/{number:0500}" for number in range(1000)]

    async def make() -> None:
        for _ in range(8):
            await holds.make_holds(hub, [SITE], resources=many, seconds=60, reason="why", author="ann")

    with pytest.raises(InputError, match="with its holds, the limit is"):
        await make()
