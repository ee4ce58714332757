# SPDX-License-Identifier: ISC
"""Programs that are run: while we go on, or to their end.

By a shell, which both Pythons can start: it runs the program in the background. What that says comes by a socket, and
the socket's end says that it has ended. So nothing is in a folder that could stay there when we are killed.
"""

import os
import socket

from l3roamd_py.netfilter.rules import RulesError
from runtime import IS_MICRO
from runtime.log import Log
from runtime.loop import BootClock, Poller
from runtime.sockets import CLOEXEC, error_text, receive, unix_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

FINISH_S = 60  # for what has to be there before the daemon goes on, or ends
PATIENCE_S = 2.0  # then it is said what is waited for
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # of a service that nobody gave one
MAY_RUN = 0o111
READ_BYTES = 4096
# a program that outlives us has nobody to tell, which is no reason to end it
RUN = """trap '' PIPE
{{ {0} <<'END OF INPUT'
{1}
END OF INPUT
status=$?; echo; echo $status; }} &
"""
# On MicroPython a program inherits what we accepted: whoever is connected would not hear the end of an answer. Dash
# knows descriptors of one digit only, and takes 10 for a program's name; the shell of OpenWrt knows all.
OUTPUT = """exec >&{0} 2>&1 {0}>&-
if (exec 10>&-) 2>/dev/null; then
for fd in /proc/self/fd/*; do [ ${{fd##*/}} -le 2 ] || eval "exec ${{fd##*/}}>&-"; done
fi
"""
# a descriptor of one digit, which is to be had again when it is closed
_low = open("/dev/null", "rb") if IS_MICRO else None


class Child:
    """A program that runs while we go on. Raises RulesError if it cannot be started.

    words: without a blank or anything that a shell would take for its own. text and status: when it has ended.
    """

    def __init__(self, words: "Sequence[str]", stdin: str = "") -> None:
        self.words, self.text, self.status = words, "", 1
        self._said: list[bytes] = []
        self._has_ended = False
        try:
            self._socket = _start(RUN.format(" ".join(words), stdin.rstrip("\n")))
        except OSError as error:
            raise RulesError(f"{words[0]}: {error_text(error)}") from None

    def fileno(self) -> int:
        return self._socket.fileno()

    def has_ended(self, timeout_s: float = 0) -> bool:
        """Hear what it says, and wait for so long; whether it has ended."""
        if not timeout_s:
            while not self._has_ended and self._hear():
                pass
            return self._has_ended
        poller, now_s = Poller(), BootClock().now_s
        poller.add(self._socket, self._hear)
        deadline_s = now_s() + timeout_s
        while not self._has_ended and poller.ready(int(max(0.0, deadline_s - now_s()) * 1000)):
            self._hear()
        return self._has_ended

    def wait(self, timeout_s: float) -> bool:
        """Wait for so long, and say so if it takes a while; whether it has ended. Not for the loop."""
        if self.has_ended(min(PATIENCE_S, timeout_s)):
            return True
        sentence = f"waiting for {self.words[0]}: another program may have its lock"
        Log("l3roamd_py").warning(f"{sentence} ({int(timeout_s)} s at most)")
        return self.has_ended(timeout_s - PATIENCE_S)

    def _hear(self) -> bool:
        """Read once; whether there was something."""
        try:
            said = receive(self._socket, READ_BYTES)
        except OSError:
            said = b""
        if said:
            self._said.append(said)
        elif said is not None:
            self._has_ended = True
            self._parse(b"".join(self._said))
        return said is not None

    def _parse(self, said: bytes) -> None:
        try:
            self.text = said.decode()
        except UnicodeError:  # of a rule's comment, say
            self.text = bytes([octet if octet < 0x80 else 0x3F for octet in said]).decode()
        said_last = self.text.rstrip("\n")
        said_last = said_last[said_last.rfind("\n") + 1 :]
        self.status = int(said_last) if said_last.isdigit() else 1  # the shell was killed

    def close(self) -> None:
        """Leave it to itself: what it does it does."""
        self._socket.close()

    @property
    def complaint(self) -> str:
        lines = [line for line in self.text.split("\n")[:-2] if line.strip()]
        return f"{self.words[0]}: " + (lines[0] if lines else "failed without a word")


def _start(commands: str) -> socket.socket:
    """Have a shell carry out commands, and return where they say something. Raises OSError."""
    if not IS_MICRO:
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            to = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), number) for number in (1, 2)]
            os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", commands], os.environ, file_actions=to), 0)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours
    return _start_inheriting(commands)


def _start_inheriting(commands: str) -> socket.socket:
    """The same on MicroPython, which has pairs of sockets by a listener only. What that accepts is inherited."""
    global _low
    kind = socket.SOCK_STREAM | CLOEXEC
    ours = socket.socket(socket.AF_UNIX, kind)
    try:
        listener = socket.socket(socket.AF_UNIX, kind)
        try:
            address = unix_address("\0l3roamd-" + os.urandom(12).hex())
            listener.bind(address)
            listener.listen(1)
            ours.connect(address)
            assert _low is not None
            _low.close()
            theirs = listener.accept()[0]
            os.system(OUTPUT.format(theirs.fileno()) + commands)
            theirs.close()
        finally:
            listener.close()
            _low = open("/dev/null", "rb")
        ours.setblocking(False)
    except OSError:
        ours.close()
        raise
    return ours


def run(words: "Sequence[str]", stdin: str = "") -> str:
    """Run a program and wait; what it said. Raises RulesError with the first line of what it complained of."""
    child = Child(words, stdin)
    has_ended = child.wait(FINISH_S)
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
