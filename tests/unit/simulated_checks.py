# SPDX-License-Identifier: ISC
"""The invariants of docs/protocol.md, each under its name there: what has to hold after a quiet period, everywhere.

Each check yields a sentence for what does not hold.
"""

from collections import Counter
from collections.abc import Callable, Iterator

from simulated_world import Place, Walker, World

from l3roamd_py.core.client import Absent, Claiming, Lease
from xlat464.address import format_ipv4, format_ipv6, format_mac
from xlat464.node import management_address

OPEN_S = 10.0  # no question to another node is open for longer: TOKEN_REQUEST has 8 s
LATE_S = 1.0  # what a timer may be overdue
ROUNDED_S = 3.0  # daemon and kernel count whole seconds: one of them may have forgotten what ends so soon
OBSERVERS = 16  # nodes whose routes are looked at, for each client
SLACK = 64  # of a heap of timers: l3roamd_py/core/timers.py

Broken = Iterator[str]


class Survey:
    """All nodes and clients at one time, each table turned so that it can be looked up by client."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.nodes = [node for node in world.nodes if node.is_up]
        self.here = [walker for walker in world.clients.values() if walker.node is not None]
        self.holders: dict[bytes, list[Place]] = {}
        self.servers: dict[bytes, list[Place]] = {}
        for node in self.nodes:
            for address in node.kernel.node_clients:
                self.holders.setdefault(address, []).append(node)
            for mac in node.core.node.clients:
                self.servers.setdefault(mac, []).append(node)


def one_node(survey: Survey) -> Broken:
    """A client that is there has its node-client address at its node and no other; one that is off at one at most."""
    for walker in survey.world.clients.values():
        holders = survey.holders.get(survey.world.address(walker), [])
        if walker.node is not None and holders != [walker.node]:
            yield f"{_name(walker)} is at node {walker.node.number}, and announced by {_numbers(holders)}"
        elif walker.node is None and len(holders) > 1:
            yield f"{_name(walker)} is off, and announced by {_numbers(holders)}"


def one_record(survey: Survey) -> Broken:
    """The node where a client is serves it, and no other has it as a client."""
    for walker in survey.here:
        servers = survey.servers.get(walker.mac, [])
        if servers != [walker.node]:
            yield f"{_name(walker)} is at node {walker.node.number}, and a client of {_numbers(servers)}"
            continue
        state = walker.node.core.node.clients[walker.mac].state
        if isinstance(state, Absent):
            yield f"{_name(walker)} is at node {walker.node.number}, which takes it for absent"


def same_addresses(survey: Survey) -> Broken:
    """What a client sends from passes at its node, and is routed to it there; a node lets in, routes and pins what its
    own clients have, and nothing else."""
    for walker in survey.here:
        kernel = walker.node.kernel
        for address in walker.addresses():
            if len(address) == 4 and _is_over(survey, walker):
                continue
            pair = (walker.mac, address)
            routed = kernel.neighbours if len(address) == 4 else kernel.routes
            if pair not in kernel.opened or pair not in routed:
                yield f"{_name(walker)}: {_address(address)} does not pass at node {walker.node.number}"
    for node in survey.nodes:
        kernel, core = node.kernel, node.core.node
        for mac, address in kernel.opened | kernel.neighbours | kernel.routes:
            client = core.clients.get(mac)
            has = client is not None and address in (client.ipv4, *client.addresses)
            if not has or core.owner_of.get(address) != mac:
                yield f"node {node.number} lets {_address(address)} of {format_mac(mac)} in, which has it not"
        for address, mac in core.owner_of.items():
            client = core.clients.get(mac)
            if client is None or address not in (client.ipv4, *client.addresses):
                yield f"node {node.number} takes {_address(address)} to be {format_mac(mac)}'s, which has it not"


def same_lease(survey: Survey) -> Broken:
    """A client's node, its set of PLATs and the platnode agree on home and PLAT, and no two clients have one home."""
    homes: Counter = Counter()
    for walker in survey.here:
        if walker.ipv4 is None or _is_over(survey, walker):
            continue
        client = walker.node.core.node.clients.get(walker.mac)
        lease = None if client is None else client.lease
        if lease is None or lease.ipv4 != walker.ipv4:
            yield f"{_name(walker)} has no lease for {format_ipv4(walker.ipv4)} at node {walker.node.number}"
            continue
        path = survey.world.path(walker)
        if path != (lease.plat, lease.home) and not _is_taken_along(walker, lease):
            way = "no way" if path is None else f"{format_ipv6(path[1])} at {format_ipv6(path[0])}"
            home = format_ipv6(lease.home)
            yield f"{_name(walker)} at node {walker.node.number}: home {home}, but the exit has {way}"
        homes[lease.plat, lease.home] += 1
    for (_, home), count in homes.items():
        if count > 1:
            yield f"{count} clients have the home {format_ipv6(home)}"
    for node in survey.nodes:
        for at, (_, until_s) in node.kernel.plats.items():
            if until_s > survey.world.now_s + LATE_S and at[12:] not in node.core.node.owner_of:
                yield f"node {node.number} has a PLAT for {format_ipv6(at)}, which no client has"
        yield from _own_plats(node)


def _own_plats(node: Place) -> Broken:
    """The kernel sends to a PLAT what the daemon means to, of clients that translate themselves."""
    meant = {
        address: client.own_plat
        for client in node.core.node.clients.values()
        for address in client.addresses
        if client.own_plat is not None
    }
    for address in meant.keys() | node.kernel.own_plats.keys():
        is_plat = node.kernel.own_plats.get(address)
        if is_plat != meant.get(address):
            yield f"node {node.number} sends {format_ipv6(address)} to {is_plat!r}, not {meant.get(address)!r}"


def _is_over(survey: Survey, walker: Walker) -> bool:
    """Whether its lease ends just now."""
    return walker.lease_until_s < survey.world.now_s + ROUNDED_S


def _is_taken_along(walker: Walker, lease: Lease) -> bool:
    """Whether somebody else roams with the address that a client was given here: it has no token, and goes on so."""
    node = walker.node
    exit_node = node.mesh.owner(management_address(lease.plat))
    is_mapped = exit_node is not None and lease.home in exit_node.kernel.at_of
    return is_mapped and lease.home == node.core.node.at(walker.ipv4) and not lease.token.serial


def same_mappings(survey: Survey) -> Broken:
    """A platnode and its kernel have the same mappings: each home once, each place once."""
    for node in survey.nodes:
        platnode, now_s = node.core.platnode, survey.world.now_s
        if platnode is None:
            continue
        kernel = {home: (at, until_s - now_s) for at, (home, until_s, _) in node.kernel.home_of.items()}
        core = {
            home: (entry.at, entry.until_s - node.now_s)
            for home, entry in platnode.entries.items()
            if entry.at is not None
        }
        for one, other, who in ((kernel, core, "the kernel"), (core, kernel, "the daemon")):
            for home, (at, left_s) in one.items():
                if left_s > ROUNDED_S and other.get(home, (None, 0))[0] != at:
                    yield f"exit {node.number}: {format_ipv6(home)} is mapped to {format_ipv6(at)} by {who} alone"


def same_way(survey: Survey) -> Broken:
    """Babel leads every node to the node where the client is."""
    chance = survey.world.random
    for walker in survey.here:
        for node in chance.sample(survey.nodes, min(OBSERVERS, len(survey.nodes))):
            there = survey.world.route(node, survey.world.address(walker))
            if there is not walker.node:
                where = "nowhere" if there is None else f"to node {there.number}"
                yield f"{_name(walker)} is at node {walker.node.number}, babel leads node {node.number} {where}"


def no_open_question(survey: Survey) -> Broken:
    """No node waits for an answer that is not to come: no client is being searched for, asked for or fought over."""
    for node in survey.nodes:
        core = node.core.node
        for client in core.clients.values():
            rival = client.rival is not None and client.rival.until_s < node.now_s - OPEN_S
            contest = client.contest is not None and client.contest.next_s < node.now_s - LATE_S
            if isinstance(client.state, Claiming) or rival or contest or client.search.is_contested:
                yield f"node {node.number} has a question open about {format_mac(client.mac)}, {client.state.name}"
            lease = client.lease
            for asked in () if lease is None else filter(None, (lease.roam, lease.request)):
                if asked.started_s < node.now_s - OPEN_S:
                    yield f"node {node.number} waits for an exit's answer about {format_mac(client.mac)}"
        for departed in core.departed.values():
            if departed.info is not None and departed.info.started_s < node.now_s - OPEN_S:
                yield f"node {node.number} tells of {format_mac(departed.mac)} without end"
        for name in ("claiming", "touched", "verifications"):
            if getattr(core, name):
                yield f"node {node.number}: {name} has {len(getattr(core, name))} entries"


def no_leftovers(survey: Survey) -> Broken:
    """A timer, a record or an entry of a set is about somebody whom the node knows, and none is overdue."""
    for node in survey.nodes:
        core, now_s = node.core.node, node.now_s
        known = {
            *core.clients, *core.departed, *core.granted, *core.unrouted_plats, *core.verifications,
            *core.asked_partners, b"",
        }  # fmt: skip
        for what, whose in core.timers._due:
            if whose not in known:
                yield f"node {node.number} has a timer {what.__name__} about {whose.hex()}, whom it does not know"
        if core.timers.next_s is not None and core.timers.next_s < now_s - LATE_S:
            yield f"node {node.number} has a timer that is overdue for {now_s - core.timers.next_s:.1f} s"
        for departed in core.departed.values():
            if departed.until_s < now_s - LATE_S:
                yield f"node {node.number} remembers {format_mac(departed.mac)} beyond its time"
        if core.pairs or core.sought or node.kernel.pairs:
            yield f"node {node.number} keeps {len(core.pairs)} pairs that nobody uses, and {len(core.sought)} searches"
        if set(core.away) - set(core.granted):
            yield f"node {node.number} watches leases that it has not given"
        lingering = {core.node_client(mac) for mac in [*core.clients, *core.departed]}
        for address in node.kernel.node_clients - lingering:
            yield f"node {node.number} announces {format_ipv6(address)}, of nobody whom it knows"
        if set(core.ports._port_of) != set(core.clients):
            yield f"node {node.number}: its ports have other clients than it has itself"


def bounded(survey: Survey) -> Broken:
    """Every table is within its bound."""
    for node in survey.nodes:
        core, options = node.core.node, node.core.options
        bounds = (
            ("clients", len(core.clients), options.max_clients),
            ("departed", len(core.departed), options.max_departed),
            ("granted", len(core.granted), options.max_granted),
            ("relayed", len(core.relayed), options.max_relayed),
            ("prepared", len(core.prepared), options.max_prepared),
            ("questions about leases", len(core.away_questions), len(core.away)),
            ("timers", len(core.timers._heap), 2 * len(core.timers) + SLACK),
            ("behind", len(core.behind), options.max_clients),
            (
                "mappings",
                0 if node.core.platnode is None else len(node.core.platnode.entries),
                options.max_roams,
            ),
        )
        for name, count, most in bounds:
            if count > most:
                yield f"node {node.number}: {name}: {count}, expected {most} at the most"


def nothing_left(world: World) -> Broken:
    """When all clients have gone and all their times are over, no node knows anything of them."""
    for node in world.nodes:
        core, kernel, platnode = node.core.node, node.kernel, node.core.platnode
        left = {
            "clients": core.clients, "departed": core.departed, "owners": core.owner_of,
            "timers": [key for key in core.timers._due if key[1] not in core.asked_partners],
            "prepared": core.prepared, "sent on": core.sent_on, "pairs": core.pairs, "sought": core.sought,
            "granted": core.granted, "away": core.away, "claiming": core.claiming, "behind": core.behind,
            "verifications": core.verifications, "ports": core.ports._port_of,
            "gate": kernel.opened, "neighbours": kernel.neighbours, "routes": kernel.routes,
            "node-client addresses": kernel.node_clients,
            "PLATs": [each for each in kernel.plats.values() if each[1] > world.now_s],
            "own PLATs": kernel.own_plats,
            "mappings": [each for each in kernel.home_of.values() if each[1] > world.now_s],
            "homes": () if platnode is None else platnode.entries,
        }  # fmt: skip
        for name, what in left.items():
            if what:
                yield f"node {node.number}: {name}: {len(what)} left, as {next(iter(what))!r}"


CHECKS: dict[str, Callable[[Survey], Broken]] = {
    "one node": one_node,
    "one record": one_record,
    "same addresses": same_addresses,
    "same lease": same_lease,
    "same mappings": same_mappings,
    "same way": same_way,
    "no open question": no_open_question,
    "no leftovers": no_leftovers,
    "bounded": bounded,
}
NOTHING_LEFT, KEPT = "nothing left", "connections kept"  # at the end; in a mesh in which nothing goes wrong


def check(world: World) -> tuple[str, str] | None:
    """Return the name of the first invariant that does not hold, with a sentence."""
    survey = Survey(world)
    for name, broken in CHECKS.items():
        for sentence in broken(survey):
            return name, sentence
    return None


def count_broken(world: World) -> dict[str, int]:
    survey = Survey(world)
    return {name: sum(1 for _ in broken(survey)) for name, broken in CHECKS.items()}


def _name(walker: Walker) -> str:
    return format_mac(walker.mac)


def _numbers(nodes: list[Place]) -> str:
    return " and ".join(str(node.number) for node in nodes) if nodes else "nobody"


def _address(address: bytes) -> str:
    return format_ipv4(address) if len(address) == 4 else format_ipv6(address)
