"""A stand-in for a Kubernetes API server: discovery, GET, server-side apply with owners of fields, DELETE, watch.

    python kubernetes.py PORT FOLDER      over TLS with FOLDER/cert.pem and key.pem, for the bearer of FOLDER/token

Speaks as much as one manager of fields needs: conflicts (409) unless forced, dry runs, fields that go when nobody owns
them, quantities made canonical, a uid in preconditions. `PUT` is a person's edit: it owns what it changed.
"""

import copy
import json
import ssl
import sys
import threading
import uuid
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

KINDS = {
    "/api/v1": [("configmaps", "ConfigMap", True), ("namespaces", "Namespace", False)],
    "/apis/apps/v1": [("deployments", "Deployment", True), ("deployments/status", "Deployment", True)],
}
LOCK = threading.Condition()
OBJECTS: dict[str, dict[str, Any]] = {}
OWNERS: dict[str, dict[str, set[str]]] = {}  # by path: fields by manager
VERSION = [100]


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {key: leaf for name, each in value.items() for key, leaf in leaves(each, f"{path}/{name}").items()}
    return {path: value}


def put_leaf(body: dict[str, Any], path: str, value: Any) -> None:
    *way, last = path.strip("/").split("/")
    for part in way:
        body = body.setdefault(part, {})
    body[last] = value


def drop_leaf(body: dict[str, Any], path: str) -> None:
    *way, last = path.strip("/").split("/")
    for part in way:
        body = body.get(part, {})
    body.pop(last, None)


def fields(body: dict[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in body.items() if key not in ("apiVersion", "kind", "metadata", "status")}
    labels = (body.get("metadata") or {}).get("labels") or {}
    found = leaves(own) if own else {}
    found |= {f"/metadata/labels/{key}": value for key, value in labels.items()}
    return {key: "1" if value == "1000m" else value for key, value in found.items()}


def applied(
    path: str, body: dict[str, Any], manager: str, *, force: bool
) -> tuple[int, dict[str, Any], dict[str, set[str]]]:
    now, owners = copy.deepcopy(OBJECTS.get(path)), copy.deepcopy(OWNERS.get(path, {}))
    wanted = fields(body)
    if now is None:
        now = {key: body[key] for key in ("apiVersion", "kind")} | {
            "metadata": {"uid": str(uuid.uuid4()), "generation": 1}
        }
        now["metadata"] |= {key: value for key, value in body["metadata"].items() if key != "labels"}
    has = fields(now)
    for other, held in owners.items():
        taken = {key for key in wanted if key in held and has.get(key) != wanted[key]} if other != manager else set()
        if taken and not force:
            return 409, {"message": f"conflict with {other!r}: {', '.join(sorted(taken))}"}, owners
        held -= taken
    for gone in owners.get(manager, set()) - set(wanted):
        if not any(gone in held for other, held in owners.items() if other != manager):
            drop_leaf(now, gone)
    owners[manager] = set(wanted)
    for key, value in wanted.items():
        put_leaf(now, key, value)
    return 200, now, owners


def differs(path: str, seen: Any) -> bool:
    return OBJECTS.get(path) != seen


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    token = ""

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""

    def answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def asked(self) -> tuple[str, dict[str, str], dict[str, Any]] | None:
        parts = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization") != f"Bearer {self.token}":
            self.answer(401, {"message": "Unauthorized"})
            return None
        return parts.path, {key: each[0] for key, each in parse_qs(parts.query).items()}, json.loads(raw or b"{}")

    def keep(self, path: str, body: dict[str, Any], owners: dict[str, set[str]]) -> None:
        if body != OBJECTS.get(path):
            VERSION[0] += 1
            body["metadata"]["resourceVersion"] = str(VERSION[0])
        body["metadata"]["managedFields"] = [{"manager": each} for each in sorted(owners) if owners[each]]
        OBJECTS[path], OWNERS[path] = body, owners
        LOCK.notify_all()

    def do_GET(self) -> None:
        if (asked := self.asked()) is None:
            return
        path, query, _ = asked
        if query.get("watch"):
            self.watch(f"{path}/{query['fieldSelector'].partition('=')[2]}")
        elif path in KINDS:
            listed = [{"name": name, "kind": kind, "namespaced": spaced} for name, kind, spaced in KINDS[path]]
            self.answer(200, {"resources": listed})
        else:
            with LOCK:
                body = OBJECTS.get(path)
            self.answer(200, body) if body else self.answer(404, {"message": "not found"})

    def watch(self, path: str) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        seen = OBJECTS.get(path)
        while True:
            with LOCK:
                LOCK.wait_for(partial(differs, path, seen), timeout=60)
                if OBJECTS.get(path) == seen:
                    return
                seen = copy.deepcopy(OBJECTS.get(path))
            self.wfile.write(b'{"type":"MODIFIED"}\n')
            self.wfile.flush()

    def do_PATCH(self) -> None:
        if (asked := self.asked()) is None:
            return
        path, query, body = asked
        assert self.headers["Content-Type"] == "application/apply-patch+yaml"
        with LOCK:
            status, made, owners = applied(path, body, query["fieldManager"], force=query["force"] == "true")
            if status == 200 and "dryRun" not in query:
                self.keep(path, made, owners)
        self.answer(status, made)

    def do_PUT(self) -> None:
        if (asked := self.asked()) is None:
            return
        path, _, body = asked
        with LOCK:
            owners = copy.deepcopy(OWNERS.get(path, {}))
            before = fields(OBJECTS.get(path, {}))
            changed = {key for key, value in fields(body).items() if before.get(key) != value}
            owners = {name: held - changed for name, held in owners.items()}
            owners["person"] = owners.get("person", set()) | changed
            self.keep(path, body, owners)
        self.answer(200, body)

    def do_DELETE(self) -> None:
        if (asked := self.asked()) is None:
            return
        path, _, body = asked
        with LOCK:
            there = OBJECTS.get(path)
            uid = (body.get("preconditions") or {}).get("uid")
            if there is None:
                self.answer(404, {"message": "not found"})
            elif uid not in (None, there["metadata"]["uid"]):
                self.answer(409, {"message": "the uid is another"})
            else:
                del OBJECTS[path], OWNERS[path]
                LOCK.notify_all()
                self.answer(200, {})


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients come and go."""


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    Handler.token = (folder / "token").read_text().strip()
    server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
