# SPDX-License-Identifier: ISC
"""A Debian gateway from its packages as a lab's platnode: its exit's own programs make room for it."""

import time
from pathlib import Path

from sdk.debian.container import Container, ContainerError
from sdk.lab import Lab, load_site, load_topology
from sdk.lab.site import EXAMPLE
from xlat464.address import format_mac

EXIT, APT = "exit", "apt-get -qq -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root"
PROGRAMS = ("l3roamd", "babeld", "siit")


def configuration(lab: Lab) -> str:
    """Return /etc/464xlat.conf of the exit."""
    site, node = lab.site, lab.node(EXIT)
    meshes = "".join(f"mesh = {device}\n" for device in lab.plan.babeld_devices(node))
    return f"""[node]
clat_range = {site.clat_range}
plat_range = {site.plat_range}
client_range = {site.prefix4}
mac = {format_mac(node.mac)}
mesh_mtu = {site.mesh_mtu}
[plat]
enabled = 1
wan = wan
[roaming]
node_client_prefix = {site.node_client_prefix6}
{meshes}"""


def try_gateway(lowers: list[Path], upper: Path, packages: Path, name: str) -> float:
    """Return the seconds from `apt install` until a client has IPv4 through it. Raises ContainerError, LabError."""
    topology = load_topology("line")
    files = str(EXAMPLE.parent / "topologies/line.toml"), str(EXAMPLE)
    with Lab(topology, load_site(str(EXAMPLE), topology.settings.pool), name=name, files=files) as lab:
        lab.wait_ready()
        lab.exec(EXIT, ["464xlat", "plat", "down"])
        for program in PROGRAMS:
            lab.running.stop(EXIT, program)
        links = "".join(
            f"{line}\n"
            for line in lab.plan.babeld_conf(lab.node(EXIT), "").splitlines()
            if line.startswith("interface")
        )
        with Container(lowers, upper, packages, lab.running.pids[EXIT]) as server:
            begun = time.monotonic()
            server.run(f"{APT} install -y --no-install-recommends /shared/1/*.deb")
            server.run(
                f"cat >/etc/464xlat.conf <<'END'\n{configuration(lab)}END\ncat >/etc/babeld.conf <<'END'\n{links}END"
            )
            server.run("systemctl reload 464xlat && systemctl restart babeld")
            server.wait("the role", lambda: server.try_run("464xlat plat status | grep -q ' up '"))
            lab.wait_ready(90)
            took = time.monotonic() - begun
            counted = server.run("464xlat metrics")
            if 'xlat464_translator_events_total{device="plat"' not in counted:
                raise ContainerError(f"nothing was translated by the gateway: {counted}")
            return took
