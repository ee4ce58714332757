# SPDX-License-Identifier: ISC
"""Checks of packages: installed, set up as the documentation says, and removed without a trace."""

import contextlib
import re
from functools import partial
from ipaddress import ip_address, ip_network

from sdk.router.mesh import CheckError, Mesh

BLAME = re.compile(
    r"command failed|not found|no such file|syntax error|traceback|cannot |failed to|\* [a-z_]+: "
    r"|permission denied|unexpected",
    re.I,
)
ROLE_S = 120
# what a person typed, and what a service of others makes of that
TYPED = re.compile(r"file /etc/config/(464xlat|babeld|dhcp|firewall)$|table table inet fw4$")
before: dict[str, dict[str, str]] = {}


def explain(said: str) -> str:
    """Return the first line that tells of a failure, "" if there is none."""
    return next((line.strip() for line in said.splitlines() if BLAME.search(line)), "")


def booted(mesh: Mesh) -> str:
    """A mesh's nodes have what OpenWrt has before our packages come."""
    for node in mesh.nodes:
        mesh.sh(node, "ubus -t 60 wait_for network.interface.lan")
        what = f"{node}: br-lan with an address (netifd needs a kernel with BRIDGE_VLAN_FILTERING)"
        mesh.wait(partial(mesh.shows, node, "ip -4 -o addr show dev br-lan", "inet "), what)
    what = f"{mesh.platnode}: a default route from the DHCP server"
    mesh.wait(partial(mesh.shows, mesh.platnode, "ip -4 route show default", "default"), what)
    return "procd, ubus, netifd, and an address by DHCP at the platnode"


def managed(mesh: Mesh, node: str, line: str) -> None:
    """Have the package manager do something. Raises CheckError with what it complains of first."""
    done = mesh.do(node, line, 300)
    if wrong := explain(done.said) or ("nothing" if done.status else ""):
        raise CheckError(f"{node}: `{line}` ({done.status}) says: {wrong}")


def installed(mesh: Mesh) -> str:
    """The documentation's commands for the package manager, typed on each node."""
    typed = []
    for node in mesh.nodes:
        before[node] = mesh.traces(node)
        for line in mesh.install_lines(node):
            managed(mesh, node, line)
            typed.append(line)
    return f"{len(typed)} commands, no complaint"


def set_up(mesh: Mesh) -> str:
    """The documentation's other commands, typed on each node."""
    count = 0
    for node in mesh.nodes:
        for line in mesh.settings(node):
            done = mesh.do(node, line)
            count += 1
            if "status" in line:
                continue  # which may be that something is still to come
            if done.status or explain(done.said):
                said = (explain(done.said) or done.said).strip()[-200:]
                raise CheckError(f"{node}: `{line}` ({done.status}) says: {said}")
    return f"{count} commands of the page"


def roles_up(mesh: Mesh) -> str:
    """The roles come up, and `service 464xlat status` says so with 0."""
    for node in (mesh.clatnode, mesh.platnode):
        mesh.wait(partial(mesh.is_up, node), f"{node}: {mesh.role_of(node)} up", ROLE_S)
        mesh.wait(partial(mesh.is_healthy, node), f"{node}: up, and a status of 0", 30, 1)
    return "clat and plat"


def client_online(mesh: Mesh) -> str:
    """The client has a lease, and the internet answers it."""
    mesh.renew()
    return f"an answer after {mesh.wait_for_ping(120):.1f} s"


def removed(mesh: Mesh) -> str:
    """The packages go as the package manager takes them, without a complaint, and nothing stays but what was typed."""
    for node in mesh.nodes:
        for line in mesh.remove_lines(node):
            managed(mesh, node, line)
    with contextlib.suppress(CheckError):
        mesh.wait(lambda: not any(difference(mesh, node) for node in mesh.nodes), "nothing left", 20, 2)
    for node in mesh.nodes:
        if found := difference(mesh, node):
            raise CheckError(f"{node} has {len(found)} traces: {'; '.join(found[:8])}")
    return "nothing is left but what was typed"


def difference(mesh: Mesh, node: str) -> list[str]:
    """Return what there is more or less on a node than before the packages came."""
    now, then = mesh.traces(node), before[node]
    changed = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
    return [f"{'+' if name in now else '-'} {name}" for name in changed if not TYPED.match(name)]


def announced(mesh: Mesh) -> str:
    """babel announces the ranges' /96s and clients' addresses, and of a node's own addresses none that are IPv4."""
    mesh.wait_for_ping(60)  # by then everybody has heard of everything
    routes = mesh.sh(mesh.between, "ip -4 route show proto babel; ip -6 route show proto babel").splitlines()
    wrong = []
    for route in routes:
        word = route.split()[0]
        if word in ("default", "unreachable"):
            continue
        network = ip_network(word if "/" in word else f"{ip_address(word)}", strict=False)
        if network.version == 4:
            wrong.append(word)
    if wrong:
        raise CheckError(
            f"{mesh.between} learned {', '.join(wrong)} from babel: no IPv4 of a node's own is for the mesh"
        )
    if not any("/96" in route for route in routes):
        raise CheckError(f"{mesh.between} learned no /96 from babel")
    return f"{len(routes)} routes"
