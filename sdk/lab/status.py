# SPDX-License-Identifier: ISC
"""What `lab status` tells: nodes, links and clients of a lab, for a program or for the eye."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from runtime.text import table as aligned
from sdk.lab.plan import text
from xlat464.address import format_mac

if TYPE_CHECKING:
    from sdk.lab.lab import Lab


def describe(lab: "Lab") -> dict:
    """Return what there is, in what JSON has."""
    return {
        "name": lab.name,
        "topology": lab.files[0],
        "nodes": describe_nodes(lab),
        "links": [
            {
                "name": cable.name,
                "between": [cable.a.machine, cable.b.machine],
                "mtu": cable.mtu,
                "cut": lab.wiring.is_cut(cable),
            }
            for cable in lab.cables.values()
        ],
        "clients": [
            {
                "name": client.name,
                "node": lab.node_of(client.name),
                "home": client.node,
                "mac": format_mac(client.mac),
                "address": lab.lease(client.name) or None,
            }
            for client in lab.topology.clients
        ],
        "init_pid": lab.running.init_pid,
    }


def describe_nodes(lab: "Lab") -> list[dict]:
    found, alive, nodes = lab.running.daemons(), lab.alive(), []
    for node in lab.topology.nodes:
        status = lab.prefixd_status(node.name) if node.role.is_clat else {}
        nodes.append(
            {
                "name": node.name,
                "role": str(node.role),
                "alive": alive[node.name],
                "missing": [name for name in lab.plan.programs(node) if name not in found[node.name]],
                "clat_prefix": text(lab.plan.clat_prefix(node)) if node.role.is_clat else None,
                "plat_prefix": text(lab.plan.plat_prefix(node)) if node.role.is_plat else None,
                "plat": lab.plat_name(status.get("chosen")),
                "why": status.get("why"),
            }
        )
    return nodes


def table(status: dict) -> list[str]:
    """Return the lines of a description for the eye."""
    lines = [f"lab {status['name']}: {status['topology']}", ""]
    lines += columns(
        ("NODE", "ROLE", "STATE", "PLAT", "WHY"),
        [
            (node["name"], node["role"], state(node), node["plat"] or "-", node["why"] or "-")
            for node in status["nodes"]
        ],
    )
    links = [
        (link["name"], " - ".join(link["between"]), str(link["mtu"]), "cut" if link["cut"] else "carries")
        for link in status["links"]
    ]
    clients = [
        (client["name"], client["node"] or "-", client["address"] or "no lease")
        for client in status["clients"]
    ]
    lines += ["", *columns(("LINK", "BETWEEN", "MTU", "STATE"), links)]
    return [*lines, "", *columns(("CLIENT", "NODE", "ADDRESS"), clients)] if clients else lines


def state(node: dict) -> str:
    if not node["alive"]:
        return "off"
    return f"without {', '.join(node['missing'])}" if node["missing"] else "up"


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return aligned([head, *rows])
