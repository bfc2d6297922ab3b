"""How the kinds of the operating system are shown: files, kernel, network, accounts, packages, the agent's own version."""

from typing import Any, Final

from support.shown.row import Failing, Row

KEY_ONE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f one"
KEY_TWO = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4/ two"
_KEYS = "/home/veteran/.ssh/authorized_keys"
_SSHD = "/etc/ssh/sshd_config.d/00-holdfast-every.conf"
_CONFIG = "/api/v1/namespaces/default/configmaps/every"
_HERE: Final = {"host": "127.0.0.1", "port": 18832}


def _config(word: str) -> dict[str, Any]:
    return {
        "manifests": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "every"}, "data": {"word": word}}]
    }


ROWS: Final[dict[str, Row]] = {
    "File": Row(
        {"path": "/srv/every/file", "content": "one", "mode": "0640"},
        {"path": "/srv/every/file", "content": "two", "mode": "0600"},
        look="stat -c %a /srv/every/file; cat /srv/every/file",
        shows=("640 one", "600 two"),
        drift="echo edited >/srv/every/file",
    ),
    "Directory": Row(
        {"path": "/srv/every/folder", "mode": "0750"},
        {"path": "/srv/every/folder", "mode": "2770", "group": "daemon"},
        look="stat -c '%a %G' /srv/every/folder",
        shows=("750 root", "2770 daemon"),
        drift="chmod 700 /srv/every/folder",
    ),
    "Sysctl": Row(
        {"key": "net.ipv4.conf.all.secure_redirects", "value": 0},
        {"key": "net.ipv4.conf.all.secure_redirects", "value": 2},
        look="cat /proc/sys/net/ipv4/conf/all/secure_redirects; cat /etc/sysctl.d/90-holdfast-every.conf | grep -v '^#'",
        shows=("0 net.ipv4.conf.all.secure_redirects = 0", "2 net.ipv4.conf.all.secure_redirects = 2"),
        drift="sysctl -qw net.ipv4.conf.all.secure_redirects=1",
    ),
    "KernelModule": Row(
        {"name": "tcp_cubic"},
        {"name": "tcp_cubic", "parameters": {"beta": 700}},
        look="cat /etc/modules-load.d/holdfast-every.conf /etc/modprobe.d/holdfast-every.conf | grep -v '^#'",
        shows=("tcp_cubic", "tcp_cubic options tcp_cubic beta=700"),
        drift="rm /etc/modules-load.d/holdfast-every.conf",
        unshown="loading and unloading: the kernel of the test machines loads no modules, this one is built in",
    ),
    "Firewall": Row(
        {"policy": {"input": "drop"}, "rules": [{"protocol": "tcp", "ports": [7001]}]},
        {"policy": {"input": "drop"}, "rules": [{"protocol": "tcp", "ports": [7002]}]},
        look="nft list table inet holdfast_every | grep -Eo 'dport 700[12]|policy drop'",
        shows=("policy drop dport 7001", "policy drop dport 7002"),
        drift="nft delete table inet holdfast_every",
    ),
    "NetworkInterface": Row(
        {"interface": "lan0", "addresses": ["10.7.0.2/24"]},
        {"interface": "lan0", "addresses": ["10.7.0.3/24"], "mtu": 1400},
        look="ip -o -4 address show dev lan0 | awk '{print $4}'; cat /sys/class/net/lan0/mtu",
        shows=("10.7.0.2/24 1450", "10.7.0.3/24 1400"),
        drift="ip address delete 10.7.0.3/24 dev lan0",
        unshown="VLANs, bonds and dummies: the kernel of the test machines makes none",
    ),
    "Hostname": Row(
        {"hostname": "every-one"},
        {"hostname": "every-two"},
        look="hostname; cat /etc/hostname",
        shows=("every-one every-one", "every-two every-two"),
        drift="hostname somebody",
    ),
    "Time": Row(
        {"timezone": "Europe/Berlin", "ntp": True, "ntpServers": ["192.0.2.123"]},
        {"timezone": "America/Lima", "ntp": True, "ntpServers": ["192.0.2.124"]},
        look="date -d 2026-07-01T12:00Z +%H; timedatectl show-timesync -p SystemNTPServers --value;"
        " systemctl is-active systemd-timesyncd",
        shows=("14 192.0.2.123 active", "07 192.0.2.124 active"),
        drift="ln -sfn /usr/share/zoneinfo/Asia/Tokyo /etc/localtime",
        unshown="chrony, and a clock that is set: the test machines' clock is their host's",
    ),
    "Package": Row(
        {"name": "hf-gauge", "version": "1.0"},
        {"name": "hf-gauge", "version": "2.0"},
        look="dpkg-query -W -f '${db:Status-Status} ${Version}\\n' hf-gauge | grep '^installed';"
        " cat /usr/share/hf-gauge/version",
        shows=("installed 1.0 1.0", "installed 2.0 2.0"),
        drift="dpkg --remove hf-gauge >/dev/null",
    ),
    "Group": Row(
        {"name": "every", "gid": 4100},
        {"name": "every", "gid": 4101},
        look="getent group every",
        shows=("every:x:4100:", "every:x:4101:"),
        drift="groupdel every",
    ),
    "User": Row(
        {"name": "ada", "uid": 4001, "comment": "one", "shell": "/bin/sh", "removeHome": True},
        {"name": "ada", "uid": 4001, "comment": "two", "shell": "/bin/sh", "removeHome": True},
        look="getent passwd ada; stat -c %U /home/ada",
        shows=("ada:x:4001:4001:one:/home/ada:/bin/sh ada", "ada:x:4001:4001:two:/home/ada:/bin/sh ada"),
        drift="usermod --shell /bin/false ada",
    ),
    "SSHKey": Row(
        {"user": "veteran", "keys": [KEY_ONE]},
        {"user": "veteran", "keys": [KEY_TWO]},
        look=f"cut -d ' ' -f 3- {_KEYS}",
        shows=("theirs one holdfast:every", "theirs two holdfast:every"),
        drift=f"sed -i /holdfast/d {_KEYS}",
    ),
    "SSHPolicy": Row(
        {"settings": {"MaxAuthTries": 3}},
        {"settings": {"MaxAuthTries": 4}},
        look="/usr/sbin/sshd -T -f /etc/ssh/sshd_config | grep ^maxauthtries",
        shows=("maxauthtries 3", "maxauthtries 4"),
        drift=f"rm {_SSHD}",
    ),
    "DeviceSource": Row(
        {"mqtt": {"host": "127.0.0.1", "port": 18830, "topics": ["plant/#"]}},
        {"mqtt": {"host": "127.0.0.1", "port": 18831, "topics": ["plant/#"]}},
        look="ss -Htn state established '( sport = :18830 or sport = :18831 )' | awk '{print $3}'",
        shows=("127.0.0.1:18830", "127.0.0.1:18831"),
        drift="systemctl restart plant-broker.service",
    ),
    "Bridge": Row(
        {"local": _HERE, "remote": {"host": "127.0.0.1", "port": 18840}, "out": [{"topic": "plant/#"}]},
        {"local": _HERE, "remote": {"host": "127.0.0.1", "port": 18841}, "out": [{"topic": "plant/#"}]},
        look="ss -Htn state established '( sport = :18840 or sport = :18841 )' | awk '{print $3}'",
        shows=("127.0.0.1:18840", "127.0.0.1:18841"),
        drift="systemctl restart far-broker.service",
    ),
    "AgentVersion": Row(
        {"version": "0.2.0", "wheels": "/opt/wheels/0.2.0", "deadlineSeconds": 60},
        {"version": "0.3.0", "wheels": "/opt/wheels/0.3.0", "deadlineSeconds": 60},
        look="cd /var/lib/holdfast/slots; readlink current; cat current/lib/holdfast_protocol/__init__.py; ls pending.json",
        shows=('b VERSION = "0.2.0"', 'a VERSION = "0.3.0"'),
        undrifted="a running agent does not change its version",
        kept="the version stays: there is always one",
    ),
    "Kubernetes": Row(
        _config("one"),
        _config("two"),
        look=f"ask-cluster {_CONFIG} | grep -o '\"data\": {{[^}}]*}}'",
        shows=('"data": {"word": "one"}', '"data": {"word": "two"}'),
        drift=f"ask-cluster {_CONFIG} DELETE",
        unshown="a real API server: a stand-in on the machine speaks server-side apply",
    ),
}

FAILING: Final[dict[str, Failing]] = {
    "MandatoryAccessControl": Failing(
        {"profiles": {"nginx": "enforce"}},
        {"mode": "enforce", "policy": "profile x /srv/x {}"},
        ("Degraded NotEnabled AppArmor is off", "Unsupported NotEnabled"),
        "the kernel of the test machines has neither AppArmor nor SELinux",
    ),
    "DiskEncryption": Failing(
        {"mounts": ["/"], "swap": True},
        {"mounts": ["/run"]},
        ("Degraded CannotTell /: overlay", "Degraded CannotTell /run: .*tmpfs"),
        "the kernel of the test machines has no device mapper",
    ),
    "SecureBoot": Failing(
        {},
        {"enabled": False, "lockdown": "integrity"},
        ("Degraded NoEfi", "Degraded NotLockedDown .*integrity"),
        "the test machines have no EFI",
    ),
}
