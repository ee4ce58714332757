# SPDX-License-Identifier: ISC
"""Programs that are run: while we go on, or to their end.

By a shell, which both Pythons can start: it runs the program in the background. What that says goes to a file, and the
end of a FIFO says that it has ended. Both lose their names before it begins, so that nothing stays when we are killed.
"""

import os

from l3roamd_py.netfilter.rules import RulesError
from runtime.loop import Poller
from runtime.sockets import error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

FINISH_S = 60  # for what has to be there before the daemon goes on, or ends
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # of a service that nobody gave one
MAY_RUN = 0o111
MAKE = "PATH=$PATH:/usr/bin:/bin; umask 077; mkdir {0} && mkfifo {0}/end && : >{0}/said"
RUN = """exec 3>{0}/end >{0}/said 2>&1
PATH=$PATH:/usr/bin:/bin rm -r {0}
{{ {1} 3>&- <<'END OF INPUT'
{2}
END OF INPUT
status=$?; echo; echo $status; }} &
"""


class Child:
    """A program that runs while we go on. Raises RulesError if it cannot be started.

    words: without a blank or anything that a shell would take for its own. text and status: when it has ended.
    under: the folder that its files are in for a moment.
    """

    def __init__(self, words: "Sequence[str]", stdin: str = "", under: str = "/tmp") -> None:
        self.words, self.text, self.status = words, "", 1
        folder = under + "/l3roamd-" + os.urandom(12).hex()
        try:
            if os.system(MAKE.format(folder)):
                raise RulesError(f"{words[0]}: cannot make {folder}")
            # where somebody may write already, opening a FIFO to read does not wait
            with open(folder + "/end", "r+b", 0):
                self._end, self._said = open(folder + "/end", "rb", 0), open(folder + "/said", "rb")
                os.system(RUN.format(folder, " ".join(words), stdin.rstrip("\n")))
        except OSError as error:
            raise RulesError(f"{words[0]}: {error_text(error)}") from None

    def fileno(self) -> int:
        return self._end.fileno()

    def has_ended(self, timeout_s: float = 0) -> bool:
        """Wait for so long; whether it has ended."""
        poller = Poller()
        poller.add(self._end, lambda: None)
        has_ended = bool(poller.ready(int(timeout_s * 1000)))
        if has_ended and not self.text:
            self._hear()
        return has_ended

    def _hear(self) -> None:
        said = self._said.read()
        try:
            self.text = said.decode()
        except UnicodeError:  # of a rule's comment, say
            self.text = bytes([octet if octet < 0x80 else 0x3F for octet in said]).decode()
        lines = self.text.rstrip("\n").split("\n")
        self.status = int(lines[-1]) if lines[-1].isdigit() else 1  # the shell was killed

    def close(self) -> None:
        """Leave it to itself: what it does it does."""
        self._end.close()
        self._said.close()

    @property
    def complaint(self) -> str:
        lines = [line for line in self.text.split("\n")[:-2] if line.strip()]
        return f"{self.words[0]}: " + (lines[0] if lines else "failed without a word")


def run(words: "Sequence[str]", stdin: str = "") -> str:
    """Run a program and wait; what it said. Raises RulesError with the first line of what it complained of."""
    child = Child(words, stdin)
    has_ended = child.has_ended(FINISH_S)
    child.close()
    if not has_ended:
        raise RulesError(f"{words[0]}: did not end within {FINISH_S} s")
    if child.status:
        raise RulesError(child.complaint)
    return child.text


def is_there(program: str) -> bool:
    for folder in (os.getenv("PATH") or PATH).split(":"):
        try:
            if os.stat(f"{folder}/{program}")[0] & MAY_RUN:
                return True
        except OSError:
            pass
    return False
