"""A machine with the stand-in of `support.kubernetes` for its own API server, and `ask-cluster` to ask it as a person would."""

import subprocess
import sys
from pathlib import Path

from support import kubernetes
from support.machines import Machine

PORT = 6443
URL = f"https://127.0.0.1:{PORT}"
# ask-cluster PATH [METHOD [BODY]] prints the answer, null for what is not there
_ASK = f"""\
#!/usr/bin/env python3
import ssl, sys, urllib.request as u, urllib.error as e
path, method, body = sys.argv[1:] + ["GET", ""][len(sys.argv) - 2 :]
r = u.Request("{URL}" + path, method=method, data=body.encode() or None, headers={{"Authorization": "Bearer letmein"}})
try:
    print(u.urlopen(r, context=ssl.create_default_context(cafile="/etc/cluster/cert.pem")).read().decode())
except e.HTTPError as error:
    print("null" if error.code == 404 else sys.exit(error))
"""


def install(machine: Machine, folder: Path) -> None:
    """Start the server with a certificate made in `folder`, and give the agent the way in."""
    made = ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "2", "-subj", "/CN=cluster"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*made, "-addext", "subjectAltName=IP:127.0.0.1", *files], check=True, capture_output=True)
    for name in ("key.pem", "cert.pem"):
        machine.write(f"/etc/cluster/{name}", (folder / name).read_text())
    machine.write("/etc/cluster/token", "letmein\n")
    machine.write("/etc/holdfast/cluster.token", "letmein\n", mode=0o600)
    machine.write("/etc/holdfast/cluster-ca.pem", (folder / "cert.pem").read_text())
    machine.write("/usr/local/bin/ask-cluster", _ASK, mode=0o755)
    machine.write("/usr/local/libexec/cluster.py", Path(kubernetes.__file__).read_text())
    run = f"[Service]\nExecStart={sys.executable} /usr/local/libexec/cluster.py {PORT} /etc/cluster\n"
    machine.start_unit("cluster.service", run + "[Install]\nWantedBy=multi-user.target\n")
