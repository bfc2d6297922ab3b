"""One site's target of 50 resources: an instance checked and rendered, and the target composed from it with its digest."""

import time

from bench.blueprints import blueprint_of, instance_of
from bench.report import Figure, median
from holdfast_hub.blueprint.instance import check_instance
from holdfast_hub.core.target import Contribution, compose
from holdfast_hub.operations.instance_rows import rendered_resources
from holdfast_protocol.blueprint.definition import check_blueprint
from holdfast_protocol.blueprint.documents import read_documents

RESOURCES, RUNS = 50, 41


def run() -> list[Figure]:
    (document,) = read_documents(blueprint_of(RESOURCES), "blueprint.yaml")
    definition = check_blueprint(document).value
    (written,) = read_documents(instance_of("one", 1), "instance.yaml")
    took, checked = [], []
    for _ in range(RUNS):
        began = time.perf_counter()
        instance = check_instance(definition, written).value
        resources = rendered_resources(definition, instance, 1)
        composed = compose([Contribution("Bench/one", resources)])
        took.append((time.perf_counter() - began) * 1000)
        assert len(resources) == RESOURCES
        assert composed.digest
        began = time.perf_counter()
        check_blueprint(document)
        checked.append((time.perf_counter() - began) * 1000)
    return [
        Figure("render_50_ms", median(took), "ms", "< 10"),
        Figure("check_blueprint_50_ms", median(checked), "ms"),
    ]
