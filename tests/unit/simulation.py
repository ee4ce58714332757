# SPDX-License-Identifier: ISC
"""A simulated hour of a large mesh: clients walk among troubles, then all is quiet, and every invariant has to hold.

    make simulate [ARGS='--seed 3 --nodes 1000 --clients 20000 --minutes 60']

A round has some minutes of walking with one kind of trouble, and then a quiet period in which nothing is lost and
nobody walks. docs/protocol.md names what has to hold after it. At the end all clients go, and nothing may be left.

calm       nothing goes wrong; what is open stays open
rough      datagrams are lost, doubled, late, and overtake each other; daemons have no processor for a while
restarts   daemons are killed and start again with a state that is up to some seconds old; nodes lose power
parts      the mesh is in two parts for a while
exits      exits lose power and come back
all        all of it at once
"""

import argparse
import gc
import json
import sys
import time
from collections import Counter
from collections.abc import Callable

from l3roamd_mesh import Air
from simulated_checks import KEPT, NOTHING_LEFT, check, count_broken, nothing_left
from simulated_report import Progress, row, summarize, table
from simulated_world import Place, Walker, World

from runtime.usage import Parser

WALK_S, QUIET_S = (
    180.0,
    390.0,
)  # a silent client is asked after 300 s, and a node that is wrong needs 45 s then
SHOW_S = 5.0  # at its end: each client sends something, so that what a gate forgot is known again
STAY_S = 100.0  # of a client at a node, on average
CALLED_S = 3.0  # after which a call is answered, or its client has walked
CALL_S = 10.0  # between two clients that call another one, which may be anywhere
JOIN_S = 120.0  # in which all clients come, at the beginning
LEASE_S = 1500
STEP_S = 1.0  # of simulated time, between two looks at the clock
END_S = 90_000.0  # after which no token can be good any more
CALM = Air(convergence_s=2.0)
ROUGH = Air(jitter_s=0.03, loss=0.1, duplication=0.05, convergence_s=4.0)


class Failure(Exception):
    """An invariant does not hold: its name, and a sentence."""


class Simulation:
    def __init__(self, nodes: int, clients: int, minutes: float, seed: int) -> None:
        self.world = World(nodes, clients, seed)
        self.world.lease_s, self.world.air = LEASE_S, CALM
        self.seed, self.chance = seed, self.world.random
        self.until_s = self.world.now_s + minutes * 60
        self.begun_s, self.wall_s = self.world.now_s, time.monotonic()
        self.counts: Counter = Counter()
        self.rounds: list[dict] = []
        self._macs = list(self.world.clients)
        self.turn = 0  # the round that it is, so that nobody walks in two at once

    # What happens

    def run(self, tell: Callable[[str, float], None] = lambda what, share: None) -> None:
        """Raises Failure."""
        self.tell = tell
        gc.disable()  # of all that comes and goes next to nothing is a circle: once in a round is enough
        try:
            self._run()
        finally:
            gc.enable()

    def _run(self) -> None:
        world = self.world
        for node in world.nodes:
            node.look_for_exits()
        for walker in world.clients.values():
            world.after(self.chance.uniform(0, JOIN_S), lambda walker=walker: self._join(walker))
        self._play("coming", JOIN_S + 30)
        while world.now_s + WALK_S + QUIET_S <= self.until_s + 1 or not self.rounds:
            self._round(list(TROUBLES)[self.turn % len(TROUBLES)])
        self._end()

    def _join(self, walker: Walker) -> None:
        walker.associate(self.chance.choice(self.world.nodes))
        walker.take_new_address()

    def _stay(self, walker: Walker) -> None:
        turn = self.turn
        self.world.after(self.chance.expovariate(1 / STAY_S), lambda: self._walk(walker, turn))

    def _walk(self, walker: Walker, turn: int) -> None:
        """Walk to the next node, far away, through two nodes in a hurry, or be off for a while."""
        world, dice = self.world, self.chance.random()
        if not world.is_restless or turn != self.turn:
            return
        if walker.node is None:
            pass
        elif dice < 0.05:
            walker.leave()
            visit = walker.visits
            self.counts["switched off"] += 1
            world.after(self.chance.uniform(5, 200), lambda: self._return(walker, visit))
        else:
            here = walker.node
            there = world.near(here) if dice < 0.9 else self.chance.choice(self._with_power())
            self._go(walker, there)
            if dice < 0.2:
                world.after(self.chance.uniform(0.005, 0.5), lambda: self._go_on(walker, there, here))
        self._stay(walker)

    def _go(self, walker: Walker, there: Place) -> None:
        self.counts["walks"] += walker.node is not there
        walker.associate(there, self.chance.random() < 0.3)

    def _go_on(self, walker: Walker, there: Place, here: Place) -> None:
        """Before the first walk is done: back, or on."""
        if walker.node is there:
            walker.excused_s = self.world.now_s
            self._go(
                walker, here if not here.is_gone and self.chance.random() < 0.4 else self.world.near(there)
            )

    def _return(self, walker: Walker, visit: int) -> None:
        if walker.visits == visit and walker.node is None:
            walker.associate(self.chance.choice(self._with_power()))

    def _call(self) -> None:
        """One client sends to another one, by its IPv4 address."""
        chance, clients = self.chance, self.world.clients
        one, other = (clients[mac] for mac in chance.sample(self._macs, 2))
        if one.node is None or other.node is None or None in (one.ipv4, other.ipv4):
            return
        self.counts["calls"] += 1
        one.call(other.ipv4)
        self.world.after(CALLED_S, lambda ipv4=other.ipv4: self._count_call(one, ipv4))

    def _count_call(self, one: Walker, ipv4: bytes) -> None:
        self.counts["calls answered"] += one.node is not None and ipv4 in one.node.kernel.pairs

    def _with_power(self) -> list[Place]:
        return [node for node in self.world.nodes if not node.is_gone]

    # Rounds

    def _round(self, name: str) -> None:
        world, before = self.world, Counter(self.counts)
        homes, begun_s, world.is_restless = self._homes(), world.now_s, True
        self.turn += 1
        for walker in world.clients.values():
            self._stay(walker)
        until_s = world.now_s + WALK_S
        self._every(CALL_S, until_s, self._call)
        for trouble in TROUBLES[name]:
            trouble(self, until_s)
        self._play(name, WALK_S)
        gc.collect()
        world.is_restless, world.air = False, CALM
        self._play("quiet", QUIET_S)
        for walker in world.clients.values():
            walker.show()
        self._play("quiet", SHOW_S)
        kept, had = self._kept(homes, begun_s)
        self.rounds.append(
            {"trouble": name, "walks": self.counts["walks"] - before["walks"], "kept": kept, "had": had}
        )
        if name == "calm" and kept < had:
            raise Failure(KEPT, f"{had - kept} of {had} clients have another home than before")
        broken = check(world)
        if broken is not None:
            raise Failure(*broken)

    def _homes(self) -> dict[bytes, tuple[bytes, bytes]]:
        found = {}
        for walker in self.world.clients.values():
            path = None if walker.ipv4 is None or walker.node is None else self.world.path(walker)
            if path is not None:
                found[walker.mac] = (walker.ipv4, path)
        return found

    def _kept(self, homes: dict, begun_s: float) -> tuple[int, int]:
        """Of the clients that have the address that they had: how many have their connections, and how many are."""
        now = self._homes()
        clients = self.world.clients
        both = [
            mac
            for mac, (ipv4, _) in homes.items()
            if mac in now and now[mac][0] == ipv4 and clients[mac].excused_s < begun_s
        ]
        return sum(now[mac] == homes[mac] for mac in both), len(both)

    def _end(self) -> None:
        """All clients go, and all times pass."""
        for walker in self.world.clients.values():
            walker.leave()
            walker.lease_until_s = walker.visits = -1
        self._play("after all", END_S, 60)
        for sentence in nothing_left(self.world):
            raise Failure(NOTHING_LEFT, sentence)

    def _play(self, what: str, duration_s: float, step_s: float = STEP_S) -> None:
        world, until_s = self.world, self.world.now_s + duration_s
        whole_s = self.until_s - self.begun_s
        while world.now_s < until_s:
            world.run(min(step_s, until_s - world.now_s), sys.maxsize)
            self.tell(what, min(1.0, (world.now_s - self.begun_s) / whole_s))

    # Troubles: each happens until a time

    def _every(self, mean_s: float, until_s: float, act: Callable[[], None]) -> None:
        """Do something again and again, with pauses by chance."""
        pause_s = self.chance.expovariate(1 / mean_s)
        if self.world.now_s + pause_s < until_s:

            def go_on() -> None:
                act()
                self._every(mean_s, until_s, act)

            self.world.after(pause_s, go_on)

    def _each_node_every(self, mean_s: float) -> float:
        """So often that each node has its turn once in so many seconds."""
        return mean_s / len(self.world.nodes)

    def be_rough(self, until_s: float) -> None:
        self.world.air = ROUGH
        self._every(self._each_node_every(300), until_s, self._stall)

    def _stall(self) -> None:
        node = self.chance.choice(self._with_power())
        if node.is_up:
            self.counts["stalls"] += 1
            node.stall(self.chance.choice([0.02, 0.1, 0.4, 1.5]))

    def restart(self, until_s: float) -> None:
        self._every(self._each_node_every(600), until_s - 20, self._kill)
        self._every(self._each_node_every(3000), until_s - 90, self._cut_power)

    def _kill(self) -> None:
        """Kill a daemon some time after it wrote its state."""
        node = self.chance.choice(self._with_power())
        if node.is_up:
            saved = node.core.snapshot(node.now_s)

            def kill() -> None:
                if node.is_up and node.unread is None:
                    self.counts["daemons killed"] += 1
                    node.restart_daemon(self.chance.choice([0.2, 0.5, 5.0]), saved)

            self.world.after(self.chance.choice([0.0, 0.5, 3.0]), kill)

    def _cut_power(self) -> None:
        node = self.chance.choice(self._with_power())
        if node.plat is None and node.is_up:
            self._off_for(node, self.chance.uniform(20, 60))

    def _off_for(self, node: Place, duration_s: float) -> None:
        self.counts["nodes without power"] += 1
        node.lose_power()
        self.world.look_for_exits()
        self.world.after(duration_s, node.boot)

    def part(self, until_s: float) -> None:
        """Cut some columns off, for a minute and a half."""
        world = self.world
        width = self.chance.randint(1, world.columns // 2)
        numbers = [node.number for node in world.nodes if (node.number - 1) % world.columns < width]
        self.counts["partitions"] += 1
        world.after(30, lambda: world.split(*numbers))
        world.after(120, world.heal)

    def lose_exits(self, until_s: float) -> None:
        for place in self.chance.sample(self.world.exits, max(1, len(self.world.exits) // 4)):
            at_s = self.chance.uniform(20, WALK_S - 120)
            self.world.after(at_s, lambda place=place: place.is_up and self._off_for(place, 60))


TROUBLES: dict[str, tuple[Callable[[Simulation, float], None], ...]] = {
    "calm": (),
    "rough": (Simulation.be_rough,),
    "restarts": (Simulation.restart,),
    "parts": (Simulation.part,),
    "exits": (Simulation.lose_exits,),
    "all": (
        Simulation.be_rough,
        Simulation.restart,
        Simulation.part,
        Simulation.lose_exits,
    ),
}


# For people


def parse(words: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="make simulate", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="what all chance comes from (default 1)")
    parser.add_argument(
        "--seeds", type=int, default=1, help="so many meshes, one after the other, from --seed on"
    )
    parser.add_argument("--nodes", type=int, default=1000, help="of the mesh (default 1000)")
    parser.add_argument("--clients", type=int, default=20000, help="that walk in it (default 20000)")
    parser.add_argument("--minutes", type=float, default=60, help="simulated (default 60)")
    parser.add_argument("--json", metavar="FILE", help="write the figures to a file, too")
    arguments = parser.parse_args(words)
    if not 4 <= arguments.nodes <= 65000 or not 1 <= arguments.clients <= 1 << 24 or arguments.seeds < 1:
        parser.error("expected 4 to 65000 nodes, at least one client and one seed")
    return arguments


def simulate(arguments: argparse.Namespace, seed: int) -> dict:
    """Return what happened in one mesh, as summarize does; `broken`: the invariant that does not hold, or None."""
    simulation = Simulation(arguments.nodes, arguments.clients, arguments.minutes, seed)
    progress, failure = Progress(), None
    try:
        simulation.run(progress.tell)
    except Failure as error:
        failure = error.args
    progress.end()
    found = summarize(simulation)
    found["broken"] = None
    if failure is not None:
        counts = count_broken(simulation.world)
        found["broken"] = {"invariant": failure[0], "sentence": failure[1], "counts": counts}
        print(f"simulate: seed {seed}: {failure[0]}: {failure[1]}", file=sys.stderr)
    return found


def main(words: list[str] | None = None) -> int:
    arguments = parse(words)
    found = []
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        found.append(simulate(arguments, seed))
        if arguments.seeds > 1:
            print(row(found[-1]), flush=True)
    if arguments.seeds == 1:
        print(table(found[0]))
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(found if len(found) > 1 else found[0], file, indent=1)
            file.write("\n")
    return 1 if any(each["broken"] for each in found) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
