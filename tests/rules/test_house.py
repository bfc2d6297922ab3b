"""The house's rules that no linter knows."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for member in ("protocol", "hub", "edge") for path in (ROOT / member / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
CEILING = 400  # lines
DRAWERS = {"utils", "util", "helpers", "common", "manager", "base", "misc"}


def test_no_module_passes_the_ceiling() -> None:
    long = {str(path.relative_to(ROOT)): n for path in SOURCES if (n := len(path.read_text().splitlines())) > CEILING}
    assert not long


def test_no_module_is_a_drawer() -> None:
    assert not [path for path in SOURCES if path.stem in DRAWERS or path.parent.name in DRAWERS]


def test_the_root_s_dependencies_are_the_union_of_the_members() -> None:
    def dependencies(folder: Path) -> set[str]:
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        entries = project["dependencies"] + project.get("optional-dependencies", {}).get("blueprint", [])
        return {entry.replace(" ", "") for entry in entries if not entry.startswith("holdfast-")}

    assert dependencies(ROOT) == set().union(*(dependencies(ROOT / name) for name in ("protocol", "hub", "edge")))


def test_every_dependency_is_pinned() -> None:
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().split()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {re.split(r"[<>=;\[ ]", entry)[0].lower().replace("_", "-") for entry in wanted}
    assert names <= pinned


def test_broad_excepts_stand_only_in_the_task_runner_and_where_providers_are_asked() -> None:
    allowed = {"tasks.py", "asking.py"}
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        if path.name not in allowed
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception"))
    ]
    assert not found


def test_invariants_are_listed_kept_and_tested() -> None:
    listed = set(re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE))
    in_code = {
        name
        for path in SOURCES
        for group in re.findall(r"\[inv: ([a-z-, ]+)\]", path.read_text())
        for name in group.split(", ")
    }
    tested = {
        name for path in TESTS for name in re.findall(r"mark\.invariant\(\s*[\"']([a-z-]+)[\"']", path.read_text())
    }
    assert in_code <= listed, "an invariant in code is not in docs/architecture.md"
    assert listed <= tested, "an invariant has no test"
    assert listed <= in_code, "an invariant is named nowhere in code"


def test_no_shell_strings() -> None:
    pattern = re.compile(r"shell\s*=\s*True|os\.system\(|os\.popen\(|create_subprocess_shell")
    assert not [str(path) for path in SOURCES if pattern.search(path.read_text())]


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        ("holdfast_edge.agent", ["docker", "rich", "click", "yaml", "holdfast_hub", "sqlite_utils", "cel_expr_python"]),
        ("holdfast_edge.cli.main", ["docker", "dbus_fast", "paho", "holdfast_hub", "cryptography"]),
        ("holdfast_hub.cli.main", ["rich", "yaml", "starlette", "uvicorn", "cel_expr_python", "paho", "msgspec"]),
        ("holdfast_hub.cli.apply", ["rich", "yaml", "starlette", "uvicorn", "cel_expr_python", "paho", "msgspec"]),
        ("holdfast_hub.cli.objects", ["rich", "yaml", "starlette", "uvicorn", "cel_expr_python", "paho", "msgspec"]),
        ("holdfast_hub.cli.readings", ["rich", "yaml", "starlette", "uvicorn", "cel_expr_python", "paho", "msgspec"]),
        ("holdfast_hub.cli.site", ["rich", "yaml", "starlette", "uvicorn", "cel_expr_python", "paho", "msgspec"]),
        ("holdfast_hub.cli.wait", ["rich", "yaml", "starlette", "uvicorn", "cel_expr_python", "paho", "msgspec"]),
    ],
)
def test_imports_stay_light(module: str, banned: list[str]) -> None:
    code = f"import sys, {module}; print(*[name for name in {banned!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


_AGENT = """
import sys
from pathlib import Path
import holdfast_edge.agent
from holdfast_edge.providers.offers import equip
from holdfast_protocol.kinds.way import Way
chosen = equip(file_roots=["/srv"], engine="unix:///run/engine.sock", host_paths=(), privileged=False, systemd="user",
    kernel=True, network=True, machine=True, hub=Way("127.0.0.1", 1883), site="lyon", state=Path("/nowhere"), denied=(),
    environ={"XDG_RUNTIME_DIR": "/nowhere"}, packages=True, accounts=True, security=True)
made = [chosen.provider(kind + "/x") for kind in sys.argv[1].split(",")]
found = {".".join(name.split(".")[:depth]) for name in sys.modules for depth in range(1, 5)}
print(*(name for name in sys.argv[2].split(",") if name in found))
"""
# What an agent pays for where a site has it: other systems' libraries, and our own packages that go with them.
_LIBRARIES = [
    "aio_pika",
    "cbor2",
    "cel_expr_python",
    "docker",
    "google",
    "httptools",
    "pystemd",
    "re2",
    "requests",
    "urllib3",
    "yaml",
]
_PARTS = [
    "holdfast_edge.core.amqp10",
    "holdfast_edge.core.sparkplug",
    "holdfast_edge.ingest.supervisor",
    "holdfast_edge.page.server",
    "holdfast_protocol.blueprint.cel",
    "holdfast_protocol.kinds.table",
    "holdfast_protocol.mapping.compiled",
    "holdfast_protocol.relay",
    "difflib",
    "zipfile",
]
_CONTAINERS = ["holdfast_edge.providers.container", "holdfast_protocol.kinds.pods"]
_UNITS = ["dbus_fast", "holdfast_edge.providers.systemd.provider"]


@pytest.mark.parametrize(
    ("kinds", "banned"),
    [
        ("File,Directory", [*_LIBRARIES, *_PARTS, *_CONTAINERS, *_UNITS]),
        ("File,SystemdService", [*_LIBRARIES, *_PARTS, *_CONTAINERS]),
        ("Deployment,ConfigMap,Service", [*_LIBRARIES, *_PARTS, *_UNITS]),
        ("Sysctl,Firewall,Package,User", [*_LIBRARIES, *_PARTS, *_CONTAINERS, *_UNITS]),
    ],
)
def test_an_agent_imports_what_the_kinds_of_its_target_need(kinds: str, banned: list[str]) -> None:
    words = [sys.executable, "-c", _AGENT, kinds, ",".join(banned)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
