"""Plain Kubernetes manifests as a blueprint of one."""

from typing import Any

import pytest

from holdfast_hub.blueprint.instance import check_instance
from holdfast_hub.blueprint.plain import Words, as_blueprint, is_plain, manifests_kind
from holdfast_hub.blueprint.render import render
from holdfast_protocol.blueprint.definition import check_blueprint
from holdfast_protocol.blueprint.documents import Document, read_documents
from holdfast_protocol.errors import InputError

WEST = Words(selector="zone=west")
CONFIG = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: web
  creationTimestamp: null
  labels: {app: web}
data:
  run.sh: |
    echo "${HOME} $${PATH} ${" '$${'
    exit 0
  empty: ""
  number: "012"
"""


def bodies(text: str, words: Words = WEST, file: str = "web.yaml") -> list[dict[str, Any]]:
    blueprint, instance = as_blueprint(read_documents(text, file), words)
    for made in (blueprint, instance):
        (again,) = read_documents(made.text)
        assert again.value == made.value, "what is stored is what was checked"
    definition = check_blueprint(blueprint).value
    return [each.body for each in render(definition, check_instance(definition, instance).value)]


def problems(text: str, words: Words = WEST, file: str = "web.yaml") -> list[str]:
    with pytest.raises(InputError) as caught:
        as_blueprint(read_documents(text, file), words)
    return [each.message for each in caught.value.problems]


def test_a_manifest_comes_out_as_it_went_in_but_for_what_a_cluster_says() -> None:
    (body,) = bodies(CONFIG)
    assert body["data"] == {
        "run.sh": "echo \"${HOME} $${PATH} ${\" '$${'\nexit 0\n",
        "empty": "",
        "number": "012",
    }
    assert body["metadata"] == {"name": "web", "labels": {"app": "web"}}


def test_several_documents_and_the_items_of_a_list_are_resources_of_one_blueprint() -> None:
    listed = (
        "apiVersion: v1\nkind: List\nitems:\n"
        "- {apiVersion: v1, kind: ConfigMap, metadata: {name: a-b}, data: {k: v}}\n"
        "- {apiVersion: v1, kind: Secret, metadata: {name: a-b}, stringData: {k: v}}\n"
    )
    blueprint, instance = as_blueprint(read_documents(f"{listed}---\n{CONFIG}", "dir/My app_1.yaml"), WEST)
    assert blueprint.name == instance.name == "my-app-1"
    assert instance.kind == manifests_kind("my-app-1") == "MyApp1Manifests"
    assert [each["id"] for each in blueprint.value["spec"]["resources"]] == ["configMapAB", "secretAB", "configMapWeb"]


def test_ids_never_meet() -> None:
    text = "---\n".join(
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {space}}}\n"
        for name, space in (("a.b", "x"), ("a-b", "x"), ("a-b", "y"), ("a" * 100, "x"))
    )
    blueprint, _ = as_blueprint(read_documents(text, "web.yaml"), WEST)
    ids = [each["id"] for each in blueprint.value["spec"]["resources"]]
    assert len(set(ids)) == 4
    check_blueprint(blueprint)


@pytest.mark.parametrize(
    ("words", "placement"),
    [
        (WEST, {"labelSelector": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["west"]}]}}),
        (Words(selector="*"), {"labelSelector": {}}),
        (
            Words(selector="tier in (a,b),!old", fields="arch!=arm64"),
            {
                "labelSelector": {
                    "matchExpressions": [
                        {"key": "tier", "operator": "In", "values": ["a", "b"]},
                        {"key": "old", "operator": "DoesNotExist"},
                    ]
                },
                "fieldSelector": {"matchExpressions": [{"key": "arch", "operator": "NotIn", "values": ["arm64"]}]},
            },
        ),
    ],
)
def test_where_it_goes_is_said_in_words(words: Words, placement: dict[str, Any]) -> None:
    _, instance = as_blueprint(read_documents(CONFIG, "web.yaml"), words)
    assert instance.value["spec"]["placement"] == placement


def annotated(selector: str) -> str:
    return CONFIG.replace("labels:", f'annotations: {{holdfast.io/placement: "{selector}"}}\n  labels:')


def test_or_in_an_annotation_of_one_of_them_which_no_site_sees() -> None:
    other = CONFIG.replace("name: web", "name: other")
    blueprint, instance = as_blueprint(read_documents(f"{other}---\n{annotated('zone=west')}", "web.yaml"), Words())
    assert instance.value["spec"]["placement"]["labelSelector"]["matchExpressions"][0]["values"] == ["west"]
    assert "annotations" not in blueprint.value["spec"]["resources"][1]["template"]["metadata"]


def test_what_is_missing_or_wrong_is_said_with_what_to_do() -> None:
    with pytest.raises(InputError) as caught:
        as_blueprint(read_documents(CONFIG, "web.yaml"), Words())
    (problem,) = caught.value.problems
    assert "--selector" in problem.hint
    assert problem.file == "web.yaml"
    assert "they go to the same sites" in problems(f"{annotated('a=b')}---\n{annotated('a=c')}", Words())[0]
    assert "expected" in problems(CONFIG, Words(selector="a in b"))[0]
    assert "need a name" in problems(CONFIG, file="<stdin>")[0]
    assert "is no name" in problems(CONFIG, Words(name="Web", selector="*"))[0]
    assert "must be a list" in problems("apiVersion: v1\nkind: List\nitems: {}\n")[0]
    assert "is a manifest" in problems("apiVersion: v1\nkind: List\nitems: [3]\n")[0]


def test_a_mistake_in_a_manifest_has_its_place_in_the_file() -> None:
    text = f"{CONFIG}---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  labels: {{}}\n"
    blueprint, _ = as_blueprint(read_documents(text, "web.yaml"), WEST)
    with pytest.raises(InputError) as caught:
        check_blueprint(blueprint)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == ("web.yaml", 17)


def document(api_version: str, kind: str, **spec: Any) -> Document:
    text = f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: x}}\n"
    (read,) = read_documents(text)
    return Document({**read.value, **({"spec": spec} if spec else {})}, read.root)


@pytest.mark.parametrize(
    ("api_version", "kind", "spec", "plain"),
    [
        ("apps/v1", "Deployment", {}, True),
        ("v1", "ConfigMap", {}, True),
        ("v1", "List", {}, True),
        ("v1", "Service", {}, True),
        ("networking.k8s.io/v1", "Ingress", {}, True),
        ("holdfast.io/v1alpha1", "File", {}, True),
        ("v1", "Inspection", {}, False),
        ("v1alpha1", "ConfigMap", {}, False),
        ("holdfast.io/v1alpha1", "Inspection", {}, False),
        ("holdfast.io/v1alpha1", "Policy", {}, False),
        ("holdfast.io/v1alpha1", "Blueprint", {}, False),
        ("kro.run/v1alpha1", "Web", {}, False),
        ("example.com/v1", "Widget", {"placement": {}}, False),
        ("apps/v1", "Known", {}, False),
    ],
)
def test_an_instance_is_never_taken_for_a_manifest(
    api_version: str, kind: str, spec: dict[str, Any], plain: bool
) -> None:
    assert is_plain(document(api_version, kind, **spec), {"Known"}) is plain
