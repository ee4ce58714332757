# SPDX-License-Identifier: ISC
"""The seed document's rules on the platnode, to show and to measure what they do; no router runs them.

For every clatnode D that a client came from and every clatnode B that one went to, a set and a rule of the nat table:

    ip6tables -t nat -I POSTROUTING -o plat -m set --match-set rofromD src -j NETMAP --to CLATD/96
    ip6tables -t nat -A PREROUTING -i plat -m set --match-set rotoB dst -j NETMAP --to CLATB/96

They break open connections: conntrack knows the flow by its old source and now sees a new one. A flow's source is
translated only once, and the NAT66 does that already. And their number grows with the mesh. A set is named after the
MAC in the clatnode's prefix.
"""

import subprocess
from collections.abc import Iterable, Sequence

from l3roamd_py.core.mapping import Mapping
from l3roamd_py.netfilter.rules import Checks, RulesError
from xlat464.address import format_ipv6, mask
from xlat464.node import NODE_LENGTH

LOCK_S = 10  # for the lock that iptables programs share


def run(argv: Sequence[str], stdin: str = "", needed: bool = True) -> None:
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True)
    if done.returncode and needed:
        said = done.stderr.strip().splitlines()
        raise RulesError(f"`{' '.join(argv)}` failed: {said[-1] if said else done.returncode}")


def set_name(kind: str, client: bytes) -> str:
    """Return the name of a clatnode's set; client is any `CLAT::ipv4` of it."""
    return kind + client[6:12].hex()


def prefix_of(client: bytes) -> str:
    return f"{format_ipv6(mask(client, NODE_LENGTH))}/{NODE_LENGTH}"


def tear_down() -> None:
    """Remove every rule and set of the seed's, whoever made them."""
    listed = subprocess.run(["ip6tables", "-t", "nat", "-S"], capture_output=True, text=True).stdout
    for line in listed.splitlines():
        if line.startswith("-A") and "--match-set ro" in line:
            run(["ip6tables", "-w", str(LOCK_S), "-t", "nat", "-D", *line.split()[1:]], needed=False)
    for name in subprocess.run(["ipset", "list", "-n"], capture_output=True, text=True).stdout.split():
        if name.startswith(("rofrom", "roto")):
            run(["ipset", "destroy", name], needed=False)


class SeedPlatRules:
    """PlatRules with a pair of rules per clatnode."""

    def __init__(self, plat_device: str, plat: bytes = bytes(16)):
        self.device, self.plat = plat_device, plat
        self.checks = Checks(lambda: None)
        self.made: dict[str, list[str]] = {}  # set name -> its rule, as ip6tables takes it behind -A or -I

    def set_up(self) -> None:
        pass

    def tick(self, now_s: float) -> bool:
        return False

    def tear_down(self) -> None:
        tear_down()
        self.made.clear()

    def close(self) -> None:
        pass

    def rule(self, name: str, client: bytes) -> list[str]:
        to = ["-m", "set", "--match-set", name, "src" if name.startswith("rofrom") else "dst"]
        target = ["-j", "NETMAP", "--to", prefix_of(client)]
        if name.startswith("rofrom"):
            return ["POSTROUTING", "-o", self.device, *to, *target]
        return ["PREROUTING", "-i", self.device, *to, *target]

    def need(self, kind: str, client: bytes) -> str:
        """Return a clatnode's set, made with its rule if it is the first of that clatnode."""
        name = set_name(kind, client)
        if name not in self.made:
            rule = self.rule(name, client)
            run(["ipset", "-exist", "create", name, "hash:ip", "family", "inet6", "timeout", "600"])
            how = "-I" if kind == "rofrom" else "-A"  # before the NAT66
            run(["ip6tables", "-w", str(LOCK_S), "-t", "nat", how, *rule])
            self.made[name] = rule
        return name

    def need_all(self, homes: Sequence[bytes], places: Sequence[bytes]) -> None:
        """Make the rules for many clatnodes in two programs' runs: kinder to the seed than it is itself."""
        sets, rules = [], ["*nat"]
        for kind, how, clients in (("rofrom", "-I", homes), ("roto", "-A", places)):
            for client in clients:
                name = set_name(kind, client)
                self.made[name] = self.rule(name, client)
                sets.append(f"create {name} hash:ip family inet6 timeout 600")
                rules.append(" ".join([how, *self.made[name]]))
        run(["ipset", "restore"], "\n".join(sets) + "\n")
        run(["ip6tables-restore", "-w", str(LOCK_S), "--noflush"], "\n".join([*rules, "COMMIT", ""]))

    def map_clients(self, mappings: Sequence[Mapping]) -> list[RulesError | None]:
        return [self.map_client(mapping) for mapping in mappings]

    def members(self, mappings: Iterable[Mapping]) -> Iterable[tuple[str, bytes]]:
        """Yield the set and the address of both elements of each mapping."""
        for mapping in mappings:
            yield set_name("roto", mapping.at), mapping.home
            yield set_name("rofrom", mapping.home), mapping.at

    def map_client(self, mapping: Mapping) -> RulesError | None:
        try:
            if mapping.was is not None:
                self.unmap_client(mapping.home, mapping.was)
            if mapping.at == mapping.home:
                return None
            for kind, named_by, member in (
                ("roto", mapping.at, mapping.home),
                ("rofrom", mapping.home, mapping.at),
            ):
                name, timeout = self.need(kind, named_by), str(mapping.lease_s)
                run(["ipset", "-exist", "add", name, format_ipv6(member), "timeout", timeout])
        except RulesError as error:
            return error
        return None

    def unmap_client(self, home: bytes, was: bytes) -> None:
        for name, member in ((set_name("roto", was), home), (set_name("rofrom", home), was)):
            run(["ipset", "-exist", "del", name, format_ipv6(member)], needed=False)

    def mappings(self) -> Iterable[Mapping]:
        return ()  # the seed keeps nothing from which one could tell


if __name__ == "__main__":
    tear_down()
