"""A site accepts only a newer target, meant for it, signed for it, that it understands whole."""

from typing import Any

import msgspec
import pytest

from holdfast_protocol.errors import WireError
from holdfast_protocol.wire import digest, envelope, strict, target
from holdfast_protocol.wire.names import FleetName, SiteName
from holdfast_protocol.wire.program import MAX_BYTES, MAX_PROGRAMS, Program, ProgramInstance, merged
from support.builders import HUB, STRANGER, a_target, expected, file_body


def refusal(data: bytes, accepts: target.Expected) -> str:
    with pytest.raises(WireError) as caught:
        target.open_target(data, accepts)
    return caught.value.reason


def sealed(value: target.Target) -> bytes:
    return target.seal(value, [HUB])


def resealed(change: dict[str, object]) -> bytes:
    """Return a target whose payload was changed and signed again by the hub's own key."""
    payload = {**strict.parse(strict.encode(a_target()), limit=100_000), **change}
    return envelope.seal(target.KIND, strict.encode(payload), [HUB])


def test_a_first_target_is_accepted_whole() -> None:
    assert target.open_target(sealed(a_target()), expected()) == a_target()


def test_the_same_target_again_is_accepted_as_a_redelivery() -> None:
    assert target.open_target(sealed(a_target()), expected(held=a_target())) == a_target()


@pytest.mark.invariant("target-never-goes-back")
def test_an_older_target_is_refused() -> None:
    assert refusal(sealed(a_target(generation=4)), expected(held=a_target(generation=5))) == "Stale"


@pytest.mark.invariant("target-never-goes-back")
def test_a_lower_epoch_is_refused_however_high_its_generation() -> None:
    accepts = expected(held=a_target(epoch=2, generation=1), epochs={HUB.keyid: 1, "next": 2})
    assert refusal(sealed(a_target(epoch=1, generation=99)), accepts) == "Stale"


def test_two_contents_under_one_generation_are_an_equivocation() -> None:
    other = a_target(file_body(content="other\n"))
    assert refusal(sealed(other), expected(held=a_target())) == "Equivocation"


def test_another_site_s_and_another_fleet_s_targets_are_refused() -> None:
    assert refusal(sealed(a_target(site=SiteName("press-02"))), expected()) == "WrongSite"
    assert refusal(sealed(a_target(fleet=FleetName("rival"))), expected()) == "WrongSite"


def test_an_unknown_signer_is_refused() -> None:
    assert refusal(target.seal(a_target(), [STRANGER]), expected()) == "BadSignature"


def test_an_epoch_nobody_introduced_is_refused() -> None:
    assert refusal(sealed(a_target(epoch=7)), expected()) == "BadEpoch"


def test_what_is_not_understood_whole_is_refused() -> None:
    assert refusal(resealed({"surprise": 1}), expected()) == "BadShape"
    assert refusal(resealed({"v": 2}), expected()) == "UnknownVersion"
    content = target.Content(requires=("teleport/v1",))
    assert refusal(sealed(a_target(content=content)), expected()) == "MissingFeature"


def test_a_content_that_does_not_have_its_digest_is_refused() -> None:
    assert refusal(resealed({"digest": digest.digest("other")}), expected()) == "BadDigest"


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "File", "metadata": {"name": "x"}},
        {"apiVersion": "v1", "kind": "File", "metadata": {}},
        {"apiVersion": "v1", "kind": "File", "metadata": {"name": 5}},
        {"apiVersion": "v1", "kind": "File", "metadata": {"name": "x"}, "spec": []},
    ],
)
def test_a_resource_without_identity_is_refused(body: dict[str, object]) -> None:
    each = target.Resource(key=target.resource(file_body()).key, digest=digest.digest(body), body=body)
    assert refusal(sealed(a_target(content=target.Content(resources=(each,)))), expected()) == "BadResource"


def test_a_resource_under_another_s_key_is_refused() -> None:
    good = target.resource(file_body())
    renamed = msgspec.structs.replace(good, key=target.resource(file_body("other")).key)
    for resources in ((renamed,), (good, good)):
        assert refusal(sealed(a_target(content=target.Content(resources=resources))), expected()) == "BadResource"


def test_the_digest_says_what_a_site_should_be_and_not_when_it_was_said() -> None:
    assert a_target(generation=1).digest == a_target(generation=2, issued_at=5).digest


def a_program(owner: str = "App/one", **fields: Any) -> Program:
    instances = (ProgramInstance(owner, {"spec": {}}),)
    return Program(**{"blueprint": "app", "revision": 1, "definition": {"spec": {}}, "instances": instances, **fields})


@pytest.mark.parametrize(
    ("programs", "reason"),
    [
        ((a_program(), a_program(revision=2)), "BadProgram"),
        ((a_program(definition={"spec": 1}),), "BadProgram"),
        ((a_program(definition={"spec": {"x": "y" * MAX_BYTES}}),), "TooLarge"),
        (tuple(a_program(f"App/a{number}") for number in range(MAX_PROGRAMS + 1)), "TooLarge"),
    ],
)
def test_programs_that_cannot_be_taken_whole_are_refused(programs: tuple[Program, ...], reason: str) -> None:
    content = target.Content(requires=("programs/v1",), programs=programs)
    assert refusal(sealed(a_target(content=content)), expected()) == reason


def test_programs_of_one_definition_are_one_and_their_order_is_of_their_names() -> None:
    one, two, other = a_program("App/one"), a_program("App/two"), a_program("App/three", revision=2)
    (first, second) = merged([two, other, one])
    assert [each.owner for each in first.instances] == ["App/one", "App/two"]
    assert second == other
    assert merged([one, two, other]) == (first, second)
