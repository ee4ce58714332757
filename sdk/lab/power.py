# SPDX-License-Identifier: ISC
"""Power: how the machines of a lab come up, all together, and how a node goes off and on again.

A node that starts has forgotten everything; what it leaves behind at its neighbours is the other half of its links.
"""

from pathlib import Path

from sdk.lab.base import LabBase
from sdk.lab.plan import Cable, other_end
from sdk.lab.side_by_side import side_by_side
from sdk.lab.topology import INTERNET


def bring_up(lab: LabBase) -> None:
    """Boot, wire and set up every machine of a lab whose first process runs."""
    save_files(lab)  # first: packages are configured by the site that is kept
    topology, plan, wiring, programs = lab.topology, lab.plan, lab.wiring, lab.programs
    names = [INTERNET, *(node.name for node in topology.nodes), *plan.clients]
    lab.log(f"booting {len(names)} machines: {' '.join(names)}")
    side_by_side(lambda name: boot(lab, name), names)
    lab.log(f"wiring {len(plan.cables)} links")
    wiring.start_wire()
    side_by_side(lambda client: lab.script(client.name, plan.client_lines(client)), topology.clients)
    wiring.lay(*plan.cables.values())
    for client in topology.clients:
        lab.associations.join(client, client.node)
    programs.start_internet()
    lab.log(f"starting {plan.program_names()} on the nodes")
    side_by_side(programs.start_node, topology.nodes, lab.log)
    side_by_side(programs.start_client, topology.clients)


def save_files(lab: LabBase) -> None:
    """Keep topology and site as they are now: editing the files does not change a lab that is up."""
    for file, saved in zip(lab.files, lab.running.saved_files(), strict=True):
        if file:
            saved.write_bytes(Path(file).read_bytes())


def boot(lab: LabBase, name: str) -> None:
    node = next((node for node in lab.topology.nodes if node.name == name), None)
    if lab.packages and node:
        lab.running.boot(name, lab.packages.mount(node, lab.running), str(lab.packages.folder))
    else:
        lab.running.boot(name)


def off(lab: LabBase, name: str) -> None:
    """Power a node off: its links lose all frames, and every process on it ends."""
    for cable in cables_at(lab, name):
        lab.wiring.cut(cable)
    lab.running.halt(name, and_init=False)


def on(lab: LabBase, name: str) -> None:
    """Power a node on, or off and on: it boots without state, its links are made again, and its programs start."""
    cables = [cable for cable in lab.cables.values() if cable.has_end_at(name)]
    left = cables_at(lab, name)
    clients = [client for client in lab.topology.clients if lab.node_of(client.name) == name]
    lab.running.halt(name, and_init=True)
    for cable in left:
        remove_far_end(lab, cable, name)
    boot(lab, name)
    lab.wiring.lay(*cables)
    alive = lab.programs.alive()
    for cable in cables:
        if alive.get(other_end(cable, name).machine) is False:
            lab.wiring.cut(cable)  # the node is off, but its kernel would answer and forward
    for client in clients:
        lab.associations.join(client, name)
    lab.programs.start_node(lab.node(name))
    for client in clients:
        for program in ("udhcpc", "handset"):  # it asks anew, as after every loss of its access point
            lab.running.stop(client.name, program)
        lab.programs.start_client(client)


def remove_far_end(lab: LabBase, cable: Cable, name: str) -> None:
    """Take away what a node that was powered off left of a link at its neighbour."""
    other = other_end(cable, name)
    lab.wiring.heal(other)
    # its device may exist for a moment after the node has ended, and its name must be free
    lab.exec(other.machine, ["ip", "link", "del", other.device], check=False)


def cables_at(lab: LabBase, node: str) -> list[Cable]:
    """Return every link that ends at a node, those that clients have left there as well."""
    cables = {(cable.a, cable.b): cable for cable in lab.cables.values() if cable.has_end_at(node)}
    for client in lab.plan.clients:
        cable = lab.associations.cable(client, node)
        if cable.a.device in lab.associations.kernel(client).devices():
            cables[cable.a, cable.b] = cable
    return list(cables.values())
