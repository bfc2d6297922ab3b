"""What happens to broker and hub, and what it may cost: nothing at the sites, and every reading accounted for."""

import base64
import shutil
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from holdfast_protocol.wire import batch, envelope, strict, target, topics
from holdfast_protocol.wire.topics import Address
from support import slice as slices
from support import tap
from support.slice import SITE, Slice
from support.waiting import until


def generation_of(sealed: bytes) -> int:
    """Return the generation of a target, unverified; 0 for nothing."""
    return int(strict.decode(_payload(sealed), target.Target, limit=1 << 22).generation) if sealed else 0


def _payload(sealed: bytes) -> bytes:
    return base64.b64decode(__import__("json").loads(sealed)["payload"])


def test_a_broker_wiped_while_everybody_runs_is_given_its_targets_again_and_the_site_notices_nothing(
    tmp_path: Path,
) -> None:
    with slices.running(tmp_path) as whole:
        before = whole.identity()
        whole.broker.wipe()
        until(lambda: tap.retained(whole.broker.port, whole.target_topic), 30, "the target to be retained again")
        assert generation_of(tap.retained(whole.broker.port, whole.target_topic)) == 1
        until(lambda: whole.state() == "Converged", 30, "the site to be heard of again")
        assert whole.identity() == before
        whole.apply("two")
        whole.converged("two")
        assert whole.identity()[0] == before[0], "what did not change was not touched"


def test_a_broker_wiped_while_the_hub_is_down_is_given_what_the_hub_has_committed(tmp_path: Path) -> None:
    with slices.running(tmp_path) as whole:
        before = whole.identity()
        whole.agent.kill()
        assert whole.apply("two") == 2
        whole.hub.kill()
        whole.broker.wipe()
        whole.agent.start()
        until(lambda: (whole.status().get("link") or {}).get("doing") == "connected", 30, "the agent at the empty broker")
        assert whole.identity() == before, "a missing target removes nothing"
        whole.hub.start()
        whole.hub.ready()
        whole.converged("two")
        assert whole.identity()[0] == before[0]
        assert generation_of(tap.retained(whole.broker.port, whole.target_topic)) == 2


def test_a_broker_put_back_to_an_old_state_takes_no_site_back_and_is_put_right_by_the_hub(tmp_path: Path) -> None:
    with slices.running(tmp_path) as whole:
        whole.broker.stop()
        old = tmp_path / "old.db"
        shutil.copy(whole.broker.store, old)
        whole.broker.start()
        assert whole.apply("two") == 2
        whole.converged("two")
        before = whole.identity()
        whole.broker.kill()
        shutil.copy(old, whole.broker.store)
        whole.broker.start()
        until(lambda: "Stale" in whole.refusals(), 30, "the site to refuse the older target and say so")
        until(
            lambda: generation_of(tap.retained(whole.broker.port, whole.target_topic)) == 2,
            30,
            "the hub to put the newest target in its place",
        )
        until(lambda: not whole.problems(), 30, "the site to have no problem any more")
        assert whole.identity() == before
        assert whole.state() == "Converged"
