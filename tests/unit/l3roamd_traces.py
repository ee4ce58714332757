# SPDX-License-Identifier: ISC
"""What simulated meshes do, seed by seed, to compare two versions of the core.

    PYTHONPATH=. python tests/unit/l3roamd_traces.py FILE [SEEDS]    write what each seed comes to
    PYTHONPATH=. python tests/unit/l3roamd_traces.py ONE OTHER       compare two such files

Each line of the file has a seed, a hash of all actions of all nodes with their times, and the outcome. The outcome is
who serves each client, which way its packets go, and what the kernels hold. Renames change neither. A change inside the
core must not change the outcomes of the calm seeds. In the others the network loses messages at random, so one message
more or less gives another outcome.
"""

import hashlib
import json
import random
import sys
from collections import Counter
from pathlib import Path

from l3roamd_mesh import CLIENT_IPV6, CONVERGENCE_S, Air, Client, Mesh, make_client

from l3roamd_py.core import events

SEEDS, STEPS = 300, 14
COUNTED = (
    "arrivals",
    "departures",
    "roams",
    "roams_failed",
    "claims_refused",
    "absences",
    "clients_elsewhere",
)
PAUSES_S = (0.0, 0.002, 0.004, 0.01, 0.02, 0.05, 0.1, 0.3, 0.7, 1.3, 2.0, 5.0, 9.0)


class Scenario:
    """A mesh and what happens in it: all of it follows from the seed, nothing from what the nodes do."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.is_calm = seed % 3 > 0
        chance = self.chance
        air = Air(
            delay_s=chance.choice([0.0005, 0.005, 0.03]),
            jitter_s=0.0 if self.is_calm else chance.choice([0.0, 0.004, 0.04]),
            loss=0.0 if self.is_calm else chance.choice([0.0, 0.05, 0.2]),
            duplication=0.0 if self.is_calm else chance.choice([0.0, 0.3]),
            convergence_s=chance.choice([0.05, 1.0, 3.5]),
        )
        self.mesh = Mesh(nodes=5, platnodes=chance.choice([(4,), (4, 5)]), air=air, seed=seed)
        self.hash = hashlib.sha256()
        self.clients = [self._join(number) for number in range(1, 4)]
        self.mesh.run(2)

    def _join(self, number: int) -> Client:
        mesh, node = self.mesh, self.mesh.nodes[self.chance.randrange(3)]
        client = make_client(number, node.number)
        client.answer_s = self.chance.choice([0.001, 0.002, 0.02])
        if self.chance.random() < 0.4:
            client.ipv6 = CLIENT_IPV6[:15] + bytes((number,))
        if self.chance.random() < 0.7:
            mesh.join(client, node, self.chance.choice([60, 3600]))
        else:
            mesh.clients[client.mac] = client
            mesh.move(client, node)
        self._show_ipv6(client)
        return client

    def _show_ipv6(self, client: Client) -> None:
        node, ipv6 = client.node, client.ipv6
        if node is not None and ipv6 is not None:
            seen = events.AddressSeen(client.mac, ipv6)
            self.mesh.after(0.005, lambda: client.node is node and node.handle(seen))

    def play(self) -> dict:
        for _ in range(STEPS):
            client = self.chance.choice(self.clients)
            self.chance.choices([each for each, _ in DEEDS], [often for _, often in DEEDS])[0](self, client)
            self.mesh.run(self.chance.choice(PAUSES_S))
        self.mesh.split()
        self.mesh.heal()
        for node in self.mesh.nodes:
            node.is_deaf_to_group = False
        for _ in range(4):
            for client in self.clients:
                client.is_asleep = False
                self.mesh.knock(client)
            self.mesh.run(CONVERGENCE_S)
        return {
            "calm": self.is_calm,
            "actions": self._trace(),
            "outcome": self._outcome(),
            "counters": dict(
                sum((Counter(node.core.status(0.0)["counters"]) for node in self.mesh.nodes), Counter())
            ),
        }

    def walk(self, client: Client) -> None:
        self.mesh.move(client, self.chance.choice(self.mesh.nodes), self.chance.random() < 0.3)
        self._show_ipv6(client)

    def knock(self, client: Client) -> None:
        self.mesh.knock(client)

    def sleep(self, client: Client) -> None:
        client.is_asleep = not client.is_asleep

    def renew(self, client: Client) -> None:
        if client.node is not None:
            client.node.handle(events.LeaseGranted(client.mac, client.ipv4, 3600, True, True))

    def release(self, client: Client) -> None:
        if client.node is not None:
            client.node.handle(events.LeaseEnded(client.mac, client.ipv4))

    def pass_by(self, client: Client) -> None:
        """A sign of a client where it is not, or a word of its going that is wrong."""
        node = self.chance.choice(self.mesh.nodes)
        said = [events.ClientSeen(client.mac), events.ClientGone(client.mac)]
        node.handle(self.chance.choice([*said, events.ClientSeen(client.mac, is_proof=True)]))

    def restart(self, _: Client) -> None:
        node = self.chance.choice(self.mesh.nodes)
        if node.is_up:
            node.restart(self.chance.choice([0.1, 0.3]), node.core.snapshot(self.mesh.now_s))

    def split(self, _: Client) -> None:
        self.mesh.split(*self.chance.choice([(1,), (2, 3), ()]))
        if not self.mesh.part:
            self.mesh.heal()

    def stall(self, _: Client) -> None:
        self.chance.choice(self.mesh.nodes).stall(self.chance.choice([0.02, 0.3]))

    def hide(self, _: Client) -> None:
        node = self.chance.choice(self.mesh.nodes)
        node.is_deaf_to_group = not node.is_deaf_to_group

    def lose_plat(self, _: Client) -> None:
        exits = [node for node in self.mesh.nodes if node.plat is not None]
        lost, chosen = self.chance.choice(exits), self.chance.choice(exits)
        for node in self.mesh.nodes:
            node.handle(events.PlatLost(lost.plat))
            node.handle(events.PlatChosen(chosen.plat))

    def wait(self, _: Client) -> None:
        self.mesh.run(self.chance.choice([15.0, 80.0, 320.0]))

    def _trace(self) -> str:
        for node in self.mesh.nodes:
            for action in node.actions:
                fields = [repr(getattr(action, name)) for name in type(action).__slots__ if name != "done"]
                self.hash.update(f"{node.number} {type(action).__name__} {fields}\n".encode())
        return self.hash.hexdigest()

    def _outcome(self) -> dict:
        mesh = self.mesh
        return {
            "clients": [
                [
                    client.node and client.node.number,
                    [node.number for node in mesh.serving(client)],
                    [each.hex() for each in mesh.path(client) or ()],
                ]
                for client in self.clients
            ],
            "kernels": [
                [
                    sorted(mac.hex() + ipv4.hex() for mac, ipv4 in node.kernel.opened),
                    sorted(mac.hex() + ipv4.hex() for mac, ipv4 in node.kernel.neighbours),
                    sorted(mac.hex() + address.hex() for mac, address in node.kernel.routes),
                    sorted(
                        at.hex() for at, (_, until_s) in node.kernel.plats.items() if until_s > mesh.now_s
                    ),
                    sorted(home.hex() + at.hex() for home, at in node.kernel.at_of.items()),
                ]
                for node in mesh.nodes
            ],
        }


DEEDS = [
    (Scenario.walk, 8),
    (Scenario.knock, 3),
    (Scenario.sleep, 2),
    (Scenario.renew, 2),
    (Scenario.release, 0.5),
    (Scenario.pass_by, 2),
    (Scenario.restart, 1),
    (Scenario.split, 1),
    (Scenario.stall, 1),
    (Scenario.hide, 0.5),
    (Scenario.lose_plat, 0.5),
    (Scenario.wait, 1),
]


def _figure(found: dict, name: str) -> int:
    """Return how many clients one node serves, the right one; of how many packets pass; or a counter."""
    clients = found["outcome"]["clients"]
    if name == "served":
        return sum(serving == [node] for node, serving, _ in clients)
    return sum(bool(path) for *_, path in clients) if name == "passes" else found["counters"].get(name, 0)


def compare(one: dict, other: dict) -> int:
    """Tell how many seeds differ, and of which the outcome does."""
    common = one.keys() & other.keys()
    for kind, is_calm in (("calm", True), ("lossy", False)):
        seeds = [seed for seed in common if one[seed]["calm"] is is_calm]
        actions = [seed for seed in seeds if one[seed]["actions"] != other[seed]["actions"]]
        outcomes = [seed for seed in seeds if one[seed]["outcome"] != other[seed]["outcome"]]
        print(f"{kind}: of {len(seeds)} seeds {len(actions)} do otherwise, {len(outcomes)} end otherwise")
        print(*sorted(outcomes, key=int))
        for name in ("served", "passes", *COUNTED):
            print(
                f"  {name:20}", *(sum(_figure(each[seed], name) for seed in seeds) for each in (one, other))
            )
    return 0


def main(first: str, second: str = str(SEEDS)) -> int:
    if not second.isdigit():
        return compare(json.loads(Path(first).read_text()), json.loads(Path(second).read_text()))
    found = {seed: Scenario(seed).play() for seed in range(int(second))}
    Path(first).write_text(json.dumps(found, indent=0))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
