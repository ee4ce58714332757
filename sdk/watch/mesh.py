# SPDX-License-Identifier: ISC
"""A lab that is up, by whichever process, as pictures; and what the page may do with it."""

import contextlib
from collections.abc import Callable, Iterator
from itertools import cycle, islice

from sdk.lab.lab import Lab
from sdk.lab.machine import LabError, Machines
from sdk.lab.topology import Node
from sdk.watch.costs import NodeCosts
from sdk.watch.flows import Flows
from sdk.watch.picture import Picture
from xlat464.address import format_mac

LINKS_AT_ONCE = 4  # whether a link is cut is asked of nft, which is a program: so many a picture, in turn
ACTIONS: dict[str, Callable[..., object]] = {
    "roam": lambda lab, client, node: lab.roam(client, node, hard=True, renew=True),
    "cut": Lab.cut,
    "mend": Lab.heal,
    "kill": Lab.kill,
    "start": Lab.start,
}


@contextlib.contextmanager
def while_up(name: str) -> Iterator[None]:
    """A lab that ends meanwhile takes its files and machines with it, wherever one looks: LabError."""
    try:
        yield
    except (OSError, KeyError) as error:
        raise LabError(f"lab {name} ended, or is about to: {error}") from error


class WatchedMesh:
    """A lab as the server watches it. Raises LabError where there is none of that name any more."""

    def __init__(self, name: str):
        self.lab = Lab.find(name)
        self.costs = {node.name: NodeCosts() for node in self.lab.topology.nodes}
        self.links = [self.lab.plan.cables[link.name] for link in self.lab.topology.links]
        self.cut = {cable.name: self.lab.wiring.is_cut(cable) for cable in self.links}
        self.turn = cycle(self.links)
        self.flows = Flows({name: self.lab.running.pids[name] for name in self.lab.plan.clients})
        self.flows.start()

    def close(self) -> None:
        self.flows.close()
        for costs in self.costs.values():
            costs.close()

    def act(self, verb: str, *words: str) -> None:
        """Do what one may do from the page. Raises LabError with why it cannot be."""
        if verb not in ACTIONS or len(words) != (2 if verb == "roam" else 1):
            raise LabError(f"{verb!r} with {len(words)} words is nothing that can be done here")
        with while_up(self.lab.name):
            ACTIONS[verb](Lab.find(self.lab.name), *words)  # the other one belongs to the thread of pictures
            if verb in ("cut", "mend"):
                self.cut[self.lab.cable(words[0]).name] = verb == "cut"

    def picture(self) -> Picture:
        """Raises LabError if the lab is gone."""
        with while_up(self.lab.name):
            return self.take()

    def take(self) -> Picture:
        self.lab.running.pids.update(
            Machines.find(self.lab.name).pids
        )  # a node that was started is a new one
        alive, found = self.lab.alive(), self.lab.running.daemons()
        for cable in islice(self.turn, min(LINKS_AT_ONCE, len(self.links))):
            with contextlib.suppress(LabError):  # an end of it is starting just now
                self.cut[cable.name] = self.lab.wiring.is_cut(cable)
        served = {name: self.served(name) for name in alive if alive[name]}
        return {
            "name": self.lab.name,
            "nodes": [
                self.node(node, alive[node.name], found[node.name]) for node in self.lab.topology.nodes
            ],
            "links": self.link_pictures(alive),
            "clients": [self.client(name, served) for name in self.lab.plan.clients],
        }

    def node(self, node: Node, is_alive: bool, found: dict) -> dict:
        asked = self.lab.prefixd_status(node.name) if node.role.is_clat and is_alive else {}
        return {
            "name": node.name,
            "role": str(node.role),
            "alive": is_alive,
            "missing": [name for name in self.lab.plan.programs(node) if name not in found],
            "exit": self.lab.plat_name(asked.get("chosen")),
            "why": asked.get("why"),
        }

    def served(self, node: str) -> set[str]:
        """The MACs of the clients that a node's roaming daemon serves."""
        clients = self.lab.roaming_status(node).get("clients", [])
        return {client["mac"] for client in clients if client["state"] == "served"}

    def link_pictures(self, alive: dict[str, bool]) -> list[dict]:
        pids = self.lab.running.pids
        costs = {
            name: each.follow(pids.get(name) if alive[name] else None) for name, each in self.costs.items()
        }
        return [
            {
                "name": cable.name,
                "a": cable.a.machine,
                "b": cable.b.machine,
                "cut": self.cut[cable.name],
                "costs": [costs[end.machine].get(end.device) for end in (cable.a, cable.b)],
            }
            for cable in self.links
        ]

    def client(self, name: str, served: dict[str, set[str]]) -> dict:
        client, node = self.lab.plan.clients[name], self.lab.node_of(name)
        return {
            "name": name,
            "node": node,
            "home": client.node,
            "served": format_mac(client.mac) in served.get(node or "", ()),
            "address": self.lab.lease(name) or None,
            **self.flows.describe(name),
        }
