"""A stand-in for sshd(8) that reads its configuration and says what would apply, for machines without OpenSSH's server.

    sshd -t -f FILE     is it one to start with
    sshd -T -f FILE     what applies, one keyword a line

Like the real one: the first value counts, Include is followed, an unknown keyword or value ends it with status 255.
"""

import glob
import os
import shutil
import sys
from pathlib import Path

from support.machines import Machine

DEFAULTS = {
    "permitrootlogin": "without-password",
    "pubkeyauthentication": "yes",
    "passwordauthentication": "yes",
    "kbdinteractiveauthentication": "no",
    "gssapiauthentication": "no",
    "hostbasedauthentication": "no",
    "x11forwarding": "no",
    "maxauthtries": "6",
    "logingracetime": "120",
    "authenticationmethods": "any",
    "ciphers": "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com",
}
CONFIGURATION = (
    "Include /etc/ssh/sshd_config.d/*.conf\nKbdInteractiveAuthentication no\nUsePAM yes\nX11Forwarding yes\n"
)
UNIT = """\
[Service]
ExecStart=/bin/sleep infinity
ExecReload=/bin/sh -c "echo reloaded >>/run/sshd-reloads"
[Install]
WantedBy=multi-user.target
"""


def install(machine: "Machine") -> None:
    """Give a machine an sshd: its own with keys made for it where there is one, this stand-in where not. Either way its
    unit counts reloads in /run/sshd-reloads, and listens nowhere."""
    machine.write("/etc/ssh/sshd_config", CONFIGURATION)
    machine.run(["mkdir", "-p", "/etc/ssh/sshd_config.d", "/run/sshd"])
    if not machine.exists("/usr/sbin/sshd"):
        machine.write(
            "/usr/sbin/sshd", Path(__file__).read_text().replace("from support.machines import Machine", ""), 0o755
        )
        machine.run(["sed", "-i", f"1i #!{sys.executable}", "/usr/sbin/sshd"])
    elif shutil.which("ssh-keygen"):
        machine.run(["ssh-keygen", "-A"])
    machine.start_unit("ssh.service", UNIT)


def _lines(path: str) -> list[tuple[str, str]]:
    found = []
    for line in Path(path).read_text().splitlines():
        words = line.split(None, 1)
        if not words or words[0].startswith("#"):
            continue
        key, value = words[0].lower(), words[1].strip() if len(words) > 1 else ""
        if key == "include":
            for each in sorted(glob.glob(value)):
                found += _lines(each)
        else:
            found.append((key, value))
    return found


def _main(words: list[str]) -> int:
    now: dict[str, str] = {}
    for key, value in _lines(words[words.index("-f") + 1]):
        if key not in DEFAULTS and key not in ("usepam", "allowusers", "banner"):
            print(f"Bad configuration option: {key}", file=sys.stderr)
            return 255
        if DEFAULTS.get(key) in ("yes", "no") and value not in ("yes", "no"):
            print(f"unsupported option {value!r}", file=sys.stderr)
            return 255
        now.setdefault(key, value.replace("prohibit-password", "without-password"))
    if "-T" in words:
        for key, value in (DEFAULTS | now).items():
            print(key, value)
    return 0


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(_main(sys.argv[1:]))
