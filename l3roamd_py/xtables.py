# SPDX-License-Identifier: ISC
"""iptables and ip6tables: chains of our own that a built-in chain ends with. Set-up only, never for a single roam.

At the end, because NFQUEUE and NETMAP end the way through a table: what others do there (the TCP MSS) comes first.
A restore takes effect in one go, and it empties our chain before it fills it, so a chain of an earlier run is replaced.
"""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from l3roamd_py.rules import RulesError

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
        jump = [] if self._does("-C", self.hook, "-j", self.name) else [f"-A {self.hook} -j {self.name}"]
        rules = [f"-A {self.name} {rule}" for rule in rules]
        lines = [f"*{self.table}", f":{self.name} - [0:0]", *rules, *jump, "COMMIT", ""]
        run([f"{self.program}-restore", "-w", LOCK_WAIT_S, "-n"], "\n".join(lines))

    def remove(self) -> None:
        if shutil.which(self.program) and self._does("-n", "-L", self.name):
            while self._does("-D", self.hook, "-j", self.name):
                pass
            run(self._words("-F", self.name))
            run(self._words("-X", self.name))

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
