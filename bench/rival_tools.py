"""pyinfra and ansible-core from PyPI, kept in a folder of the user's cache, and what they are given to do."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Final, NamedTuple

from bench import mixed

ANSIBLE_CORE: Final = "2.19.14"
ANSIBLE: Final = "12.3.0"  # the package that carries ansible.posix, which sets kernel settings
PYINFRA: Final = "3.10.0"
_COLLECTION: Final = "ansible_collections/ansible/posix/"

_PYINFRA: Final = """\
from io import StringIO
from pyinfra.operations import files, server
from bench import mixed
for each in mixed.files():
    files.put(src=StringIO(each.content), dest=str(each.path), mode=f"{each.mode:o}", user="root", group="root")
for key, value in mixed.settings().items():
    server.sysctl(key=key, value=value)
for number, each in enumerate(mixed.units()):
    files.template(src="unit.j2", dest=str(each.path), mode=f"{each.mode:o}", user="root", group="root", number=number)
"""
_PLAYBOOK: Final = """\
- hosts: localhost
  connection: local
  gather_facts: false
  vars_files: [mixed.json]
  tasks:
    - name: files
      ansible.builtin.copy:
        {content: "{{ item.content }}", dest: "{{ item.path }}", mode: "{{ item.mode }}", owner: root, group: root}
      loop: "{{ files }}"
      loop_control: {label: "{{ item.path }}"}
    - name: settings
      ansible.posix.sysctl: {name: "{{ item.key }}", value: "{{ item.value }}", sysctl_set: true, reload: false}
      loop: "{{ settings }}"
    - name: units
      ansible.builtin.template: {src: unit.j2, dest: "{{ item.path }}", mode: "{{ item.mode }}", owner: root, group: root}
      vars: {number: "{{ item.number }}"}
      loop: "{{ units }}"
      loop_control: {label: "{{ item.path }}"}
"""


class Tool(NamedTuple):
    """How one pass of a rival is run: in which folder, with what beside the plain environment."""

    words: tuple[str, ...]
    environ: dict[str, str]


def installed() -> Path:
    """Return the folder the rivals are in, installed now when they are not there. Needs PyPI once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "holdfast-bench" / f"rivals-{ANSIBLE_CORE}-{PYINFRA}-py{sys.version_info[0]}{sys.version_info[1]}"
    done = folder / "done"
    if not done.exists():
        venv.create(folder / "venv", with_pip=True, clear=True)
        pip = [str(folder / "venv/bin/python"), "-m", "pip", "--disable-pip-version-check", "-qq"]
        subprocess.run([*pip, "install", f"ansible-core=={ANSIBLE_CORE}", f"pyinfra=={PYINFRA}"], check=True)
        subprocess.run([*pip, "download", "--no-deps", "--dest", str(folder), f"ansible=={ANSIBLE}"], check=True)
        for wheel in folder.glob("ansible-*.whl"):
            with zipfile.ZipFile(wheel) as packed:
                posix = [name for name in packed.namelist() if name.startswith(_COLLECTION)]
                packed.extractall(folder / "collections", posix)
            wheel.unlink()
        done.touch()
    return folder


def given() -> dict[str, str]:
    """Return what both are given, by file name."""
    unit = mixed.unit(0).replace("bench 0", "bench {{ number }}")
    units = [{"path": str(each.path), "mode": f"{each.mode:04o}", "number": n} for n, each in enumerate(mixed.units())]
    wanted = {
        "files": [
            {"path": str(each.path), "content": each.content, "mode": f"{each.mode:04o}"} for each in mixed.files()
        ],
        "settings": [{"key": key, "value": value} for key, value in mixed.settings().items()],
        "units": units,
    }
    return {"deploy.py": _PYINFRA, "play.yml": _PLAYBOOK, "unit.j2": unit, "mixed.json": json.dumps(wanted)}


def pyinfra(folder: Path, root: Path) -> Tool:
    """`root`: of the repository, in which it finds what is wanted."""
    words = (f"{folder}/venv/bin/pyinfra", "-y", "@local", "deploy.py")
    return Tool(words, {"PYTHONPATH": str(root), "PATH": f"{folder}/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin"})


def ansible(folder: Path) -> Tool:
    words = (f"{folder}/venv/bin/ansible-playbook", "-i", "localhost,", "play.yml")
    path = f"{folder}/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return Tool(words, {"ANSIBLE_COLLECTIONS_PATH": f"{folder}/collections", "PATH": path})
