"""Images from a bastion: Debian's docker-registry on loopback in the engine's own network."""

import base64
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import pytest

from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire.target import Resource
from support.containers import Site, container, labelled, pod_spec
from support.engine import IMAGE, OTHER_IMAGE, RealEngine, running_engine
from support.registry import running_registry

pytestmark = [pytest.mark.root, pytest.mark.anyio]
OPEN, CLOSED = "127.0.0.1:5000", "127.0.0.1:5001"
LOGIN = "site:$2b$05$CnKHVZH63RXEVHrxt4nmTuRArBHWZjIHf2snu6sRJtim8eLg8wGBm"  # password: hush


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealEngine]:
    with running_engine(bridge=True) as running:
        inside = ["nsenter", f"--net=/proc/{running.pid}/ns/net"]
        subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
        with (
            running_registry(tmp_path_factory.mktemp("open"), 5000, inside=inside),
            running_registry(tmp_path_factory.mktemp("closed"), 5001, inside=inside, login=LOGIN),
        ):
            yield running


@pytest.fixture
async def site(engine: RealEngine, tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(engine, tmp_path / "state")
    made.mirrors = {"docker.io": OPEN, "vendor.example": CLOSED}
    await made.restart_agent()
    yield made
    await made.close()
    engine.clear()
    for image in engine.client.images():
        for name in [*(image["RepoTags"] or ()), *(image["RepoDigests"] or ())]:
            if not name.startswith("holdfast.test/"):
                with suppress(docker.errors.ImageNotFound):  # a digest goes with the last tag of its name
                    engine.client.remove_image(name, force=True, noprune=True)


def pushed(engine: RealEngine, source: str, reference: str, **login: str) -> str:
    """Put an image into a registry, forget it at the engine, and return its digest."""
    engine.client.tag(source, reference)
    lines = list(engine.client.push(reference, stream=True, decode=True, auth_config=login or None))
    digest = next(str(line["aux"]["Digest"]) for line in lines if "aux" in line)
    engine.client.remove_image(reference)
    return digest


def using(image: str, **pod: Any) -> dict[str, Any]:
    spec = pod_spec(container(image=image)) | pod
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "vision"},
        "spec": {"template": labelled("vision", spec)},
    }


def pull_secret(registry: str) -> dict[str, Any]:
    auth = base64.b64encode(b"site:hush").decode()
    config = json.dumps({"auths": {f"https://{registry}": {"auth": auth}}})
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": "bastion"},
        "data": {".dockerconfigjson": base64.b64encode(config.encode()).decode()},
    }


async def test_a_pinned_image_comes_from_the_mirror_is_fetched_ahead_and_needs_no_registry_again(site: Site) -> None:
    digest = pushed(site.engine, IMAGE, f"{OPEN}/acme/vision:1")
    running = await site.apply(site.put(using(IMAGE)))
    assert running.as_wanted
    before = [each["Id"] for each in site.containers()]
    wanted = site.put(using(f"acme/vision@{digest}"))

    await site.provider_of(wanted).prepare(wanted, site.scope)

    assert [each["Id"] for each in site.containers()] == before, "what runs is not touched"
    assert not (await site.look(wanted)).as_wanted
    site.mirrors.clear()  # no registry any more: docker.io is out of reach here
    site.mirrors["docker.io"] = OPEN
    assert (await site.apply(wanted)).as_wanted
    [made] = site.containers()
    assert made["Image"] == site.engine.client.inspect_image(IMAGE)["Id"]
    await site.restart_agent()
    assert (await site.look(wanted)).as_wanted


async def test_a_digest_the_registry_does_not_have_is_refused_and_what_runs_goes_on(site: Site) -> None:
    pushed(site.engine, IMAGE, f"{OPEN}/acme/vision:1")
    await site.apply(site.put(using(IMAGE)))
    before = [each["Id"] for each in site.containers()]
    wrong = site.put(using(f"acme/vision@sha256:{'0' * 64}"))
    with pytest.raises(TransientError) as caught:
        await site.provider_of(wrong).prepare(wrong, site.scope)
    assert caught.value.reason == "ImageAbsent"
    with pytest.raises(TransientError):
        await site.apply(wrong)
    assert [each["Id"] for each in site.containers()] == before


async def test_a_tag_means_what_the_mirror_says_and_keeps_its_own_name(site: Site) -> None:
    pushed(site.engine, IMAGE, f"{OPEN}/library/moving:latest")
    wanted = site.put(using("moving"))
    assert (await site.apply(wanted)).as_wanted
    pushed(site.engine, OTHER_IMAGE, f"{OPEN}/library/moving:latest")
    await site.provider_of(wanted).prepare(wanted, site.scope)
    assert "image moving is" in (await site.look(wanted)).differences[0]
    assert (await site.apply(wanted)).as_wanted
    [made] = site.containers()
    assert made["Config"]["Image"] == "moving"
    assert site.engine.run_inside(made["Id"], "cat", "/etc/marker") == "2"


async def test_a_registry_with_a_login_gets_the_one_of_its_own_secret(site: Site) -> None:
    digest = pushed(site.engine, IMAGE, f"{CLOSED}/vision:1", username="site", password="hush")
    body = using(f"vendor.example/vision@{digest}", imagePullSecrets=[{"name": "bastion"}])
    wanted = site.put(body)
    with pytest.raises(Exception, match="Secret bastion is not in the site's target"):
        await site.apply(wanted)
    site.put(pull_secret("elsewhere.example"))
    with pytest.raises(TransientError, match="is not here"):
        await site.apply(wanted)
    site.put(pull_secret(CLOSED))
    seen = await site.apply(wanted)
    assert seen.as_wanted
    assert "hush" not in repr(seen)
    assert_never_told(site, wanted, "hush")


def assert_never_told(site: Site, wanted: Resource, secret: str) -> None:
    assert secret not in json.dumps(site.containers())
    assert secret not in wanted.digest
