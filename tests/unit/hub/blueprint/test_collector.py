"""A collector's configuration: ours is whole, and what is wrong with the structure of any is said."""

from typing import Any

import pytest

from holdfast_hub.blueprint.collector import collector_config, flaws, flaws_of_text
from holdfast_hub.blueprint.eject import eject
from support.blueprints import a_definition, an_instance

GOOD: dict[str, Any] = {
    "receivers": {"otlp": None},
    "exporters": {"debug": {}},
    "connectors": {"spanmetrics": {}},
    "service": {
        "pipelines": {
            "traces": {"receivers": ["otlp"], "exporters": ["spanmetrics"]},
            "metrics/1": {"receivers": ["spanmetrics"], "exporters": ["debug"]},
        }
    },
}


@pytest.mark.parametrize("units", [[], ["a.service"]])
@pytest.mark.parametrize("containers", [True, False])
def test_the_one_that_is_written_names_only_what_it_has(units: list[str], containers: bool) -> None:
    assert flaws(collector_config("b", "i", units=units, containers=containers)) == []


def test_connectors_may_stand_on_both_sides() -> None:
    assert flaws(GOOD) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"receivers": {}}, "service.pipelines.traces.receivers: otlp is not among receivers"),
        ({"exporters": None}, "service.pipelines.metrics/1.exporters: debug is not among exporters"),
        ({"receivers": []}, None),
        ({"receivers": ["otlp"]}, "receivers is no map"),
        ({"service": {}}, "service.pipelines has none"),
        (
            {"service": {"pipelines": {"sounds": {}}}},
            "service.pipelines.sounds: is not traces, metrics, logs or profiles",
        ),
        ({"service": {"pipelines": {"logs": {"receivers": "otlp"}}}}, "service.pipelines.logs.receivers is no list"),
        ({"service": {"pipelines": {"logs": 5}}}, "service.pipelines.logs.exporters is no list"),
        (
            {"service": {**GOOD["service"], "extensions": ["zpages"]}},
            "service.extensions: zpages is not among extensions",
        ),
    ],
)
def test_what_is_named_and_not_there_is_said(change: dict[str, Any], said: str | None) -> None:
    found = flaws({**GOOD, **change})
    assert found
    if said:
        assert said in found


@pytest.mark.parametrize("text", ["", "receivers: [", "a: b", "receivers: {}\n", "receivers:\n---\nexporters:\n", "5"])
def test_other_files_are_none_of_its_business(text: str) -> None:
    assert flaws_of_text(text) == []


def test_a_file_with_a_broken_one_is_warned_of_with_its_place() -> None:
    content = "receivers: {otlp: {}}\\nexporters: {}\\nservice: {pipelines: {logs: {receivers: [otlp], exporters: [otlp]}}}\\n"
    definition = a_definition(
        "- id: c\n  template: {apiVersion: holdfast.io/v1alpha1, kind: File, metadata: {name: c}, spec: "
        f'{{path: /srv/c, content: "{content}"}}}}\n'
    )
    (warning,) = eject(definition, an_instance(definition)).warnings
    assert "service.pipelines.logs.exporters: otlp is not among exporters" in warning.message
    assert (warning.severity, warning.line > 0) == ("warning", True)
