"""Bridges between two real Mosquittos: both ways, over outages and kills, nothing lost that was not counted, no loops."""

import base64
import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support import mosquitto
from support.bridges import bridge, hearing, numbers, remote_of, running_bridges, say
from support.certificates import Authority
from support.clock import eventually, never
from support.mosquitto import Mosquitto
from support.sources import secret

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_messages_go_over_both_ways_with_their_topics_mapped(
    tmp_path: Path, local: Mosquitto, remote: Mosquitto, version: str
) -> None:
    name = f"ways-{version[0]}"
    wanted = bridge(
        name,
        remote=remote_of(remote, version=version),
        local={"host": local.host, "port": local.port, "version": version},
        out=[{"topic": f"plant{version[0]}/{{area}}/{{device}}/{{rest#}}", "to": "acme/{site}/{area}/{device}/{rest}"}],
        in_=[{"topic": f"orders{version[0]}/site-1/#", "strip": f"orders{version[0]}/site-1/", "prefix": "commands/"}],
    )
    async with (
        running_bridges(tmp_path, local) as site,
        hearing(remote, "acme/#") as there,
        hearing(local, "commands/#") as here,
    ):
        await site.apply(wanted)
        await eventually(lambda: site.is_connected(name))
        await say(local, [(f"plant{version[0]}/press/p1/temp/a", b"21.5")])
        await say(remote, [(f"orders{version[0]}/site-1/p1/start", b"go")])
        await eventually(lambda: len(there.deliveries) == 1 and len(here.deliveries) == 1)
        assert (there.topics, there.payloads) == (["acme/site-1/press/p1/temp/a"], [b"21.5"])
        assert (here.topics, here.payloads) == (["commands/p1/start"], [b"go"])
        await eventually(lambda: site.way("out", name).sent == 1)
        assert site.way("out", name).waiting == 0
        seen = await site.look(wanted)
        assert seen.readiness == "ready"
        assert seen.status["ways"]["in"]["received"] == 1


@pytest.mark.invariant("every-loss-is-counted")
@pytest.mark.parametrize("drop", ["oldest", "newest"])
async def test_what_waits_for_a_remote_that_is_away_is_bounded_and_sent_is_received_and_dropped_exactly(
    tmp_path: Path, local: Mosquitto, drop: str
) -> None:
    with mosquitto.running("site.conf") as away:
        name = f"outage-{drop}"
        buffer = {"messages": 300, "drop": drop}
        topic = f"outage/{drop}"
        wanted = bridge(name, remote=remote_of(away), out=[{"topic": f"{topic}/#"}], buffer=buffer)
        # The listener's session stands before the outage: it misses nothing that is said when the broker is back.
        async with running_bridges(tmp_path, local) as site, hearing(away, f"{topic}/#") as there:
            await site.apply(wanted)
            await eventually(lambda: site.is_connected(name))
            away.stop()
            await eventually(lambda: not site.is_connected(name))
            await say(local, numbers(1000, f"{topic}/n"))
            await eventually(lambda: site.way("out", name).received == 1000)
            assert site.way("out", name).dropped == {"Overflow": 700}
            assert site.way("out", name).waiting == 300
            away.start()
            await eventually(lambda: site.way("out", name).waiting == 0)
            await eventually(lambda: len(set(there.payloads)) == 300)
            got = {int(each) for each in there.payloads}
            assert site.way("out", name).sent == 300
            assert got == (set(range(700, 1000)) if drop == "oldest" else set(range(300)))
            assert len(got) + sum(site.way("out", name).dropped.values()) == 1000


@pytest.mark.invariant("commit-before-ack")
async def test_nothing_is_lost_over_kills_of_the_loops_and_of_both_brokers(tmp_path: Path) -> None:
    with mosquitto.running("site.conf") as near, mosquitto.running("site.conf") as far:
        wanted = bridge(remote=remote_of(far), out=[{"topic": "devices/#", "prefix": "x/"}], window=20)
        async with hearing(far, "x/#") as there:
            said = 0

            async def more(count: int) -> None:
                nonlocal said
                await say(near, numbers(count, start=said))
                said += count

            async with running_bridges(tmp_path / "b", near) as site:
                await site.apply(wanted)
                await eventually(site.is_connected)
                await more(200)
                await eventually(lambda: len(there.deliveries) > 20)
            await more(200)  # its session holds these while nobody runs
            async with running_bridges(tmp_path / "b", near) as site:
                await more(200)
                await eventually(lambda: len(there.deliveries) > 250)
                far.kill()
                await more(200)
                far.start()
                await eventually(lambda: site.way("out").sent > 500)
                near.kill()
                near.start()
                await more(200)
                await eventually(lambda: {int(each) for each in there.payloads} == set(range(said)))
                await eventually(lambda: site.way("out").waiting == 0)
                way = site.way("out")
                assert not way.dropped
                assert way.received == way.sent >= said
            assert len(there.payloads) < said + 500, "what comes again is only what was on its way"


async def test_retained_messages_are_kept_cleared_or_set_and_an_empty_one_clears(
    tmp_path: Path, local: Mosquitto, remote: Mosquitto
) -> None:
    rules = [{"topic": f"state/{each}/#", "prefix": "r/", "retain": each} for each in ("keep", "clear", "set")]
    await say(local, [(f"state/{each}/a", b"before") for each in ("keep", "clear", "set")], retain=True)
    async with running_bridges(tmp_path, local) as site:
        await site.apply(bridge("retained", remote=remote_of(remote), out=rules))
        await eventually(lambda: site.way("out", "retained").sent == 3)
        await say(local, [("state/keep/b", b"1"), ("state/set/b", b"1")])
        await say(local, [("state/keep/c", b"1")], retain=True)
        await eventually(lambda: site.way("out", "retained").sent == 6)
        async with hearing(remote, "r/#") as there:
            await eventually(lambda: len(there.deliveries) >= 4)
            assert sorted(there.topics) == ["r/state/keep/a", "r/state/keep/c", "r/state/set/a", "r/state/set/b"]
        await say(local, [("state/keep/a", b"")], retain=True)
        await eventually(lambda: site.way("out", "retained").sent == 7)
        async with hearing(remote, "r/state/keep/#") as there:
            await eventually(lambda: there.topics == ["r/state/keep/c"])


async def test_two_bridges_back_to_back_pass_a_message_once_and_do_not_storm(
    tmp_path: Path, local: Mosquitto, remote: Mosquitto
) -> None:
    both = [{"topic": "ring/#"}]
    async with (
        running_bridges(tmp_path / "a", local, "site-a") as first,
        running_bridges(tmp_path / "b", remote, "site-b") as second,
        hearing(remote, "ring/#") as there,
        hearing(local, "ring/#") as here,
    ):
        await first.apply(bridge(remote=remote_of(remote), out=both, in_=both))
        await second.apply(bridge(remote=remote_of(local), out=both, in_=both))
        await eventually(lambda: first.is_connected() and second.is_connected())
        await say(local, numbers(50, "ring/n"))
        await eventually(lambda: first.way("out").sent == 50)
        # Each goes over once by either bridge; what came over one goes back over the other, and stops there.
        await eventually(lambda: len(there.deliveries) >= 50 and first.way("out").dropped.get("Loop", 0) == 50)
        await say(local, [("ring/last", b"end")])
        await eventually(lambda: "ring/last" in there.topics and first.way("out").dropped.get("Loop", 0) == 51)

        def passed() -> int:
            return sum(site.way(way).sent for site in (first, second) for way in ("out", "in"))

        await eventually(lambda: passed() == 4 * 51)  # two bridges, each over and back
        await never(lambda: passed() > 4 * 51 or len(there.deliveries) + len(here.deliveries) > 5 * 51)


async def test_without_marks_what_goes_round_is_cut_after_a_hundred_times(tmp_path: Path) -> None:
    with mosquitto.running("site.conf") as near, mosquitto.running("site.conf") as far:
        out, back = [{"topic": "ring/#"}], [{"topic": "ring/#"}]
        async with (
            running_bridges(tmp_path / "a", near, "site-a") as first,
            running_bridges(tmp_path / "b", far, "site-b") as second,
        ):
            await first.apply(bridge(remote=remote_of(far, version="3.1.1"), out=out))
            await second.apply(bridge(remote=remote_of(near, version="3.1.1"), out=back))
            await eventually(lambda: first.is_connected() and second.is_connected())
            await say(near, [("ring/a", b"round")])
            await eventually(lambda: any(each.way("out").dropped.get("Loop") for each in (first, second)))
            assert first.way("out").sent <= 101


async def test_a_message_the_remote_does_not_take_is_dropped_counted_and_holds_up_nothing(tmp_path: Path) -> None:
    limit = "max_packet_size 2000"
    with mosquitto.running("site.conf") as near, mosquitto.running("site.conf", extra=limit) as far:
        for version, reason in (("5", "TooLarge"), ("3.1.1", "EndsConnection")):
            name = f"large-{version[0]}"
            rules = [{"topic": f"{name}/#"}]
            async with running_bridges(tmp_path / name, near) as site, hearing(far, f"{name}/#") as there:
                await site.apply(bridge(name, remote=remote_of(far, version=version), out=rules))
                await eventually(lambda site=site, name=name: site.is_connected(name))
                large = (f"{name}/large", b"x" * 5000)
                await say(near, [(f"{name}/a", b"1"), large, (f"{name}/b", b"2")])
                await eventually(lambda there=there, name=name: {f"{name}/a", f"{name}/b"} <= set(there.topics))
                await eventually(lambda site=site, name=name: site.way("out", name).waiting == 0)
                assert site.way("out", name).dropped == {reason: 1}


@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
async def test_a_message_the_remote_refuses_is_dropped_and_its_connection_goes_on(
    tmp_path: Path, local: Mosquitto
) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite acl/fine/#\n")
    for each in (tmp_path, tmp_path.parent, tmp_path.parents[1], acl):
        each.chmod(0o755)
    with mosquitto.running("hub.conf", extra=f"acl_file {acl}") as far:
        async with running_bridges(tmp_path / "b", local) as site, hearing(far, "acl/fine/#") as there:
            await site.apply(bridge("acl", remote=remote_of(far), out=[{"topic": "acl/#"}]))
            await eventually(lambda: site.is_connected("acl"))
            await say(local, [("acl/fine/a", b"1"), ("acl/denied", b"2"), ("acl/fine/b", b"3")])
            await eventually(lambda: there.payloads == [b"1", b"3"])
            await eventually(lambda: site.way("out", "acl").waiting == 0)
            assert (site.way("out", "acl").sent, site.way("out", "acl").dropped) == (2, {"Refused": 1})


async def test_what_waits_goes_to_where_a_changed_bridge_leads(tmp_path: Path, local: Mosquitto) -> None:
    with mosquitto.running("hub.conf") as gone, mosquitto.running("hub.conf") as new:
        out = [{"topic": "moved/#"}]
        async with running_bridges(tmp_path, local) as site, hearing(new, "moved/#") as there:
            await site.apply(bridge("moved", remote=remote_of(gone), out=out))
            await eventually(lambda: site.is_connected("moved"))
            gone.kill()
            await say(local, numbers(20, "moved/n"))
            await eventually(lambda: site.way("out", "moved").waiting == 20)
            await site.apply(bridge("moved", remote=remote_of(new), out=out))
            await eventually(lambda: there.payloads == [b"%d" % number for number in range(20)])


async def test_what_a_rule_does_not_take_is_dropped_with_its_reason(
    tmp_path: Path, local: Mosquitto, remote: Mosquitto
) -> None:
    rules = [
        {"topic": "bad/dev-{device}/{rest#}", "to": "bad/{device}/{rest}", "maxPayload": 10},
    ]
    async with running_bridges(tmp_path, local) as site:
        await site.apply(bridge("bad", remote=remote_of(remote), out=rules))
        await eventually(lambda: site.is_connected("bad"))
        await say(local, [("bad/other/a", b"1"), ("bad/dev-1/a", b"x" * 11), ("bad/dev-1/b", b"1")])
        await eventually(lambda: site.way("out", "bad").received == 3)
        await eventually(lambda: site.way("out", "bad").sent == 1)
        assert site.way("out", "bad").dropped == {"NoRule": 1, "TooLarge": 1}


async def test_what_is_too_old_is_dropped_by_the_time_the_bridge_runs(tmp_path: Path, local: Mosquitto) -> None:
    with mosquitto.running("site.conf") as away:
        wanted = bridge("old", remote=remote_of(away), out=[{"topic": "old/#"}], buffer={"ttl": "1s"})
        async with running_bridges(tmp_path, local) as site:
            await site.apply(wanted)
            await eventually(lambda: site.is_connected("old"))
            away.stop()
            await say(local, numbers(5, "old/n"))
            await eventually(lambda: site.way("out", "old").dropped == {"Expired": 5})
            assert site.way("out", "old").waiting == 0


async def test_a_bridge_that_is_removed_leaves_neither_loop_nor_queue(
    tmp_path: Path, local: Mosquitto, remote: Mosquitto
) -> None:
    wanted = bridge("gone", remote=remote_of(remote), out=[{"topic": "gone/#"}])
    async with running_bridges(tmp_path, local) as site:
        await site.apply(wanted)
        await eventually(lambda: site.is_connected("gone"))
        assert (tmp_path / "gone.db").exists()
        await site.provider.remove(wanted.key, wanted.body)
        await eventually(lambda: not (tmp_path / "gone.db").exists())
        assert wanted.key not in site.bridges.states


@pytest.mark.invariant("commit-before-ack")
async def test_a_kill_of_the_process_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    with mosquitto.running("site.conf") as near, mosquitto.running("hub.conf") as far:
        async with running_bridges(tmp_path, near) as site:
            await site.apply(bridge(remote=remote_of(far), out=[{"topic": "devices/#"}], window=5))
            await eventually(site.is_connected)
        program = [sys.executable, "-m", "support.bridge_process", str(tmp_path), near.host, str(near.port)]
        async with hearing(far, "devices/#") as there:
            for turn in range(3):
                process = subprocess.Popen(program, cwd=Path(__file__).resolve().parents[1])
                try:
                    before = len(there.deliveries)
                    await say(near, numbers(400, start=400 * turn))
                    await eventually(lambda before=before: len(there.deliveries) > before + 20)
                finally:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
            async with running_bridges(tmp_path, near) as site:
                await eventually(lambda: {int(each) for each in there.payloads} == set(range(1200)))
                await eventually(lambda: site.way("out").waiting == 0)
                way = site.way("out")
                assert not way.dropped
                assert way.received == way.sent


def passwords(name: str, password: str) -> str:
    salt = b"twelve bytes"
    hashed = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return f"{name}:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(hashed).decode()}\n"


async def test_a_remote_with_tls_is_believed_by_its_authority_and_shown_a_password_or_a_certificate(
    tmp_path: Path, local: Mosquitto
) -> None:
    authority, folder = Authority(), tmp_path / "tls"
    server, client = authority.pair("127.0.0.1"), authority.pair("holdfast")
    folder.mkdir()
    texts = {"ca": authority.cert, "cert": server.cert, "key": server.key, "passwords": passwords("agent", "s3cret")}
    for name, text in texts.items():
        (folder / name).write_text(text)
    for each in (folder, *folder.parents[:3], *folder.iterdir()):
        each.chmod(0o755)
    port, mutual = mosquitto.free_port(), mosquitto.free_port()
    files = f"cafile {folder}/ca\ncertfile {folder}/cert\nkeyfile {folder}/key\n"
    extra = (
        f"per_listener_settings false\npassword_file {folder}/passwords\nlistener {port} 127.0.0.1\n{files}"
        f"listener {mutual} 127.0.0.1\n{files}require_certificate true\n"
    )
    keys = secret("keys", ca=authority.cert, cert=client.cert, key=client.key, word="s3cret", wrong="guess")
    ca = {"secret": "keys", "key": "ca"}
    login = {"username": "agent", "password": {"secret": "keys", "key": "word"}, "tls": {"ca": ca}}
    pair = {name: {"secret": "keys", "key": name} for name in ("cert", "key")}
    with mosquitto.running("hub.conf", extra=extra) as far:
        async with running_bridges(tmp_path / "b", local) as site, hearing(far, "safe/#") as there:
            out = [{"topic": "safe/#"}]
            await site.apply(bridge("word", remote={"host": "127.0.0.1", "port": port, **login}, out=out), keys)
            shown = {"host": "127.0.0.1", "port": mutual, "tls": {"ca": ca, **pair}}
            await site.apply(bridge("pair", remote=shown, out=out), keys)
            await eventually(lambda: site.is_connected("word") and site.is_connected("pair"))
            await say(local, [("safe/a", b"x" * 70_000)])
            await eventually(lambda: len(there.deliveries) == 2)
            wrong = {**login, "password": {"secret": "keys", "key": "wrong"}}
            refused = bridge("wrong", remote={"host": "127.0.0.1", "port": port, **wrong}, out=out)
            stranger = bridge("stranger", remote={"host": "127.0.0.1", "port": port, **login, "tls": {}}, out=out)
            await site.apply(refused, keys)
            await site.apply(stranger, keys)
            states = site.bridges.states
            for each, reason in ((refused, "Refused"), (stranger, "NotTrusted")):
                await eventually(lambda each=each: each.key in states, "its loop to begin")
                await eventually(lambda each=each, reason=reason: states[each.key].trouble()[0] == reason)
                seen = await site.look(each, keys)
                assert (seen.readiness, seen.reason) == ("degraded", reason)
                assert "guess" not in str(seen)
