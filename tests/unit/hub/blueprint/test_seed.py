"""The example of the original documents, byte for byte as printed there (tests/data/seed)."""

from pathlib import Path

import yaml

from holdfast_hub.blueprint.eject import eject
from holdfast_hub.blueprint.instance import Instance, check_instance
from holdfast_hub.blueprint.render import render
from holdfast_hub.core.selectors import Requirement
from holdfast_protocol.blueprint.definition import Definition, check_blueprint
from holdfast_protocol.blueprint.documents import read_documents

SEED = Path(__file__).parents[3] / "data" / "seed"


def the_seed() -> tuple[Definition, Instance]:
    (blueprint,) = read_documents((SEED / "quality-system.yaml").read_text(), "quality-system.yaml")
    (document,) = read_documents((SEED / "west-europe.yaml").read_text(), "west-europe.yaml")
    definition = check_blueprint(blueprint).value
    return definition, check_instance(definition, document).value


def test_it_is_accepted_and_warns_once_about_its_image_and_where() -> None:
    blueprint, document = read_documents((SEED / "both.yaml").read_text(), "both.yaml")
    definition = check_blueprint(blueprint)
    checked = check_instance(definition.value, document)
    (cloud,) = definition.warnings
    assert cloud.path == "spec.resources[1].template.kind"
    assert "PubSubTopic: it is kept, and reported Unsupported" in cloud.message
    (warning,) = checked.warnings
    assert (warning.severity, warning.file, warning.line, warning.path) == ("warning", "both.yaml", 55, "spec.image")
    assert "variant-A" in warning.message


def test_one_file_with_both_documents_means_the_same_as_two_files() -> None:
    definition, instance = the_seed()
    blueprint, document = read_documents((SEED / "both.yaml").read_text())
    together = check_blueprint(blueprint).value
    assert render(together, check_instance(together, document).value) == render(definition, instance)


def test_its_name_is_the_spec_name_and_its_placement_the_platforms() -> None:
    _, instance = the_seed()
    assert (instance.name, instance.kind) == ("west-europe", "QualityInspection")
    assert "placement" not in instance.values
    assert instance.placement is not None
    assert instance.placement.field_selector == (Requirement("zone", "In", ("west-europe",)),)


def test_it_renders_its_three_resources_with_typed_values() -> None:
    deployment, cloud, driver = render(*the_seed())
    assert deployment.body["spec"]["replicas"] == 2
    assert deployment.body["metadata"] == {"name": "west-europe"}
    assert cloud.body["metadata"]["name"] == "west-europe-topic"
    assert driver.body["apiVersion"] == "compute.start-alpha.io/v1alpha1"
    assert driver.body["spec"]["unit"].startswith("[Unit]\nDescription=Camera Driver\n")


def test_it_ejects_to_the_files_printed_and_the_cloud_resources_manifest() -> None:
    files = eject(*the_seed()).files
    printed = {"west-europe/deployment.yaml", "west-europe/otel-config.yaml", "west-europe/camera-driver.unit"}
    more = {"west-europe/install.sh", "west-europe/README.md", "west-europe/docker-compose.yaml"}
    assert set(files) == printed | more | {"west-europe/cloud.yaml"}
    comment, unit = files["west-europe/camera-driver.unit"].split("\n", 1)
    assert comment.startswith("# Install as /etc/systemd/system/west-europe-driver.service")
    assert unit == render(*the_seed())[2].body["spec"]["unit"]
    manifest = yaml.safe_load(files["west-europe/deployment.yaml"])
    assert manifest["spec"]["replicas"] == 2
    assert manifest["spec"]["selector"]["matchLabels"] == manifest["spec"]["template"]["metadata"]["labels"]
