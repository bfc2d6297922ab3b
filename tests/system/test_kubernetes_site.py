"""Manifests handed to a site's own API server on a booted machine: the server is a stand-in (docs/limits.md)."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from support import cluster as api
from support.booted import Booted, booted
from support.waiting import HANGS_S, until

pytestmark = pytest.mark.root
MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    folder = tmp_path_factory.mktemp("cluster")
    options = ("--kubernetes", api.URL)
    with booted(folder, "press-01", *options, before=partial(api.install, folder=folder)) as site:
        yield site


def ask(site: Booted, path: str, method: str = "GET", body: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """Ask the server as a person with curl would; None for what is not there."""
    said = site.machine.run(["ask-cluster", path, method, json.dumps(body) if body else ""]).stdout
    found: dict[str, Any] | None = json.loads(said)
    return found


def cluster(*manifests: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"kind": "Kubernetes", "name": "shop", "spec": {"manifests": list(manifests), **more}}


def config(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "till", "namespace": "shop"},
    "spec": {"replicas": 2, "cpu": "1000m"},
}


def test_manifests_are_applied_changed_repaired_and_pruned(site: Booted) -> None:
    site.give(cluster(config("colours", sky="blue", grass="green"), config("spare", a="b")))
    site.settled()
    found = ask(site, f"{MAPS}/colours")
    assert found is not None
    assert found["data"] == {"sky": "blue", "grass": "green"}

    ask(site, f"{MAPS}/colours", "PUT", found | {"data": {"sky": "red", "grass": "green", "sea": "deep"}})

    def data() -> object:
        return (ask(site, f"{MAPS}/colours") or {}).get("data")

    until(lambda: data() == {"sky": "blue", "grass": "green", "sea": "deep"}, HANGS_S, "our field alone to come back")
    ask(site, f"{MAPS}/colours", "DELETE")
    until(lambda: data() == {"sky": "blue", "grass": "green"}, HANGS_S, "the object to come back")

    site.give(cluster(config("colours", sky="grey")))
    site.settled()
    assert data() == {"sky": "grey"}
    assert ask(site, f"{MAPS}/spare") is None
    site.give()
    site.given_back()
    assert ask(site, f"{MAPS}/colours") is None


@pytest.mark.invariant("only-owned-things-are-removed")
def test_an_object_that_was_there_keeps_what_others_said_of_it(site: Booted) -> None:
    theirs = config("legacy", owner="them") | {"metadata": {"name": "legacy", "uid": "u1", "generation": 1}}
    ask(site, f"{MAPS}/legacy", "PUT", theirs)
    site.give(cluster(config("legacy", owner="us")))
    said = site.says("Kubernetes/shop", "FieldConflict")
    assert "force: true" in said["hint"]
    site.give(cluster(config("legacy", ours="yes")))
    site.settled()
    assert (ask(site, f"{MAPS}/legacy") or {})["data"] == {"owner": "them", "ours": "yes"}
    site.give()
    site.given_back()
    assert (ask(site, f"{MAPS}/legacy") or {})["data"] == {"owner": "them"}


def test_readiness_is_what_the_object_s_controller_says(site: Booted) -> None:
    site.give(cluster(DEPLOYMENT, config("colours", sky="blue"), force=True))
    site.says("Kubernetes/shop", "Ready AsWanted")
    found = ask(site, f"{DEPLOYMENTS}/till")
    assert found is not None
    assert found["spec"]["cpu"] == "1", "what the server makes of a value is no difference"
    status = {"observedGeneration": 1, "readyReplicas": 1, "updatedReplicas": 2}
    ask(site, f"{DEPLOYMENTS}/till", "PUT", found | {"status": status})
    assert "1 of 2 ready" in site.says("Kubernetes/shop", "Progressing Replicas")["message"]
    bad = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "no image"}
    ask(site, f"{DEPLOYMENTS}/till", "PUT", found | {"status": {**status, "conditions": [bad]}})
    assert site.says("Kubernetes/shop", "Degraded")["reason"] == "ProgressDeadlineExceeded"
    ask(site, f"{DEPLOYMENTS}/till", "PUT", found | {"status": {**status, "readyReplicas": 2}})
    site.settled()

    site.machine.run(["systemctl", "stop", "cluster"])
    site.says("Kubernetes/shop", "ApiDown")
    site.machine.run(["systemctl", "start", "cluster"])  # it has forgotten everything
    site.says("Kubernetes/shop", "Ready AsWanted")
    site.give()
    site.given_back()
