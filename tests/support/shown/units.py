"""How units of systemd are shown."""

from typing import Final

from support.shown.row import Row


def _service(word: str) -> dict[str, object]:
    return {
        "unit": f"[Unit]\nDescription={word}\n[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
    }


def _timer(word: str, year: int) -> dict[str, object]:
    unit = f"[Unit]\nDescription={word}\n[Timer]\nOnCalendar={year}-01-01 UTC\n[Install]\nWantedBy=timers.target\n"
    return {"unit": unit}


def _socket(port: int) -> dict[str, object]:
    return {"unit": f"[Socket]\nListenStream=127.0.0.1:{port}\n[Install]\nWantedBy=sockets.target\n"}


def _mount(size: str) -> dict[str, object]:
    where = "/srv/every/mounted"
    unit = f"[Mount]\nWhat=tmpfs\nType=tmpfs\nWhere={where}\nOptions=size={size}\n[Install]\nWantedBy=local-fs.target\n"
    return {"unit": unit}


def _on_demand(name: str) -> dict[str, object]:
    unit = "[Service]\nExecStart=/bin/sleep infinity\n"
    frame = {"apiVersion": "holdfast.io/v1alpha1", "kind": "SystemdService", "metadata": {"name": name}}
    return {**frame, "spec": {"unit": unit, "running": "onDemand"}}


def _shown(unit: str, *asked: str) -> str:
    """Return a line that prints these properties of a unit, in this order."""
    return f"for p in {' '.join(asked)}; do TZ=UTC systemctl show {unit} --value -p $p; done"


_STANDS = ("Description", "ActiveState", "UnitFileState")

ROWS: Final[dict[str, Row]] = {
    "SystemdService": Row(
        _service("one"),
        _service("two"),
        look=_shown("every-service.service", *_STANDS),
        shows=("one active enabled", "two active enabled"),
        drift="systemctl stop every-service",
        name="every-service",
    ),
    "SystemdTimer": Row(
        _timer("one", 2098),
        _timer("two", 2099),
        look=_shown("every-timer.timer", *_STANDS, "NextElapseUSecRealtime"),
        shows=("one active enabled Wed 2098-01-01 00:00:00 UTC", "two active enabled Thu 2099-01-01 00:00:00 UTC"),
        drift="systemctl disable --now --quiet every-timer.timer",
        name="every-timer",
        also=(_on_demand("every-timer"),),
    ),
    "SystemdSocket": Row(
        _socket(7101),
        _socket(7102),
        look="ss -Hltn '( sport = :7101 or sport = :7102 )' | awk '{print $4}'",
        shows=("127.0.0.1:7101", "127.0.0.1:7102"),
        drift="systemctl stop every-socket.socket",
        name="every-socket",
        also=(_on_demand("every-socket"),),
    ),
    "SystemdMount": Row(
        _mount("1M"),
        _mount("2M"),
        look="findmnt -no OPTIONS /srv/every/mounted | grep -o 'size=[0-9]*k'",
        shows=("size=1024k", "size=2048k"),
        drift="umount /srv/every/mounted",
    ),
    "SystemdDropIn": Row(
        {"unit": "theirs.service", "dropIns": {"limits": "[Service]\nMemoryMax=64M\n"}},
        {"unit": "theirs.service", "dropIns": {"limits": "[Service]\nMemoryMax=32M\n"}},
        look=_shown("theirs.service", "MemoryMax", "ActiveState"),
        shows=("67108864 active", "33554432 active"),
        drift="rm /etc/systemd/system/theirs.service.d/limits.conf; systemctl daemon-reload",
    ),
    "SystemdUnit": Row(
        {"name": "others.service", "enabled": False, "running": False},
        {"name": "others.service", "masked": True},
        look=_shown("others.service", "LoadState", "ActiveState", "UnitFileState"),
        shows=("loaded inactive disabled", "masked inactive masked"),
        drift="systemctl unmask --quiet others.service; systemctl start others.service",
    ),
}
