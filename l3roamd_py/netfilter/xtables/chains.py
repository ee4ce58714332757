# SPDX-License-Identifier: ISC
"""iptables and ip6tables: chains of our own that a built-in chain ends with. Set-up only, never for a single roam.

At the end, because NFQUEUE and NETMAP end the way through a table: what others do there (the TCP MSS) comes first. A
restore takes a table's rules in one go. It empties our chain before it fills it, so a chain of an earlier run is
replaced.

The programs share a lock, which anybody may hold for as long as they like. So each run of one is a child process: who
waits for the `sources` hears when it has ended, and calls go_on. What a save shows, which takes no lock, is
what is there: whether our jump is, and how many rules of ours. A program that fails has shown nothing.

iptables over nftables makes the table and the built-in chain when they are first needed, and never removes them. A
comment at our jump says that this was for us; then they go with it, unless somebody else has put something into them.
"""

from l3roamd_py.netfilter.nfnetlink import (
    SUBSYSTEM_NFTABLES,
    NetfilterSocket,
    TransactionError,
    refusal,
    suppress_missing,
)
from l3roamd_py.netfilter.nft import messages as nftables
from l3roamd_py.netfilter.rules import RulesError
from l3roamd_py.netfilter.xtables.program import FINISH_S, Child, is_there, run
from runtime.loop import BootClock
from runtime.record import record
from runtime.sources import Sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MADE_FOR_US = "made-for-l3roamd"
LOCK_WAIT_S = "10"  # that a program waits for the lock before it ends; then it is run again
REMOVE_WAIT_S = "50"  # the same where none is run again; below FINISH_S
LOCK_IS_TAKEN = 4  # exit status; over nftables there is no lock, and it says something else


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

    def jump(self, is_first: bool) -> str:
        """Our jump; is_first: with the word that the built-in chain was made for it."""
        word = f"-m comment --comment {MADE_FOR_US} " if is_first else ""
        return f"{self.hook} {word}-j {self.name}"


@record("jumps rules")
class Found:
    """What a save shows of a chain: our jumps to it, as the words behind -A, and how many rules it has (or None)."""

    jumps: list[str]
    rules: int | None


def find(chain: OwnChain, saved: str) -> Found:
    ours = [f"-A {chain.jump(is_first)}" for is_first in (False, True)]
    jumps, rules, is_ours = [], None, False
    for line in saved.split("\n"):
        if line[:1] == "*":
            is_ours = line[1:] == chain.table
        elif not is_ours:
            pass
        elif line.replace(f'"{MADE_FOR_US}"', MADE_FOR_US) in ours:
            jumps.append(line[3:])
        elif line.startswith(f":{chain.name} "):
            rules = 0
        elif rules is not None and line.startswith(f"-A {chain.name} "):
            rules += 1
    return Found(jumps, rules)


def restore_text(lines: "Iterable[tuple[str, list[str]]]") -> str:
    """The input of a restore: lines of tables, in this order; several of one table become one."""
    tables: list[str] = []
    words_of: dict[str, list[str]] = {}
    for table, words in lines:
        if table not in words_of:
            tables.append(table)
            words_of[table] = []
        words_of[table] += words
    return "".join(["\n".join(["*" + table] + words_of[table] + ["COMMIT", ""]) for table in tables])


class Chains:
    """What our chains are to be, and the child that makes them so, which is one of the sources."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._order: list[
            OwnChain
        ] = []  # in which they were wanted first: a dictionary of MicroPython has none
        self.wanted: dict[OwnChain, list[str]] = {}
        self.errors: list[str] = []  # what went wrong, for the log
        self._written: dict[OwnChain, list[str]] = {}
        self._refused: dict[OwnChain, list[str]] = {}
        self._led_to: set[OwnChain] = set()
        self._to_check: dict[str, None] = {}  # programs
        self._child: Child | None = None
        self._sent: dict[OwnChain, list[str]] | None = None  # by the child, None if it looks

    def want(self, chain: OwnChain, rules: "Sequence[str]") -> None:
        """Have a chain consist of these rules, and its hook lead to it, soon: see go_on."""
        if chain not in self.wanted:
            self._order.append(chain)
            self._to_check[chain.program] = None
        self.wanted[chain] = list(rules)

    def check(self) -> None:
        """Have it looked whether all is there; what somebody took away comes back, what was refused is tried again."""
        self._to_check |= {chain.program: None for chain in self.wanted}
        self._refused.clear()

    def is_written(self, chain: OwnChain) -> bool:
        return not self._is_due(chain) and (self._sent is None or chain not in self._sent)

    @property
    def is_settled(self) -> bool:
        return self._child is None and not self._to_check and not any(map(self._is_due, self.wanted))

    def go_on(self) -> bool:
        """Hear the child, start the next; return whether all is as wanted, or refused. Never waits."""
        while True:
            if self._child is not None:
                if not self._child.has_ended():
                    return False
                child, self._child = self._child, None
                self._sources.forget(child)
                child.close()
                self._note(child)
            if self.is_settled:
                return True
            try:
                self._start()
            except RulesError as error:
                self.errors.append(str(error))
                self._to_check.clear()
                self._refused |= {chain: self.wanted[chain] for chain in self.wanted if self._is_due(chain)}

    def finish(self) -> None:
        """Wait until all is as wanted. Raises RulesError. Not for the loop."""
        now_s = BootClock().now_s
        deadline_s = now_s() + FINISH_S
        while not self.go_on():
            assert self._child is not None
            if not self._child.has_ended(max(0.0, deadline_s - now_s())):
                raise RulesError(f"{self._child.words[0]}: did not end within {FINISH_S} s")
        if self.errors:
            sentence, self.errors = self.errors[-1], []
            raise RulesError(sentence)

    def remove(self) -> None:
        """Take all away that is wanted, and want nothing. Waits; raises RulesError."""
        chains, self._order, self.wanted = self._order, [], {}
        if self._child is not None:
            self._child.has_ended(FINISH_S)  # what it wanted to do is done
        self.close()
        remove(chains)

    def close(self) -> None:
        """Leave the child to itself: what it does it does."""
        if self._child is not None:
            self._sources.forget(self._child)
            self._child.close()
        self._child, self._sent = None, None
        self._written, self._refused, self._led_to, self._to_check = {}, {}, set(), {}

    def _is_due(self, chain: OwnChain) -> bool:
        rules = self.wanted[chain]
        is_done = self._written.get(chain) == rules and chain in self._led_to
        return not is_done and self._refused.get(chain) != rules

    def _start(self) -> None:
        if self._to_check:
            program = self._to_check.popitem()[0]
            self._sent = None
            self._child = Child([f"{program}-save"])
        else:
            due = [chain for chain in self._order if self._is_due(chain)]
            program = due[0].program
            due = [chain for chain in due if chain.program == program]
            text = restore_text([(chain.table, self._lines(chain)) for chain in due])
            self._sent = {chain: self.wanted[chain] for chain in due}
            self._child = Child([f"{program}-restore", "-w", LOCK_WAIT_S, "-n"], text)
        self._sources.add(self._child)

    def _lines(self, chain: OwnChain) -> list[str]:
        rules = [f":{chain.name} - [0:0]"] + [f"-A {chain.name} {rule}" for rule in self.wanted[chain]]
        return rules if chain in self._led_to else rules + [f"-A {chain.jump(is_first(chain))}"]

    def _note(self, child: Child) -> None:
        """What has become of a child."""
        status, sent = child.status, self._sent
        self._sent = None
        if sent is None:
            self._note_listing(child)
        elif not status:
            self._written |= sent
            self._led_to.update(sent)
        elif status != LOCK_IS_TAKEN or "lock" not in child.text:
            self.errors.append(child.complaint)
            self._refused |= sent

    def _note_listing(self, child: Child) -> None:
        program = child.words[0][: -len("-save")]
        if child.status:
            # it has shown nothing: not that something is there, and not that nothing is
            self.errors.append(child.complaint)
            self._refused |= {chain: rules for chain, rules in self.wanted.items() if self._is_due(chain)}
            return
        for chain in self.wanted:
            if chain.program == program:
                found, known = find(chain, child.text), self._written.get(chain)
                if found.jumps:
                    self._led_to.add(chain)
                else:
                    self._led_to.discard(chain)
                if known is not None and found.rules != len(known):
                    del self._written[chain]


def is_first(chain: OwnChain) -> bool:
    """Whether the built-in chain is one of nftables that is not there yet. Raises RulesError."""
    if "nf_tables" not in run([chain.program, "--version"]):
        return False
    netfilter = NetfilterSocket()
    try:
        with refusal(f"cannot look for {chain.hook}"), suppress_missing():
            list(netfilter.dump(nftables.get_chain(chain.family, chain.table, chain.hook)))
            return False
        return True
    finally:
        netfilter.close()


def remove(chains: "Iterable[OwnChain]") -> None:
    """Take chains of ours away, if they are there. Waits; raises RulesError."""
    saved: dict[str, str] = {}
    made_for_us = []
    for chain in chains:
        if not is_there(chain.program):
            continue
        if chain.program not in saved:
            saved[chain.program] = run([f"{chain.program}-save"])
        found = find(chain, saved[chain.program])
        if found.rules is None:
            continue
        lines = [f"-D {jump}" for jump in found.jumps] + [f"-F {chain.name}", f"-X {chain.name}"]
        text = restore_text([(chain.table, lines)])
        run([f"{chain.program}-restore", "-w", REMOVE_WAIT_S, "-n"], text)
        if any(MADE_FOR_US in jump for jump in found.jumps):
            made_for_us.append(chain)
    for chain in made_for_us:  # at the end: several of ours may hang on one
        _remove_built_in(chain)


def _remove_built_in(chain: OwnChain) -> None:
    """Remove what iptables made of nftables for us; -X does nothing if it has rules, or another policy."""
    netfilter = NetfilterSocket()
    try:
        run([chain.program, "-w", REMOVE_WAIT_S, "-t", chain.table, "-X", chain.hook])
        empty = nftables.delete_table(chain.family, chain.table, nftables.ONLY_EMPTY)
        netfilter.commit(SUBSYSTEM_NFTABLES, [empty])
    except (RulesError, TransactionError):
        pass  # somebody uses it
    finally:
        netfilter.close()


def queue_rule(queue: int) -> str:
    """To NFQUEUE; on if nobody listens there."""
    return f"-j NFQUEUE --queue-num {queue} --queue-bypass"
