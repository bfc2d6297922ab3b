"""One small, valid spec of every kind, and every place in a kind's shape where text may stand, found from its types."""

import copy
from collections.abc import Iterator
from typing import Any, Final

from msgspec import inspect

from holdfast_protocol.kinds.table import KINDS, check

KEY: Final = "<key>"  # in a path: the name of a field that the author chooses
UNIT = "[Service]\nExecStart=/bin/sleep infinity\n"
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a"
LABELS = {"app": "a"}
POD: dict[str, Any] = {
    "terminationGracePeriodSeconds": 1,  # a sleep that is a container's first process does not hear SIGTERM
    "containers": [{"name": "main", "image": "press:1", "command": ["sleep", "60"]}],
}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": POD}
ONCE = {"spec": {**POD, "restartPolicy": "Never"}}
SPECIMENS: Final[dict[str, dict[str, Any]]] = {
    "File": {"path": "/srv/h/file", "content": "x"},
    "Directory": {"path": "/srv/h/folder"},
    "SystemdService": {"unit": UNIT},
    "SystemdTimer": {"unit": "[Timer]\nOnCalendar=yearly\n"},
    "SystemdSocket": {"unit": "[Socket]\nListenStream=/run/h.sock\n"},
    "SystemdMount": {"unit": "[Mount]\nWhat=tmpfs\nType=tmpfs\nWhere=/srv/mounted\n"},
    "SystemdDropIn": {"unit": "cron.service", "dropIns": {"h": "[Service]\nNice=5\n"}},
    "SystemdUnit": {"name": "cron.service", "running": True},
    "Sysctl": {"key": "net.ipv4.conf.all.secure_redirects", "value": 0},
    "KernelModule": {"name": "tcp_cubic"},
    "Firewall": {"rules": [{"protocol": "tcp", "ports": [7001]}]},
    "NetworkInterface": {"interface": "nic9", "addresses": ["10.99.0.1/24"]},
    "Time": {"timezone": "Europe/Berlin"},
    "Kubernetes": {"manifests": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}]},
    "DeviceSource": {"mqtt": {"host": "127.0.0.1", "topics": ["devices/#"]}},
    "Bridge": {"remote": {"host": "127.0.0.1"}, "out": [{"topic": "devices/#", "prefix": "sites/"}]},
    "Hostname": {"hostname": "press-01"},
    "Package": {"name": "hello"},
    "User": {"name": "hostile"},
    "Group": {"name": "hostiles"},
    "SSHKey": {"user": "nobody", "keys": [SSH_KEY]},
    "SSHPolicy": {"settings": {"PasswordAuthentication": False}},
    "MandatoryAccessControl": {"system": "apparmor"},
    "DiskEncryption": {"mounts": ["/srv"]},
    "SecureBoot": {},
    "AgentVersion": {"version": "0.2.0", "wheels": "/srv/h/wheels"},
    "Deployment": {"selector": {"matchLabels": LABELS}, "template": TEMPLATE},
    "StatefulSet": {"serviceName": "a", "selector": {"matchLabels": LABELS}, "template": TEMPLATE},
    "DaemonSet": {"selector": {"matchLabels": LABELS}, "template": TEMPLATE},
    "Pod": POD,
    "Job": {"template": ONCE},
    "CronJob": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": ONCE}}},
    "Service": {"selector": LABELS, "ports": [{"port": 80}]},
    "PersistentVolumeClaim": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    "ConfigMap": {"data": {"a": "b"}},
    "Secret": {"stringData": {"a": "b"}},
}
Path = tuple[str | int, ...]


def body(kind: str, spec: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a whole document of a kind."""
    frame = {"apiVersion": KINDS[kind].api_version, "kind": kind, "metadata": {"name": name}}
    return {**frame, **spec} if KINDS[kind].whole else {**frame, "spec": spec}


def is_taken(kind: str, spec: dict[str, Any], name: str = "h") -> bool:
    """Return whether a hub would take it."""
    return not check(body(kind, spec, name))


def places(kind: str) -> list[Path]:
    """Return where text may stand in a kind's spec, in order."""
    return sorted(
        {path for path in _of(inspect.type_info(KINDS[kind].shape), (), ()) if path[:1] not in _FRAME}, key=repr
    )


_FRAME: Final = {("apiVersion",), ("kind",), ("metadata",)}


def _of(found: inspect.Type, path: Path, inside: tuple[type, ...]) -> Iterator[Path]:
    match found:
        case inspect.StrType() | inspect.AnyType():
            yield path
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            yield from _of(item, (*path, 0), inside)
        case inspect.DictType(value_type=value):
            yield (*path, KEY)
            yield from _of(value, (*path, "a"), inside)
        case inspect.UnionType(types=types):
            for each in types:
                yield from _of(each, path, inside)
        case inspect.StructType(cls=cls, fields=fields) if cls not in inside:
            for field in fields:
                yield from _of(field.type, (*path, field.encode_name), (*inside, cls))
        case _:
            return


def planted(kind: str, spec: dict[str, Any], path: Path, text: str) -> dict[str, Any]:
    """Return a copy of a spec with `text` at a place, and round it the least its shape asks for."""
    found: dict[str, Any] = _planted(inspect.type_info(KINDS[kind].shape), copy.deepcopy(spec), path, text)
    return found


def _planted(found: inspect.Type, value: Any, path: Path, text: str) -> Any:
    if not path:
        return text
    step, rest = path[0], path[1:]
    match found:
        case inspect.UnionType(types=types):
            inner = next(each for each in types if not isinstance(each, inspect.NoneType) and _leads(each, path))
            return _planted(inner, value, path, text)
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            items = list(value) if isinstance(value, list) else []
            return [_planted(item, items[0] if items else _least(item), rest, text), *items[1:]]
        case inspect.DictType(value_type=inner_type):
            had = dict(value) if isinstance(value, dict) else {}
            if step == KEY:
                return {**had, text: next(iter(had.values()), _least(inner_type))}
            name = next(iter(had), str(step))
            return {**had, name: _planted(inner_type, had.get(name) or _least(inner_type), rest, text)}
        case inspect.StructType(fields=fields):
            had = dict(value if isinstance(value, dict) and value else _least(found))
            field = next(each for each in fields if each.encode_name == step)
            had[str(step)] = _planted(field.type, had.get(str(step)), rest, text)
            return had
    raise AssertionError(f"{found} has no {path}")


def _leads(found: inspect.Type, path: Path) -> bool:
    return any(each[: len(path)] == path for each in _of(found, (), ()))


def _least(found: inspect.Type) -> Any:
    """Return the least a type takes."""
    match found:
        case inspect.StructType(fields=fields):
            return {each.encode_name: _least(each.type) for each in fields if each.required}
        case inspect.ListType() | inspect.VarTupleType():
            return []
        case inspect.DictType():
            return {}
        case inspect.IntType() | inspect.FloatType():
            return 1
        case inspect.BoolType():
            return False
        case inspect.LiteralType(values=values):
            return values[0]
        case inspect.UnionType(types=types):
            return _least(types[0])
    return "x"


CANARY: Final = "/canary"
SHELL: Final = (  # what a shell would run to make the canary, in the ways text comes into one
    f"$(touch$IFS{CANARY})",
    f"`touch {CANARY}`",
    f"';touch {CANARY};'",
    f'" ; touch {CANARY} ; "',
    f"x\ntouch {CANARY}\n",
    f"|touch {CANARY}&",
    f"--option=Pre-Invoke::=touch$IFS{CANARY}",
    f"/srv/h/$(touch$IFS{CANARY})",
    f"/srv/h/`touch {CANARY}`",
    f"%(touch {CANARY})%n",
)
