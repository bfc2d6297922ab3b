"""Debian packages built on a machine, in a folder of its own that becomes its only source of packages."""

from support.machines import Machine

_FOLDER = "/srv/debs"


def build(machine: Machine, name: str, version: str, *, depends: str = "", conffile: str = "") -> None:
    """Build a package on the machine into its local repository."""
    folder = f"/root/build/{name}-{version}"
    control = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Test <test@example.org>\n"
    control += f"Depends: {depends}\n" if depends else ""
    machine.write(f"{folder}/DEBIAN/control", control + "Description: a test's package\n")
    machine.write(f"{folder}/usr/share/{name}/version", f"{version}\n")
    if conffile:
        machine.write(f"{folder}/etc/{name}.conf", conffile)
        machine.write(f"{folder}/DEBIAN/conffiles", f"/etc/{name}.conf\n")
    machine.run(["mkdir", "-p", _FOLDER])
    machine.run(["dpkg-deb", "--build", "--root-owner-group", folder, f"{_FOLDER}/{name}_{version}_all.deb"])


def offer(machine: Machine) -> None:
    """Make what was built the machine's only source of packages."""
    machine.run(["rm", "-rf", "/etc/apt/sources.list", "/etc/apt/sources.list.d", "/etc/apt/apt.conf.d/20packagekit"])
    machine.write("/etc/apt/sources.list", f"deb [trusted=yes] file:{_FOLDER} ./\n")
    listed = machine.run(["sh", "-c", f"cd {_FOLDER} && dpkg-scanpackages -m . 2>/dev/null"]).stdout
    machine.write(f"{_FOLDER}/Packages", listed)
