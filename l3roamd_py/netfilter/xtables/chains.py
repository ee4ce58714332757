# SPDX-License-Identifier: ISC
"""iptables and ip6tables: chains of our own that a built-in chain ends with. Set-up only, never for a single roam.

At the end, because NFQUEUE and NETMAP end the way through a table: what others do there (the TCP MSS) comes first.
A restore takes effect in one go, and it empties our chain before it fills it, so a chain of an earlier run is replaced.

iptables over nftables makes the table and the built-in chain when they are first needed, and never removes them. A
comment at our jump says that this was for us; then they go with it, unless somebody else has put something into them.
"""

import contextlib
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from l3roamd_py.netfilter.nfnetlink import (
    SUBSYSTEM_NFTABLES,
    NetfilterSocket,
    NetlinkError,
    TransactionError,
    is_missing,
    refusal,
)
from l3roamd_py.netfilter.nft import messages as nftables
from l3roamd_py.netfilter.rules import RulesError

MADE_FOR_US = "made-for-l3roamd"
LOCK_WAIT_S = "10"  # for the lock that iptables programs share
DEADLINE_S = 60


@dataclass(frozen=True, slots=True)
class OwnChain:
    """A chain of ours: which program (iptables or ip6tables), table, built-in chain, and its name."""

    program: str
    table: str
    hook: str
    name: str

    def write(self, rules: Sequence[str]) -> None:
        """Make the chain consist of these rules, and the hook lead to it. Raises RulesError."""
        is_there = any(self._does("-C", *each) for each in self._jumps())
        jump = [] if is_there else [f"-A {' '.join(self._jumps()[self._is_first()])}"]
        rules = [f"-A {self.name} {rule}" for rule in rules]
        lines = [f"*{self.table}", f":{self.name} - [0:0]", *rules, *jump, "COMMIT", ""]
        run([f"{self.program}-restore", "-w", LOCK_WAIT_S, "-n"], "\n".join(lines))

    def remove(self) -> None:
        if shutil.which(self.program) and self._does("-n", "-L", self.name):
            plain, first = self._jumps()
            is_ours = self._does("-C", *first)
            while self._does("-D", *plain) or self._does("-D", *first):
                pass
            run(self._words("-F", self.name))
            run(self._words("-X", self.name))
            # -X does nothing if it has rules, or another policy
            if is_ours and self._does("-X", self.hook):
                self._remove_table()

    def _jumps(self) -> tuple[list[str], list[str]]:
        """Our jump, without and with the word that the built-in chain was made for it."""
        to = ["-j", self.name]
        return [self.hook, *to], [self.hook, "-m", "comment", "--comment", MADE_FOR_US, *to]

    def _is_first(self) -> bool:
        """Whether the built-in chain is one of nftables that is not there yet."""
        if "nf_tables" not in _run([self.program, "--version"]).stdout:
            return False
        with contextlib.closing(NetfilterSocket()) as netfilter, refusal(f"cannot look for {self.hook}"):
            try:
                list(netfilter.dump(nftables.get_chain(self._family, self.table, self.hook)))
            except NetlinkError as error:
                if is_missing(error):
                    return True
                raise
        return False

    def _remove_table(self) -> None:
        with contextlib.closing(NetfilterSocket()) as netfilter, contextlib.suppress(TransactionError):
            empty = nftables.delete_table(self._family, self.table, nftables.ONLY_EMPTY)
            netfilter.commit(SUBSYSTEM_NFTABLES, [empty])

    @property
    def _family(self) -> int:
        return nftables.IPV4 if self.program == "iptables" else nftables.IPV6

    def _words(self, *words: str) -> list[str]:
        return [self.program, "-w", LOCK_WAIT_S, "-t", self.table, *words]

    def _does(self, *words: str) -> bool:
        return _run(self._words(*words)).returncode == 0


def queue_rule(queue: int) -> str:
    """To NFQUEUE; on if nobody listens there."""
    return f"-j NFQUEUE --queue-num {queue} --queue-bypass"


def run(words: Sequence[str], stdin: str = "") -> None:
    """Run a program. Raises RulesError with the first line of what it said."""
    result = _run(words, stdin)
    if result.returncode:
        said = (result.stderr.strip().splitlines() or ["failed without a word"])[0]
        raise RulesError(f"{words[0]}: {said}")


def _run(words: Sequence[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=DEADLINE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RulesError(f"{words[0]}: {error}") from error
