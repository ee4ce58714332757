# SPDX-License-Identifier: ISC
"""Checks of lines and networks: a WAN that goes and comes, firewalls, networks, devices, and reboots."""

import re
import time
from functools import partial

from sdk.router.check_services import no_flood
from sdk.router.mesh import NETIFD, CheckError, Mesh

BACK_S = 30  # for the client to be online again, once everything is back


def prefix_of(mesh: Mesh, node: str) -> str:
    """Return a node's /96, once its role is up."""
    mesh.wait(partial(mesh.is_up, node), f"{node}: its role up", BACK_S, 1)
    found = re.search(r"^(?:clat|plat)\s+up\s+\S+\s+(\S+)", mesh.status(node).said, re.M)
    if not found:
        raise CheckError(f"{node}: its role has no prefix")
    return found.group(1)


def is_offered(mesh: Mesh, prefix: str) -> bool:
    """Whether the platnode has what babel announces, and where it is OpenWrt's whether the mesh has heard of it.

    babeld 1.12, as Debian has it, takes back another prefix than the one that is gone (its check_xroutes).
    """
    if mesh.sh(mesh.platnode, f"ip -6 route show {prefix} proto static").strip():
        return True
    return NETIFD in mesh.abilities and is_announced(mesh, prefix)


def is_announced(mesh: Mesh, prefix: str) -> bool:
    """Whether the node between has a way to a prefix; one that was taken back stays as unreachable for a while."""
    routes = mesh.sh(mesh.between, f"ip -6 route show {prefix} proto babel").splitlines()
    return any(not route.startswith("unreachable") for route in routes)


def same_prefix(mesh: Mesh, before: str) -> None:
    if (now := prefix_of(mesh, mesh.platnode)) != before:
        raise CheckError(
            f"{mesh.platnode}: its prefix was {before} and is {now}: every session through it breaks"
        )


def wan_down(mesh: Mesh) -> str:
    """Without its WAN a platnode is none, and with it it is one again soon."""
    prefix = prefix_of(mesh, mesh.platnode)
    mesh.pull_wan()
    begun = time.monotonic()
    try:
        mesh.wait(lambda: not is_offered(mesh, prefix), f"{prefix} withdrawn after the WAN's loss", 60, 0.5)
        withdrawn_s = time.monotonic() - begun
        said, left_s = mesh.log(mesh.platnode), max(0.0, mesh.options.wan_down_s - withdrawn_s)
        time.sleep(left_s)
        no_flood(mesh, mesh.platnode, said, left_s)
        if "no IPv4 default route" not in mesh.status(mesh.platnode).said:
            raise CheckError(f"{mesh.platnode}: status does not say that there is no line")
    finally:
        mesh.plug_wan()
    back_s = mesh.wait_for_ping(BACK_S)
    same_prefix(mesh, prefix)
    return f"withdrawn after {withdrawn_s:.1f} s, answered {back_s:.1f} s after the cable was in again"


def firewall_stopped(mesh: Mesh) -> str:
    """After `service firewall stop` and `start`, which flush every table, the exit works or is none."""
    prefix = prefix_of(mesh, mesh.platnode)
    for node in (mesh.platnode, mesh.clatnode):
        mesh.sh(node, "/etc/init.d/firewall stop && sleep 2 && /etc/init.d/firewall start")
    back_s = mesh.wait_for_ping(BACK_S)
    mesh.sh(mesh.platnode, "/etc/init.d/firewall reload")
    mesh.sh(mesh.platnode, "/etc/init.d/firewall restart")
    again_s = mesh.wait_for_ping(BACK_S)
    same_prefix(mesh, prefix)
    return f"answered after {back_s:.1f} s, after reload and restart {again_s:.1f} s"


def firewall_gone(mesh: Mesh) -> str:
    """While the firewall is stopped a platnode without its NAT announces nothing, or has it again."""
    prefix = prefix_of(mesh, mesh.platnode)
    mesh.sh(mesh.platnode, "/etc/init.d/firewall stop")
    try:
        mesh.wait(
            lambda: not is_offered(mesh, prefix) or mesh.ping(),
            f"{prefix} withdrawn or the client online while the firewall is stopped",
            BACK_S,
            1,
        )
    finally:
        mesh.sh(mesh.platnode, "/etc/init.d/firewall start")
    return f"answered after {mesh.wait_for_ping(BACK_S):.1f} s"


def network_restarted(mesh: Mesh) -> str:
    """`service network restart` on each node in turn."""
    prefix = prefix_of(mesh, mesh.platnode)
    told = []
    for node in mesh.nodes:
        mesh.sh(node, "/etc/init.d/network restart")
        mesh.renew()
        told.append(f"{node} {mesh.wait_for_ping(2 * BACK_S):.1f} s")
    same_prefix(mesh, prefix)
    return f"answered after it: {', '.join(told)}"


def interfaces_down(mesh: Mesh) -> str:
    """`ifdown` and `ifup` of WAN, mesh and LAN."""
    told = []
    for node, network in (
        (mesh.platnode, "wan"),
        (mesh.between, "mesh"),
        (mesh.clatnode, "mesh"),
        (mesh.clatnode, "lan"),
    ):
        mesh.sh(node, f"ifdown {network} && sleep 2 && ifup {network}")
        mesh.renew()
        told.append(f"{node}'s {network} {mesh.wait_for_ping(2 * BACK_S):.1f} s")
    return f"answered after it: {', '.join(told)}"


def other_devices(mesh: Mesh) -> str:
    """A device that sorts first does not change a node's prefix."""
    before = {node: prefix_of(mesh, node) for node in (mesh.clatnode, mesh.platnode)}
    for node in before:
        mesh.sh(
            node,
            "ip link add aaa0 address 02:00:00:0a:aa:a0 type bridge && ip link set aaa0 up "
            "&& /etc/init.d/464xlat reload",
        )
    time.sleep(4)
    try:
        for node, prefix in before.items():
            mesh.wait(partial(mesh.is_up, node), f"{node}: up with a new device", 30, 1)
            if (now := prefix_of(mesh, node)) != prefix:
                raise CheckError(f"{node}: its prefix was {prefix} and is {now} with a new device aaa0")
    finally:
        for node in before:
            mesh.do(node, "ip link del aaa0; /etc/init.d/464xlat reload")
    return "the same prefixes"


def rebooted(mesh: Mesh) -> str:
    """Each node reboots, and the mesh is as before."""
    before = {node: prefix_of(mesh, node) for node in (mesh.clatnode, mesh.platnode)}
    told = []
    for node in mesh.nodes:
        mesh.reboot(node)
        mesh.renew()
        told.append(f"{node} {mesh.wait_for_ping(120):.1f} s")
    for node, prefix in before.items():
        if (now := prefix_of(mesh, node)) != prefix:
            raise CheckError(f"{node}: its prefix was {prefix} and is {now} after a reboot")
        if (done := mesh.status(node)).status:
            raise CheckError(
                f"{node}: status ends with {done.status} after a reboot: {done.said.strip()[-100:]}"
            )
    return f"answered after its boot: {', '.join(told)}"
