# SPDX-License-Identifier: ISC
"""Pairs in the CLAT's translator: siit at its Unix socket, or nat46 at its control file. One address for one.

They stand before the pair of the exit, which prefixd configures: `config` is for the last one. nat46 lists its pairs
without a lock of its own, so commands are kept apart by one on the network namespace, as in 464xlat's translator.sh.

Either may be slow: siit may be starting, and somebody else may have the lock. So a command is begun, the next one waits
for its end, and who gave it is told then. If one is not answered in time, those that wait are not either.
"""

import os
import socket

from runtime.loop import Poller
from runtime.sockets import EAGAIN, ENOENT, error_text, is_socket, open_stream, receive, send, unix_address
from runtime.sources import Sources
from xlat464.address import format_ipv4, format_ipv6, parse_ipv4, parse_ipv6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Running(Protocol):
        """A program that runs while we go on."""

        status: int

        def fileno(self) -> int: ...
        def has_ended(self, timeout_s: float = 0) -> bool: ...
        def close(self) -> None: ...

    Done = Callable[[str], object]  # is told why not, "" if it was carried out
    Start = Callable[[str], Running]  # of a shell's script; TranslatorError

SIIT, NAT46 = "/run/siit/control.sock", "/proc/net/nat46/control"
ANSWER_S = 1.0  # siit's
LOCK_TRIES = 5  # a second apart, for nat46's lock
WRITE_S = LOCK_TRIES + 2.0
ANSWER_BYTES = 1 << 18  # more than a device of some hundred pairs shows
READ_BYTES = 1 << 12
WAITING_MAX = 512  # commands
# one command, one write
WRITE = """exec 8</proc/self/ns/net
tries=0
until flock -n 8; do
tries=$((tries + 1))
[ $tries -lt {0} ] || exit 1
sleep 1
done
printf '%s\\n' "{1}" >{2}
"""


class TranslatorError(Exception):
    """It refused, or did not answer; one sentence."""


class Question:
    """A command to siit, which answers in lines, the last of which is `ok` or begins with `error: `. OSError."""

    def __init__(self, path: str, command: str) -> None:
        self.lines: list[str] = []
        self.error = ""
        self._said = b""
        self._socket = open_stream(socket.AF_UNIX, unix_address(path))
        line = command.encode() + b"\n"
        try:
            if send(self._socket, line) != len(line):
                raise OSError(EAGAIN)
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def has_ended(self) -> bool:
        """Read what it says; return whether that is all."""
        try:
            while len(self._said) < ANSWER_BYTES:
                piece = receive(self._socket, READ_BYTES)
                if piece is None:
                    return False
                self._said += piece
                if self._is_answered() or not piece:
                    break
        except OSError as error:
            self.error = error_text(error)
            return True
        if not self._is_answered():
            self.error = "no answer"
        return True

    def _is_answered(self) -> bool:
        lines = self._said.decode().split("\n")
        last = lines[-2] if len(lines) > 1 and not lines[-1] else ""
        if last.startswith("error: "):
            self.error = last[7:]
        elif last == "ok":
            self.lines = lines[:-2]
        else:
            return False
        return True

    def close(self) -> None:
        self._socket.close()


class Writing:
    """A command that is written to nat46's control file, which says nothing. TranslatorError."""

    def __init__(self, path: str, command: str, start: "Start") -> None:
        self.error = ""
        self.lines: list[str] = []
        self._running = start(WRITE.format(LOCK_TRIES, command, path))

    def fileno(self) -> int:
        return self._running.fileno()

    def has_ended(self) -> bool:
        if not self._running.has_ended():
            return False
        if self._running.status:
            self.error = "it was not written"
        return True

    def close(self) -> None:
        self._running.close()


class Translator:
    """target: its socket or control file, None: what there is. start: runs a shell's script."""

    def __init__(self, device: str, target: str | None, start: "Start", clock: "Callable[[], float]") -> None:
        self.device, self._target, self._start, self._clock = device, target, start, clock
        self.sources = Sources()  # what we wait for; who attends to it calls go_on
        self._waiting: "list[tuple[str, Done]]" = []
        self._command = ""  # what runs
        self._done: "Done" = _ignore
        self._running: "Question | Writing | None" = None
        self.next_deadline_s: float | None = None
        self._shown: list[str] = []

    def insert(self, ipv4: bytes, ipv6: bytes, done: "Done") -> None:
        self._say(f"insert {self.device} {_pair(ipv4, ipv6)}", done)

    def remove(self, ipv4: bytes, ipv6: bytes, done: "Done | None" = None) -> None:
        self._say(f"remove {self.device} {_pair(ipv4, ipv6)}", done or _ignore)

    def pairs(self) -> "list[tuple[bytes, bytes]]":
        """The pairs of one address for one, whoever made them. Not for the loop. Raises TranslatorError, OSError."""
        if _is_siit(self._path()):
            said: list[str] = []
            self._say(f"show {self.device}", said.append)
            self.finish()
            if said[-1]:
                raise TranslatorError(said[-1])
            lines = self._shown
        else:
            with open(self._path()) as file:
                lines = file.read(ANSWER_BYTES).split("\n")
        return [pair for line in lines if (pair := _pair_of(line, self.device))]

    def go_on(self) -> None:
        """Hear what has come, begin what waits. Never waits."""
        if self._running is not None:
            if self._running.has_ended():
                self._end(self._running.error)
            elif self.next_deadline_s is not None and self._clock() >= self.next_deadline_s:
                waiting, self._waiting = self._waiting, []
                self._end("no answer in time")
                for command, done in waiting:
                    done(_sentence(command, "it does not answer"))

    def finish(self) -> None:
        """Wait until all has been carried out, or given up. Not for the loop."""
        while self._running is not None:
            assert self.next_deadline_s is not None
            own = Poller()
            own.add(self._running, self.go_on)
            own.wait(int(max(0.0, self.next_deadline_s - self._clock()) * 1000 + 0.999))
            self.go_on()

    def _path(self) -> str:
        return self._target or (SIIT if _exists(SIIT) else NAT46)

    def _say(self, command: str, done: "Done") -> None:
        if len(self._waiting) >= WAITING_MAX:
            done(_sentence(command, "too many wait"))
            return
        self._waiting.append((command, done))
        self._begin()

    def _begin(self) -> None:
        while self._running is None and self._waiting:
            self._command, self._done = self._waiting.pop(0)
            path = self._path()
            is_siit = _is_siit(path)
            try:
                if is_siit:
                    self._running = Question(path, self._command)
                elif not _exists(path):  # to write to it would make a file in the place of siit's socket
                    raise OSError(ENOENT)
                else:
                    self._running = Writing(path, self._command, self._start)
            except TranslatorError as error:
                self._done(str(error))
                continue
            except OSError as error:
                self._done(_sentence(self._command, error_text(error)))
                continue
            self.next_deadline_s = self._clock() + (ANSWER_S if is_siit else WRITE_S)
            self.sources.add(self._running)

    def _end(self, error: str) -> None:
        running, done = self._running, self._done
        assert running is not None
        self.sources.forget(running)
        running.close()
        self._running = self.next_deadline_s = None
        self._shown = running.lines
        done(error and _sentence(self._command, error))
        self._begin()


def _ignore(_why_not: str) -> None:
    """Nobody asks what came of it."""


def _sentence(command: str, error: str) -> str:
    return f"the translator did not take `{command}`: {error}"


def _exists(path: str) -> bool:
    try:
        os.stat(path)
    except OSError:
        return False
    return True


def _is_siit(path: str) -> bool:
    return _exists(path) and is_socket(path)


def _pair(ipv4: bytes, ipv6: bytes) -> str:
    return f"remote.v4 {format_ipv4(ipv4)}/32 remote.v6 {format_ipv6(ipv6)}/128"


def _pair_of(line: str, device: str) -> "tuple[bytes, bytes] | None":
    """The pair in a line of a listing, None if it is another one."""
    words = line.split(" ")
    values = {words[i]: words[i + 1] for i in range(2, len(words) - 1, 2)}
    v4, v6 = values.get("remote.v4", ""), values.get("remote.v6", "")
    if words[:2] != ["insert", device] or not v4.endswith("/32") or not v6.endswith("/128"):
        return None
    try:
        return parse_ipv4(v4[:-3]), parse_ipv6(v6[:-4])
    except ValueError:
        return None
