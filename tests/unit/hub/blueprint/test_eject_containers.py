"""Containers of an ejected folder: words for docker, a file for docker compose, and what neither can say."""

import shlex
from itertools import pairwise
from typing import Any

import pytest
import yaml

from holdfast_hub.blueprint.eject import eject
from holdfast_hub.blueprint.leaving.engine_words import in_environment
from holdfast_hub.blueprint.leaving.folder import Folder
from support.blueprints import a_definition, an_instance, problems_of

POD = """
- id: web
  template:
    apiVersion: apps/v1
    kind: Deployment
    metadata: {{name: web}}
    spec:
      replicas: 2
      template:
        metadata: {{labels: {{app: web}}}}
        spec: {spec}
"""
SECRET = "- id: token\n  template: {apiVersion: v1, kind: Secret, metadata: {name: token}, stringData: {key: sesame}}\n"
SERVICE = """
- id: name
  template:
    apiVersion: v1
    kind: Service
    metadata: {name: shop}
    spec: {selector: {app: web}, ports: [{port: 80}]}
"""


def folder(spec: str, more: str = "") -> Folder:
    definition = a_definition(POD.format(spec=spec) + more)
    return eject(definition, an_instance(definition))


def words(made: Folder, container: str) -> list[str]:
    """Return the words the script gives a container's create call."""
    (line,) = [
        each for each in made.files["one/install.sh"].splitlines() if each.startswith(f"  container '{container}'")
    ]
    return shlex.split(line)


def services(made: Folder) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(made.files["one/docker-compose.yaml"])["services"]
    return found


def test_what_an_engine_would_be_asked_for_is_said_in_both_forms() -> None:
    made = folder(
        """{containers: [{name: app, image: "app:1", command: [run, "$(A)"], args: ["$5"], env: [{name: A, value: "$1"}],
        resources: {limits: {cpu: 1500m, memory: 1Mi}}, ports: [{containerPort: 80}], workingDir: /w,
        livenessProbe: {exec: {command: [ask]}, periodSeconds: 7}},
        {name: side, image: "side:1"}], initContainers: [{name: first, image: "app:1"}], securityContext: {runAsUser: 7}}"""
    )
    said = words(made, "one-web-1-app")
    pairs = set(pairwise(said))
    assert pairs >= {
        ("--env", "A=$1"),
        ("--cpus", "1.5"),
        ("--memory", "1048576"),
        ("--memory-swap", "1048576"),
        ("--user", "7"),
        ("--workdir", "/w"),
        ("--restart", "always"),
        ("--hostname", "web-1"),
        ("--expose", "80/tcp"),
    }
    assert said[-4:] == ["--", "app:1", "$1", "$5"]
    assert ("--network", "container:one-web-1-app") in set(pairwise(words(made, "one-web-1-side")))
    found = services(made)
    assert set(found) == {f"web-{n}-{each}" for n in (0, 1) for each in ("first", "app", "side")}
    app = found["web-1-app"]
    assert (app["command"], app["entrypoint"], app["environment"]) == (["$$5"], ["run", "$$1"], {"A": "$$1"})
    assert app["depends_on"] == {"web-1-first": {"condition": "service_completed_successfully"}}
    assert app["healthcheck"]["test"] == ["CMD", "ask"]
    assert app["healthcheck"]["interval"] == "7s"
    assert found["web-1-side"]["network_mode"] == "service:web-1-app"
    assert "failing restarts nothing" in made.files["one/docker-compose.yaml"]
    assert made.private == ()


def test_names_of_services_are_those_of_a_network_of_its_own() -> None:
    made = folder("{containers: [{name: app, image: 'app:1'}]}", SERVICE)
    assert "  network '" in made.files["one/install.sh"]
    said = words(made, "one-web-0-app")
    assert said[said.index("--network") + 1] == "one"
    assert "shop" in [said[at + 1] for at, each in enumerate(said) if each == "--network-alias"]
    assert "shop" in services(made)["web-0-app"]["networks"]["default"]["aliases"]


def test_a_secret_in_words_makes_the_script_private_and_one_in_a_variable_does_not() -> None:
    variable = "env: [{name: T, valueFrom: {secretKeyRef: {name: token, key: key}}}]"
    made = folder(f"{{containers: [{{name: app, image: a, {variable}}}]}}", SECRET)
    assert "sesame" not in made.files["one/install.sh"]
    assert made.files["one/secrets/environment/web-0-app/T"] == "sesame"
    assert made.modes["one/install.sh"] == 0o755
    for other in (f"{variable}, args: [$(T)]", variable.replace("name: T", "name: PATH")):
        made = folder(f"{{containers: [{{name: app, image: a, {other}}}]}}", SECRET)
        assert "sesame" in made.files["one/install.sh"]
        assert "one/install.sh" in made.private
    assert in_environment("TOKEN")
    assert not any(map(in_environment, ("PATH", "LD_PRELOAD", "DOCKER_HOST", "IFS", "ej_name", "my.key", "")))


def test_what_is_not_there_is_said_and_never_half_installed() -> None:
    made = folder("{containers: [{name: app, image: a, envFrom: [{configMapRef: {name: elsewhere}}]}]}")
    assert "container '" not in made.files["one/install.sh"]
    assert "one/docker-compose.yaml" not in made.files
    assert "Deployment/web: ConfigMap elsewhere is not in the site's target" in made.files["one/README.md"]


def test_what_docker_s_words_cannot_say_is_refused_with_its_place() -> None:
    definition = a_definition(POD.format(spec="{containers: [{name: app, image: a, command: ['']}]}"))
    (problem,) = problems_of(eject, definition, an_instance(definition))
    assert "first word is empty" in problem.message
    assert problem.line > 0


@pytest.mark.parametrize("kind", ["PubSubTopic", "CronJob"])
def test_what_no_script_can_make_is_named_with_the_reason(kind: str) -> None:
    pod = "{restartPolicy: Never, containers: [{name: a, image: a}]}"
    job = f"{{schedule: '@daily', jobTemplate: {{spec: {{template: {{spec: {pod}}}}}}}}}"
    version, spec = ("batch/v1", job) if kind == "CronJob" else ("cloud.example/v1", "{}")
    definition = a_definition(
        f"- id: x\n  template: {{apiVersion: {version}, kind: {kind}, metadata: {{name: x}}, spec: {spec}}}\n"
    )
    made = eject(definition, an_instance(definition))
    assert f"- {kind}/x: " in made.files["one/README.md"]
    assert "one/x.yaml" in made.files
