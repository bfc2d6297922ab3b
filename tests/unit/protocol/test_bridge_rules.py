"""Rules of bridges, without any broker: topics, loops, limits of brokers, presets, payloads."""

import json
from typing import Any

import pytest

from holdfast_protocol.bridging.filters import matches, overlaps
from holdfast_protocol.bridging.limits import LIMITS, fits_remote
from holdfast_protocol.bridging.loops import AGAIN, MAX_HOPS, SPAN, Rounds, came_back, hops, marked
from holdfast_protocol.bridging.payloads import payload_of
from holdfast_protocol.bridging.presets import PRESETS, filled
from holdfast_protocol.bridging.rules import chosen
from holdfast_protocol.errors import PermanentError, WireError
from holdfast_protocol.kinds import bridge, hub_bridge
from holdfast_protocol.kinds.bridge import Place, Wanted
from holdfast_protocol.wire.readings import Reading

HERE = Place("site-1", "node-1", "127.0.0.1", 1883)
REMOTE = {"host": "far.example"}


def wanted(place: Place | None = HERE, **spec: Any) -> Wanted:
    given = {"remote": REMOTE, **{key.rstrip("_"): value for key, value in spec.items()}}
    return bridge.wanted(given, "cloud", place)


def refusal(place: Place | None = HERE, **spec: Any) -> str:
    with pytest.raises((WireError, PermanentError)) as found:
        wanted(place, **spec)
    return str(found.value)


@pytest.mark.parametrize(
    ("rule", "topic", "made"),
    [
        ({"topic": "devices/#"}, "devices/a/b", "devices/a/b"),
        ({"topic": "devices/#"}, "devices", "devices"),
        ({"topic": "devices/#", "prefix": "x/"}, "devices/a", "x/devices/a"),
        ({"topic": "devices/#", "strip": "devices/", "prefix": "x/"}, "devices/a", "x/a"),
        ({"topic": "p/{area}/dev-{id}/{rest#}", "to": "{site}/{id}/{area}/{rest}"}, "p/a/dev-7/x/y", "site-1/7/a/x/y"),
        ({"topic": "p/{area}/dev-{id}/{rest#}", "to": "{id}"}, "p/a/other/x", None),
        ({"topic": "p/+/x", "to": "fixed/{node}"}, "p/a/x", "fixed/node-1"),
        ({"topic": "{site}/#"}, "site-1/a", "site-1/a"),
        ({"topic": "{site}/#"}, "site-2/a", None),
        ({"topic": "#"}, "$SYS/uptime", None),
        ({"topic": "$share/#"}, "$share/a", "$share/a"),
        ({"topic": "a/#", "strip": "a/"}, "a/", ""),
    ],
)
def test_a_topic_is_mapped_by_a_rule(rule: dict[str, Any], topic: str, made: str | None) -> None:
    (route,) = wanted(out=[rule]).out
    assert route.topic(topic) == made
    if made:
        assert matches(route.output, made)


def test_the_first_rule_that_fits_takes_a_message() -> None:
    want = wanted(out=[{"topic": "a/b", "prefix": "1/"}, {"topic": "a/#", "prefix": "2/"}])
    assert [(found := chosen(want.out, topic)) and found[1] for topic in ("a/b", "a/c", "b")] == [
        "1/a/b",
        "2/a/c",
        None,
    ]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({}, "spec.out[0].topic: which messages?"),
        ({"topic": "a/#/b"}, "spec.out[0].topic: level '#' is neither"),
        ({"topic": "a/{x}", "to": "b/{y}"}, "spec.out[0].to: {y} is none of the names there are: node, site, x"),
        ({"topic": "a/{x}", "to": "b/#"}, "spec.out[0].to: is a topic"),
        ({"topic": "a/{x}", "to": "b", "prefix": "c/"}, "spec.out[0].to: or strip and prefix"),
        ({"topic": "a/#", "strip": "b/"}, "spec.out[0].strip: is not what every topic"),
        ({"topic": "a/#", "strip": "a/#"}, "spec.out[0].strip: is not what every topic"),
        ({"topic": "a/#", "prefix": "+/"}, "spec.out[0].prefix: is plain text"),
        ({"topic": "a/#", "qos": 2}, "spec.out[0].qos: is 0 or 1"),
        ({"topic": "a/#", "maxPayload": 0}, "spec.out[0].maxPayload: must be 1 to"),
        ({"topic": "a/#", "name": "A b"}, "spec.out[0].name: lower-case"),
        ({"topic": "a" * 600}, "spec.out[0].topic: has at most 512"),
        ({"topic": "a/#", "colour": 1}, "unknown field `colour`"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_its_place(rule: dict[str, Any], said: str) -> None:
    assert said in refusal(out=[rule])


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, "spec.out: nothing goes over"),
        ({"in_": [{"source": "readings"}]}, "spec.in: readings only go out"),
        ({"out": [{"topic": "a"}], "values": {"site": "x"}}, "spec.values: 'site' is no name"),
        ({"out": [{"topic": "a"}], "values": {"x": "a/+"}}, "spec.values.x: is part of a topic"),
        ({"out": [{"topic": "a"}], "window": 0}, "spec.window: must be 1 to"),
        ({"out": [{"topic": "a"}], "buffer": {"bytes": "1"}}, "spec.buffer.bytes: must be 1Mi to"),
        ({"out": [{"topic": "a"}], "buffer": {"bytes": "x"}}, "spec.buffer.bytes:"),
        ({"out": [{"topic": "a"}], "buffer": {"messages": 0}}, "spec.buffer.messages:"),
        ({"out": [{"topic": "a"}], "buffer": {"ttl": "soon"}}, "spec.buffer.ttl:"),
        ({"preset": "sparkplug", "out": [{"topic": "a"}]}, "spec.out: a Sparkplug edge node says readings"),
        ({"out": [{"topic": "a"}], "remote": {"host": "a b"}}, "spec.remote.host:"),
        ({"out": [{"topic": "a"}], "remote": {"host": "a", "username": "u"}}, "spec.remote.password: and username"),
        ({"out": [{"topic": "a"}], "run": "hub", "remote": {"host": "a", "username": "u",
          "password": {"secret": "s", "key": "k"}}}, "spec.remote.password: at the hub, is a file there"),
    ],
)  # fmt: skip
def test_a_bridge_that_cannot_be_is_refused_with_its_place(spec: dict[str, Any], said: str) -> None:
    assert said in refusal(**spec)


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/c", False),
        ("a/+", "a/b", True),
        ("a/+", "+/b", True),
        ("a/#", "a", True),
        ("a/#", "b/#", False),
        ("#", "$SYS/a", False),
        ("$SYS/#", "$SYS/+", True),
        ("a/+/c", "a/b", False),
        ("a/b/#", "a/+", True),
        ("a/+", "a", False),
        ("+/+/c", "a/#", True),
    ],
)
def test_two_filters_overlap_when_a_topic_matches_both(one: str, other: str, meet: bool) -> None:
    assert overlaps(one, other) is overlaps(other, one) is meet


def test_rules_that_feed_each_other_are_refused_where_no_mark_can_stop_them() -> None:
    both = {"out": [{"topic": "a/#"}], "in_": [{"topic": "a/b"}]}
    assert wanted(**both), "MQTT 5 sends a client nothing of its own, and carries marks"
    old = {"host": "far.example", "version": "3.1.1"}
    assert "spec.out[0].topic: goes round: what it makes, a/#, is taken back by a/b" in refusal(**both, remote=old)
    assert "goes round" in refusal(**both, local={"host": "x", "version": "3.1.1"})
    assert wanted(out=[{"topic": "a/#", "prefix": "x/"}], in_=[{"topic": "a/b"}], remote=old)
    assert wanted(out=[{"topic": "a/#"}], remote=old)
    same = {"host": "127.0.0.1", "port": 1883}
    assert "both sides are one broker" in refusal(out=[{"topic": "a/#"}], remote=same)
    assert "goes round" in refusal(**both, remote=same)
    assert wanted(out=[{"topic": "a/#", "prefix": "x/"}], remote=same)


def test_a_message_carries_the_bridges_it_came_over_and_stops_where_it_was_or_has_come_too_far() -> None:
    assert hops(()) == ()
    assert hops((("other", "x"), ("holdfast-hops", "a/x,b/y"))) == ("a/x", "b/y")
    assert marked("a/x", "b/y") == "a/x,b/y"
    assert came_back(("a/x", "b/y"), "b/y")
    assert not came_back(("a/x",), "b/y")
    assert came_back(tuple(map(str, range(MAX_HOPS))), "b/y")
    assert came_back(hops((("holdfast-hops", "," * 5000),)), "b/y")


def test_the_same_message_over_and_over_goes_round_and_one_that_says_the_same_now_and_then_does_not() -> None:
    rounds = Rounds(remembered=10)
    assert not any(rounds.goes_round("a", b"1", 0.0) for _ in range(AGAIN))
    assert rounds.goes_round("a", b"1", 0.1)
    assert not rounds.goes_round("a", b"2", 0.1)
    assert not rounds.goes_round("a", b"1", SPAN + 0.1)
    slow = Rounds()
    assert not any(slow.goes_round("a", b"1", second / 5) for second in range(5000))
    for number in range(100):
        rounds.goes_round("a", b"%d" % number, 1.0)
    assert len(rounds._seen) <= 10


CASES: dict[str, list[tuple[dict[str, Any], dict[str, Any], str]]] = {  # product: passes, fails, at
    "aws-iot-core": [
        ({"out": [{"topic": "a/b/c/d/e/f/g/h"}]}, {"out": [{"topic": "a/b/c/d/e/f/g/h/i"}]}, "spec.out[0].topic"),
        ({"out": [{"topic": "a", "maxPayload": 131072}]}, {"out": [{"topic": "a", "maxPayload": 131073}]},
         "spec.out[0].maxPayload"),
        ({"out": [{"topic": "a", "to": "a" * 256}]}, {"out": [{"topic": "a", "to": "a" * 257}]}, "spec.out[0].to"),
        ({"in_": [{"topic": f"a/{n}"} for n in range(50)]}, {"in_": [{"topic": f"a/{n}"} for n in range(51)]}, "spec.in"),
        ({"window": 100}, {"window": 101}, "spec.window"),
        ({"remote": {"keepAlive": "20m"}}, {"remote": {"keepAlive": "21m"}}, "spec.remote.keepAlive"),
        ({"remote": {"keepAlive": "30s"}}, {"remote": {"keepAlive": "29s"}}, "spec.remote.keepAlive"),
        ({"remote": {"clientId": "a" * 128}}, {"remote": {"clientId": "a" * 129}}, "spec.remote.clientId"),
        ({}, {"remote": {"tls": None}}, "spec.remote.tls"),
    ],
    "azure-iot-hub": [
        ({}, {"remote": {"version": "5"}}, "spec.remote.version"),
        ({}, {"out": [{"topic": "a", "retain": "clear"}]}, "spec.out[0].topic"),
        ({"window": 16}, {"window": 17}, "spec.window"),
        ({"remote": {"keepAlive": "19m"}}, {"remote": {"keepAlive": "20m"}}, "spec.remote.keepAlive"),
    ],
    "azure-event-grid": [
        ({}, {"out": [{"topic": "a", "retain": "keep"}]}, "spec.out[0].retain"),
        ({}, {"out": [{"topic": "a", "retain": "set"}]}, "spec.out[0].retain"),
        ({"remote": {"keepAlive": "1160s"}}, {"remote": {"keepAlive": "1161s"}}, "spec.remote.keepAlive"),
    ],
    "azure-web-pubsub": [({}, {"remote": {"tls": None}}, "spec.remote.tls")],
}  # fmt: skip
FINE: dict[str, dict[str, Any]] = {
    "azure-iot-hub": {
        "remote": {"version": "3.1.1"},
        "window": 16,
        "out": [{"topic": "a", "to": "devices/d1/messages/events/", "retain": "clear", "maxPayload": 1000}],
    },
}


def product_spec(product: str, more: dict[str, Any]) -> dict[str, Any]:
    fine = FINE.get(product, {})
    rules = [{"retain": "clear", "maxPayload": 1000, **each} for each in more.get("out", [])]
    spec = {"out": [{"topic": "a", "retain": "clear", "maxPayload": 1000}], "broker": product, **fine, **more}
    if rules:
        spec["out"] = rules
    spec["remote"] = {**REMOTE, "tls": {}, **fine.get("remote", {}), **more.get("remote", {})}
    return spec


@pytest.mark.parametrize(
    ("product", "passes", "fails", "at"),
    [(product, *case) for product, cases in CASES.items() for case in cases],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_broker_does_not_take_is_refused_at_its_place_and_what_is_just_within_is_not(
    product: str, passes: dict[str, Any], fails: dict[str, Any], at: str
) -> None:
    assert wanted(**product_spec(product, passes))
    with pytest.raises(PermanentError) as found:
        wanted(**product_spec(product, fails))
    assert at in [problem.path for problem in found.value.problems]
    assert all(problem.message for problem in found.value.problems)


def test_every_product_has_a_source_and_its_cases() -> None:
    assert set(CASES) == set(LIMITS)
    assert all(each.source.startswith("https://") for each in LIMITS.values())


def test_what_a_broker_only_does_not_do_as_meant_is_a_warning() -> None:
    want = wanted(**product_spec("aws-iot-core", {"in_": [{"topic": "orders/#"}], "out": [{"topic": "a/#"}]}))
    said = {".".join(map(str, each.path)): each.message for each in want.warnings}
    assert all(each.warning for each in want.warnings)
    assert "keeps a session for 3600 s" in said["spec.in"]
    assert "100 messages a second" in said["spec.out"]
    assert "may have more" in said["spec.out.0.topic"]


def test_a_message_over_its_brokers_limits_is_known_before_it_is_sent() -> None:
    assert fits_remote("", "a" * 999, b"x" * 10**6) == ""
    assert fits_remote("aws-iot-core", "a/b/c/d/e/f/g/h", b"x" * 131_072) == ""
    assert fits_remote("aws-iot-core", "a/b/c/d/e/f/g/h/i", b"") == "BadTopic"
    assert fits_remote("aws-iot-core", "$aws/rules/r/a/b/c/d/e/f/g/h", b"") == ""
    assert fits_remote("aws-iot-core", "a", b"x" * 131_073) == "TooLarge"


def rules(preset: str, **more: Any) -> dict[str, Any]:
    made = filled({"remote": REMOTE, "preset": preset, **more})
    return {"out": made.get("out"), "in": made.get("in")}


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_preset_is_rules_filled_in(preset: str) -> None:
    spec: dict[str, Any] = {"remote": REMOTE, "preset": preset}
    same = {**filled(spec), "preset": preset if preset == "sparkplug" else ""}
    assert [r.output for r in bridge.wanted(same, "a", HERE).out] == [
        r.output for r in bridge.wanted(spec, "a", HERE).out
    ]
    assert rules(preset) == {key: list(PRESETS[preset][key]) for key in ("out", "in")}


def test_everything_in_a_preset_can_be_overridden() -> None:
    made = rules("generic", out=[{"topic": "x/#"}, {"name": "devices", "qos": 0}])
    assert made["out"] == [{"topic": "x/#"}, {**PRESETS["generic"]["out"][0], "qos": 0}]
    want = wanted(preset="generic", in_=[{"name": "commands", "off": True}])
    assert (len(want.out), len(want.into)) == (1, 0)
    assert "changed twice" in refusal(preset="generic", out=[{"name": "devices"}, {"name": "devices"}])
    uns = wanted(preset="unified-namespace", values={"path": "acme/{label.area}/{site}", "label.area": "press"})
    assert uns.out[0].topic("p1/temp/a") == "acme/press/site-1/p1/temp/a"
    assert wanted(preset="unified-namespace").out[0].topic("p1/temp") == "site-1/p1/temp"


def test_the_presets_of_thin_edge_and_ditto_say_their_topics() -> None:
    thin, ditto = wanted(preset="thin-edge"), wanted(preset="ditto", values={"namespace": "org.acme"})
    assert thin.out[0].topic("p1/temp") == "te/device/p1///m/temp"
    assert thin.into[0].topic("te/device/p1///cmd/restart/1") == "te/device/p1///cmd/restart/1"
    assert ditto.out[0].topic("p1/temp") == "ditto/site-1/p1"
    assert ditto.into[0].topic("ditto/site-1/p1/messages/start") == "ditto/p1/start"


def test_a_reading_is_said_in_the_form_its_reader_knows() -> None:
    reading = Reading("p1", "motor/temp", 1_700_000_000_123, 21.5, "Cel", "bad")

    def said(form: Any) -> Any:
        return json.loads(payload_of(reading, form, "org.acme"))

    assert said("value") == 21.5
    assert said("reading") == {
        "device": "p1", "metric": "motor/temp", "time": 1_700_000_000_123, "value": 21.5, "unit": "Cel", "quality": "bad",
    }  # fmt: skip
    assert said("thin-edge") == {"time": "2023-11-14T22:13:20.123Z", "motor/temp": 21.5}
    envelope = said("ditto")
    assert envelope["topic"] == "org.acme/p1/things/twin/commands/merge"
    assert envelope["path"] == "/features/motor.temp/properties"
    assert envelope["value"] == {"value": 21.5, "time": "2023-11-14T22:13:20.123Z", "unit": "Cel", "quality": "bad"}
    assert payload_of(Reading("p", "m", 1, float("nan")), "value", "") == b"null"
    assert json.loads(payload_of(Reading("p", "m", 2**53, "x"), "thin-edge", ""))["m"] == "x"


@pytest.mark.parametrize("rules", [{"out": [{"topic": "#"}]}, {"in_": [{"topic": "x/#", "strip": "x/"}]}])
def test_no_bridge_of_the_hub_takes_or_makes_the_fleets_own_messages(rules: dict[str, Any]) -> None:
    given = {"remote": REMOTE, "run": "hub", **{key.rstrip("_"): value for key, value in rules.items()}}
    with pytest.raises(WireError, match="the fleet's own topics"):
        hub_bridge.at_hub(given, "a")
    hub_bridge.at_hub({**given, "local": {"host": "x.example"}}, "a")


def test_at_the_hub_readings_bring_their_site_and_its_labels() -> None:
    want = wanted(None, run="hub", out=[{"source": "readings", "to": "{site}/{label.area}/{device}/{metric}"}])
    about = {"site": "press-01", "node": "n", "label.area": "hall"}
    assert want.out[0].topic("p1/a/b", about) == "press-01/hall/p1/a/b"
    assert want.out[0].topic("p1/a", {"site": "s", "node": "n"}) == "s/_/p1/a"
    assert "{site} is none of the names" in refusal(None, run="hub", out=[{"topic": "a", "to": "{site}"}])
