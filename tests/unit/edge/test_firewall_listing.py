"""Two listings of one table are equal unless somebody edited it."""

import json
from typing import Any

import pytest

from holdfast_edge.providers.firewall.listing import listing_digest
from holdfast_protocol.errors import TransientError

RULE = {"rule": {"handle": 4, "expr": [{"counter": {"packets": 0, "bytes": 0}}, {"accept": None}]}}
NAMED = {"set": {"name": "web", "handle": 3, "elem": [80, 443]}}


def digest(*parts: Any) -> str:
    return listing_digest(json.dumps({"nftables": [{"metainfo": {"version": "1"}}, *parts]}).encode())


def test_traffic_numbers_and_the_order_of_a_hash_are_no_edit() -> None:
    counted = {"rule": {"handle": 9, "expr": [{"counter": {"packets": 7, "bytes": 70}}, {"accept": None}]}}
    assert digest(RULE, NAMED) == digest(counted, {"set": NAMED["set"] | {"elem": [443, 80]}})


def test_what_packets_put_into_a_set_is_no_edit() -> None:
    meter = {"set": {"name": "seen", "flags": ["dynamic", "timeout"], "elem": ["10.0.0.1"]}}
    assert digest(meter) == digest({"set": meter["set"] | {"elem": ["10.0.0.2"]}})


@pytest.mark.parametrize(
    "edited",
    [
        (RULE,),
        (RULE, NAMED, RULE),
        (NAMED, RULE),
        (RULE, {"set": NAMED["set"] | {"elem": [80]}}),
        ({"rule": {"handle": 4, "expr": [{"accept": None}]}}, NAMED),
        ({"rule": RULE["rule"] | {"comment": "x"}}, NAMED),
    ],
)
def test_every_edit_is_one(edited: tuple[Any, ...]) -> None:
    assert digest(*edited) != digest(RULE, NAMED)


@pytest.mark.parametrize("output", [b"", b"{}", b"[]", b'{"nftables": 1}', b"\xff"])
def test_something_else_than_a_listing_is_said_to_be_that(output: bytes) -> None:
    with pytest.raises(TransientError) as caught:
        listing_digest(output)
    assert caught.value.reason == "BadListing"
