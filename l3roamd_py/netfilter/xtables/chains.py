# SPDX-License-Identifier: ISC
"""iptables and ip6tables: chains of our own that a built-in chain begins with. Set-up only, never for a single roam.

At the beginning, because what others accept there ends the way through the table. What waited in NFQUEUE comes by once
more (gate.py), so that the rules of others get all packets as well. A restore takes a table's rules in one go, and it
empties our chain before it fills it, so a chain of an earlier run is replaced.

Where somebody puts a rule before ours, ours goes to the front again, but not for ever: who does the same would take
turns with us. Each chain has MOVES of them, and gets one more after CHECKS_PER_MOVE looks; until then it stays where it
is, and status says so.

The programs share a lock, which anybody may hold for as long as they like. So each run of one is a child process: who
waits for the `sources` hears when it has ended, and calls go_on. What a save shows, which takes no lock, is what is
there: where our jump is, and how many rules of ours. A program that fails has shown nothing. What a save has shown may
be different when a restore has got the lock: so if one fails it is looked again, once.

iptables over nftables makes the table and the built-in chain when they are first needed, and never removes them. A
comment at our jump says that this was for us; then they go with it, unless somebody else has put something into them.
"""

from l3roamd_py.netfilter.nfnetlink import (
    NetfilterSocket,
    refusal,
    suppress_missing,
)
from l3roamd_py.netfilter.nft import messages as nftables
from l3roamd_py.netfilter.program import FINISH_S, Child, run
from l3roamd_py.netfilter.rules import RulesError
from l3roamd_py.netfilter.xtables.removal import remove
from l3roamd_py.netfilter.xtables.saved import (
    MADE_FOR_US,
    Found,
    OwnChain,
    find,
    hides,
    lines_to_write,
    restore_text,
)
from runtime.loop import BootClock
from runtime.sources import Sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

LOCK_WAIT_S = "10"  # that a program waits for the lock before it ends; then it is run again
LOCK_IS_BUSY = 4  # exit status; over nftables there is no lock, and it says something else
MOVES, CHECKS_PER_MOVE = 5, 30


class Chains:
    """What our chains are to be, and the child that makes them so, which is one of the sources."""

    def __init__(self, sources: Sources) -> None:
        self._now_s = BootClock().now_s
        self._sources = sources
        # in which they were wanted first: a dictionary of MicroPython has none
        self._order: list[OwnChain] = []
        self.wanted: dict[OwnChain, list[str]] = {}
        self.errors: list[str] = []  # what went wrong, for the log
        self.notices: list[str] = []  # what others did, for the log
        self.disturbed: set[OwnChain] = set()  # chains that packets passed by, until somebody asks
        self.behind: dict[OwnChain, str] = {}  # whose rule stands before ours, and stays there
        self._written: dict[OwnChain, list[str]] = {}
        self._refused: dict[OwnChain, list[str]] = {}
        self._led_to: set[OwnChain] = set()
        self._found: dict[OwnChain, Found] = {}  # by the last look, of those that are not led to
        self._failed_once: dict[OwnChain, list[str]] = {}  # what failed once, and is looked at again
        self._made: set[str] = set()  # places of built-in chains that are there for us
        self._moves: dict[OwnChain, int] = {}  # how often we may go to the front, in looks
        self._hidden: set[str] = set()  # tables that a save does not show
        self._to_check: dict[str, None] = {}  # programs
        self._child: Child | None = None
        self._sent: dict[OwnChain, list[str]] | None = None  # by the child, None if it looks
        self._took_s: dict[str, float] = {}  # the last look, by program
        self._begun_s = 0.0  # the child
        self._is_at_rest = False  # settled, and nothing was asked for since: this is looked at in each round

    def want(self, chain: OwnChain, rules: "Sequence[str]") -> None:
        """Have a chain consist of these rules, and its hook lead to it, soon: see go_on."""
        if chain not in self.wanted:
            self._order.append(chain)
            self._to_check[chain.program] = None
        self.wanted[chain] = list(rules)
        self._is_at_rest = False

    def check(self, is_regular: bool = True) -> None:
        """Have it looked whether all is there; what somebody took away comes back, what was refused is tried again.

        is_regular: it is time for it, and nothing else says so.
        """
        self._to_check |= {chain.program: None for chain in self.wanted}
        self._refused.clear()
        self._is_at_rest = False
        for chain in self.wanted if is_regular else ():
            self._moves[chain] = min(self._moves_left(chain) + 1, MOVES * CHECKS_PER_MOVE)

    def _moves_left(self, chain: OwnChain) -> int:
        return self._moves.get(chain, MOVES * CHECKS_PER_MOVE)

    def look_s(self) -> float | None:
        """How long a look at what changes without a number of nf_tables' takes; None if there is no such thing."""
        took_s = [self._took_s[program] for program in self._took_s if not is_over_nftables(program)]
        return sum(took_s) if took_s else None

    def pop_notices(self) -> list[str]:
        notices, self.notices = self.notices, []
        return notices

    def told_behind(self) -> list[str]:
        """Whose rules stand before ours, as sentences."""
        sentences = {
            f"{chain.place}: `{rule}` stands before our rules" for chain, rule in self.behind.items()
        }
        return sorted(sentences)

    @property
    def is_complete(self) -> bool:
        if not self._is_at_rest:
            is_idle = self._child is None and not self._to_check
            self._is_at_rest = is_idle and not any(map(self._is_due, self.wanted))
        return self._is_at_rest

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
            if self.is_complete:
                return True
            try:
                self._start()
            except RulesError as error:
                self.errors.append(str(error))
                self._to_check.clear()
                self._refused |= {chain: self.wanted[chain] for chain in self.wanted if self._is_due(chain)}

    def finish(self) -> None:
        """Wait until all is as wanted. Raises RulesError. Not for the loop."""
        now_s = self._now_s
        deadline_s = now_s() + FINISH_S
        while not self.go_on():
            assert self._child is not None
            if not self._child.wait(max(0.0, deadline_s - now_s())):
                raise RulesError(f"{self._child.words[0]}: did not end within {FINISH_S} s")
        if self.errors:
            sentence, self.errors = self.errors[-1], []
            raise RulesError(sentence)

    def remove(self) -> None:
        """Take all away that is wanted, and want nothing. Waits; raises RulesError."""
        chains, self._order, self.wanted = self._order, [], {}
        if self._child is not None:
            self._child.wait(FINISH_S)  # what it wanted to do is done
        self.close()
        remove(chains, self._made)

    def close(self) -> None:
        """Leave the child to itself: what it does it does."""
        if self._child is not None:
            self._sources.forget(self._child)
            self._child.close()
        self._child, self._sent = None, None
        self._written, self._refused, self._led_to, self._to_check = {}, {}, set(), {}
        self._found, self._failed_once, self.behind = {}, {}, {}
        self._is_at_rest = False

    def _is_due(self, chain: OwnChain) -> bool:
        rules = self.wanted[chain]
        is_done = self._written.get(chain) == rules and chain in self._led_to
        return not is_done and self._refused.get(chain) != rules

    def _start(self) -> None:
        if self._to_check:
            program = self._to_check.popitem()[0]
            self._sent = None
            self._begun_s = self._now_s()
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
        found = None if chain in self._led_to else self._found.get(chain, Found([], None, "", 1))
        is_made = found is not None and (chain.place in self._made or is_absent(chain))
        if is_made:
            self._made.add(chain.place)
        return lines_to_write(chain, self.wanted[chain], found, is_made)

    def _note(self, child: Child) -> None:
        """What has become of a child."""
        status, sent = child.status, self._sent
        self._sent = None
        if sent is None:
            self._note_listing(child)
        elif not status:
            self._written |= sent
            self._led_to.update(sent)
            self._failed_once = {
                chain: rules for chain, rules in self._failed_once.items() if chain not in sent
            }
        elif status != LOCK_IS_BUSY or "lock" not in child.text:
            self._note_failure(child, sent)

    def _note_failure(self, child: Child, sent: dict[OwnChain, list[str]]) -> None:
        """Look again, or give up what has failed twice."""
        if all(self._failed_once.get(chain) == rules for chain, rules in sent.items()):
            self.errors.append(child.complaint)
            self._refused |= sent
            return
        self._failed_once |= sent
        self._to_check |= {chain.program: None for chain in sent}

    def _note_listing(self, child: Child) -> None:
        program = child.words[0][: -len("-save")]
        if child.status:
            # it has shown nothing: not that something is there, and not that nothing is
            self.errors.append(child.complaint)
            self._refused |= {chain: rules for chain, rules in self.wanted.items() if self._is_due(chain)}
            return
        self._took_s[program] = self._now_s() - self._begun_s
        lines = child.text.split("\n")
        for chain in self._order:
            if chain.program != program:
                continue
            if chain in self._led_to and hides(child.text, chain.table):
                self._say_hidden(chain)
            else:
                self._compare(chain, find(chain, lines))

    def _say_hidden(self, chain: OwnChain) -> None:
        """What is there is not known then, so nothing is made again; said once for each table."""
        table = f"{chain.program} -t {chain.table}"
        if table not in self._hidden:
            self._hidden.add(table)
            self._notice(f"{table} has rules of nft's, so it does not show whether ours are there")

    def _compare(self, chain: OwnChain, found: Found) -> None:
        """Take what a look has found of a chain."""
        is_known = chain in self._led_to
        if any(MADE_FOR_US in jump for jump in found.jumps):
            self._made.add(chain.place)
        is_to_move = not found.is_first and (not is_known or self._may_move(chain, found))
        if is_to_move:
            self._led_to.discard(chain)
            self._found[chain] = found
        else:
            self._led_to.add(chain)
        if found.is_first:
            self.behind.pop(chain, None)
        known = self._written.get(chain)
        is_other = known is not None and found.rules != len(known)
        if is_other:
            del self._written[chain]
        if is_known and (is_to_move or is_other):
            self._note_disturbance(chain, found)

    def _note_disturbance(self, chain: OwnChain, found: Found) -> None:
        self.disturbed.add(chain)
        what = "somebody removed rules of ours; they are made again"
        if found.before:
            what = f"`{found.before}` stood before our rules; ours come first again"
        self._notice(f"{chain.place}: {what}")

    def _notice(self, sentence: str) -> None:
        """Say it, of all chains in one place once."""
        if sentence not in self.notices:
            self.notices.append(sentence)

    def _may_move(self, chain: OwnChain, found: Found) -> bool:
        """Whether we put our jump where it belongs; one that is gone comes back in any case."""
        if not found.jumps or not found.before:
            return True
        if self._moves_left(chain) >= CHECKS_PER_MOVE:
            self._moves[chain] = self._moves_left(chain) - CHECKS_PER_MOVE
            self.behind.pop(chain, None)
            return True
        if chain not in self.behind:
            self._notice(f"{chain.place}: others go before our rules again and again; ours stay behind")
        self.behind[chain] = found.before
        return False


_over_nftables: dict[str, bool] = {}


def is_over_nftables(program: str) -> bool:
    """Whether a program of iptables makes its rules in nf_tables. Raises RulesError."""
    if program not in _over_nftables:
        _over_nftables[program] = "nf_tables" in run([program, "--version"])
    return _over_nftables[program]


def is_absent(chain: OwnChain) -> bool:
    """Whether the built-in chain is one of nftables that is not there yet. Raises RulesError."""
    if not is_over_nftables(chain.program):
        return False
    netfilter = NetfilterSocket()
    try:
        with refusal(f"cannot look for {chain.hook}"), suppress_missing():
            list(netfilter.dump(nftables.get_chain(chain.family, chain.table, chain.hook)))
            return False
        return True
    finally:
        netfilter.close()


def queue_rule(queue: int) -> str:
    """To NFQUEUE; on if nobody listens there."""
    return f"-j NFQUEUE --queue-num {queue} --queue-bypass"
