"""What a machine has before its agent starts, for the rows of `support.shown.table`: things of others, and sources."""

import os
from pathlib import Path

from support import cluster, debs, images, slots, sshd
from support.machines import Machine
from support.shown.containers import IMAGE

OPTIONS = (
    *("--file-root", "/srv", "--systemd", "system", "--engine", "unix:///run/docker.sock"),
    *("--kernel", "--network", "--machine", "--packages", "--accounts", "--security", "--sources", "--bridges"),
    *("--kubernetes", cluster.URL),
)
# timesyncd minds that this is a container; the clock is this host's, which no machine may set
_TIMESYNCD = "[Unit]\nConditionVirtualization=\n[Service]\nCapabilityBoundingSet=~CAP_SYS_TIME\nAmbientCapabilities=\n"
_MORE = 'host_paths = ["/srv/every-host"]\n'  # a setting no kit has
_SLEEPS = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
_BROKERS = {"plant-broker": (18830, 18831, 18832), "far-broker": (18840, 18841)}
_THEIRS = """\
set -e
systemctl start systemd-networkd.service
ip link add lan0 type veth peer name far0
ip link set far0 up
ip address add 192.0.2.5/24 dev lan0
ip link set lan0 up mtu 1450
useradd --create-home --shell /bin/sh veteran
install -d -m 700 -o veteran -g veteran /home/veteran/.ssh
cd /home/veteran/.ssh
echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEBBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWltcXV5f theirs' >authorized_keys
chown veteran:veteran authorized_keys
chmod 600 authorized_keys
mkdir -p /srv/every /srv/every-host
touch /run/sshd-reloads
"""


def prepare(machine: Machine, folder: Path) -> None:
    """Prepare a machine; `folder` is for what is made on this host."""
    machine.write("/etc/systemd/network/50-host0.network", "[Match]\nName=host0\n[Link]\nUnmanaged=yes\n")
    machine.write("/etc/systemd/system/systemd-timesyncd.service.d/lab.conf", _TIMESYNCD)
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["sh", "-c", _THEIRS])
    # nspawn hides /sys/module; the list a distribution's kernel brings along says the same of this one
    machine.write(f"/lib/modules/{os.uname().release}/modules.builtin", "kernel/net/ipv4/tcp_cubic.ko\n")
    sshd.install(machine)
    machine.write("/usr/lib/systemd/system/others.service", _SLEEPS)  # no unit of /etc can be masked
    machine.run(["systemctl", "enable", "--now", "--quiet", "others.service"])
    machine.start_unit("theirs.service", _SLEEPS)
    for name, ports in _BROKERS.items():
        lines = [*(f"listener {port} 127.0.0.1" for port in ports), "allow_anonymous true", "user root", ""]
        machine.write(f"/etc/{name}.conf", "\n".join(lines))
        run = f"[Service]\nExecStart=/usr/sbin/mosquitto -c /etc/{name}.conf\n[Install]\nWantedBy=multi-user.target\n"
        machine.start_unit(f"{name}.service", run)
    cluster.install(machine, folder)
    for version in ("1.0", "2.0"):
        debs.build(machine, "hf-gauge", version)
    debs.offer(machine)
    for version in ("0.2.0", "0.3.0"):
        slots.bring_wheels(machine, version, version)
    images.load(machine, IMAGE)


def start_agent(machine: Machine) -> None:
    """Start the agent from a slot, with all that the rows need in its settings and looks that come often."""
    file = "/etc/holdfast/edge.toml"
    text = machine.read(file).replace("[providers]\n", f"[providers]\n{_MORE}")
    machine.write(file, text.replace("look_every_s = 600.0", "look_every_s = 2.0"), mode=0o600)
    slots.start_agent(machine)
