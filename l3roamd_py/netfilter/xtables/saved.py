# SPDX-License-Identifier: ISC
"""A chain of ours, and what a save of iptables shows of it. No I/O.

Our jumps come before all rules of others, since their ACCEPT, RETURN or NAT would end the way through the table. Only
the jumps of this node's roles (XLAT464) stay before ours: they drop packets, and accept none.
"""

from l3roamd_py.netfilter.nft import messages as nftables
from runtime.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MADE_FOR_US = "made-for-l3roamd"
OURS, OF_ROLES = "L3ROAMD_", "XLAT464_"


@record("program table hook name")
class OwnChain:
    """A chain of ours: which program (iptables or ip6tables), table, built-in chain, and its name."""

    program: str
    table: str
    hook: str
    name: str

    @property
    def family(self) -> int:
        return nftables.IPV4 if self.program == "iptables" else nftables.IPV6

    @property
    def place(self) -> str:
        """The built-in chain, for people."""
        return f"{self.program} -t {self.table} {self.hook}"

    def jump(self, is_made: bool) -> str:
        """Our jump, as a save shows it behind the built-in chain; is_made: with the word that this was made for it."""
        word = f"-m comment --comment {MADE_FOR_US} " if is_made else ""
        return f"{word}-j {self.name}"


@record("jumps rules before number")
class Found:
    """What a save shows of a chain.

    jumps: ours to it, as the words behind `-A HOOK`. rules: how many it has, None if it is not there. before: the first
    rule of others that stands before our jump, empty if none does. number: of the rule that our jump should be.
    """

    jumps: list[str]
    rules: int | None
    before: str
    number: int

    @property
    def is_first(self) -> bool:
        return len(self.jumps) == 1 and not self.before


def section_of(table: str, saved: "Sequence[str]") -> list[str]:
    """The lines of one table, of a save's."""
    lines, is_inside = [], False
    for line in saved:
        if line.startswith("*"):
            is_inside = line == "*" + table
        elif is_inside:
            lines.append(line)
    return lines


def hides(saved: str, table: str) -> bool:
    """Whether a save does not show a table: iptables over nftables leaves out one with rules that it does not know."""
    return f"# Table `{table}' is incompatible" in saved


WORDS: "dict[OwnChain, tuple[str, str, str, str, str]]" = {}  # made before: MicroPython takes long to make a text


def words_of(chain: OwnChain) -> "tuple[str, str, str, str, str]":
    """How lines of a save begin for a chain: its own, its rules, those of its hook; and our jump behind these, both."""
    if chain not in WORDS:
        begin = f":{chain.name} ", f"-A {chain.name} ", f"-A {chain.hook} "
        WORDS[chain] = begin + (chain.jump(False), chain.jump(True))
    return WORDS[chain]


def find(chain: OwnChain, saved: "Sequence[str]") -> Found:
    """saved: lines."""
    jumps: list[str] = []
    before, is_there, rules, number = "", False, 0, 1
    declared, own, hook, *leads_to_us = words_of(chain)
    place, is_front = 1, True  # place: the number of the next rule if ours were not there
    for line in section_of(chain.table, saved):
        is_there = is_there or line.startswith(declared)
        rules += line.startswith(own)
        if not line.startswith(hook):
            continue
        rule = line[len(hook) :].replace(f'"{MADE_FOR_US}"', MADE_FOR_US)
        if rule in leads_to_us:
            jumps.append(rule)
            continue
        place += 1
        target = rule.split(" ")[-1]
        if target.startswith(OF_ROLES) and is_front:
            number = place
        elif not target.startswith(OURS) and not target.startswith(OF_ROLES):
            is_front = False
            if not jumps:
                before = before or rule
    return Found(jumps, rules if is_there else None, before, number)


def restore_text(lines: "Iterable[tuple[str, list[str]]]") -> str:
    """The input of a restore: lines of tables, in this order; several of one table become one."""
    order: list[str] = []
    tables: dict[str, list[str]] = {}
    for table, words in lines:
        if table not in tables:
            order.append(table)
        tables[table] = tables.get(table, []) + words
    return "".join("\n".join([f"*{table}"] + tables[table] + ["COMMIT", ""]) for table in order)


def lines_to_write(chain: OwnChain, rules: list[str], found: Found | None, is_made: bool) -> list[str]:
    """What makes a chain consist of these rules; found: if its jump is not to stay as it is."""
    lines = [f":{chain.name} - [0:0]"] + [f"-A {chain.name} {rule}" for rule in rules]
    if found is None:
        return lines
    lines += [f"-D {chain.hook} {jump}" for jump in found.jumps]
    return lines + [f"-I {chain.hook} {found.number} {chain.jump(is_made)}"]


def lines_to_remove(chain: OwnChain, found: Found) -> list[str]:
    jumps = [f"-D {chain.hook} {jump}" for jump in found.jumps]
    return jumps + [f"-F {chain.name}", f"-X {chain.name}"]
