# SPDX-License-Identifier: ISC
"""siit's Unix socket as a target. Its daemon checks more than the module does, and answers."""

import errno
import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

from nat46.errors import CallFailed, DaemonMissing, Rejected, Unreadable
from nat46.target import (
    Result,
    Session,
    Statistics,
    failed,
    locked,
    write_once,
)

SOCKETS = ("/run/siit/control.sock", "/var/run/siit/control.sock")  # a laptop's, a router's
ANSWER_S = 10.0  # seconds that siit may take for one command
START = "start `siit daemon`"


@dataclass(frozen=True, slots=True)
class SiitTarget:
    path: str = SOCKETS[0]
    keeps_debug: bool = False

    @property
    def name(self) -> str:
        return self.path

    def perform(self, work: Callable[[Session], Result]) -> Result:
        folder = os.path.dirname(os.path.abspath(self.path))
        missing = lambda: DaemonMissing("open", folder, errno.ENOENT, START)  # noqa: E731
        with (
            locked(folder, os.O_RDONLY | os.O_DIRECTORY, missing),
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection,
        ):
            connection.settimeout(ANSWER_S)
            try:
                connection.connect(self.path)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
                    raise DaemonMissing("connect", self.path, error.errno, START) from None
                raise failed("connect", self.path, error.errno or errno.ETIMEDOUT) from None
            return work(_SiitSession(connection, self.path))


class _SiitSession:
    def __init__(self, connection: socket.socket, path: str) -> None:
        self._connection, self._path = connection, path
        self._unread = b""

    def send(self, command: str) -> None:
        self._ask(command)

    def read(self) -> str:
        return "".join(line + "\n" for line in self._ask("show"))

    def statistics(self, device: str) -> Statistics:
        counters = self._describe(device).get("counters", {})
        count = counters.get
        return Statistics(
            count("in4_packets", 0) + count("in6_packets", 0),
            count("in4_bytes", 0) + count("in6_bytes", 0),
            count("out4_packets", 0) + count("out6_packets", 0),
            count("out4_bytes", 0) + count("out6_bytes", 0),
            counters,
        )

    def has_interface(self, name: str) -> bool:
        return False  # the daemon may live in another network namespace, and says so itself

    def mtu_bytes(self, device: str) -> int:
        return int(self._describe(device).get("mtu_bytes", 0))  # 0: siit does not have it (`siit stat`)

    def take_down(self, device: str) -> None:
        pass  # the daemon does

    def _describe(self, device: str) -> dict:
        try:
            (answer,) = self._ask(f"stat {device}")
            return json.loads(answer)["devices"][0]
        except (ValueError, LookupError, TypeError) as error:
            raise Unreadable(self._path, f"{error}") from None

    def _ask(self, command: str) -> list[str]:
        write_once(self._connection.fileno(), command.encode("ascii") + b"\n", self._path)
        lines: list[str] = []
        while (line := self._line()) != "ok":
            if line.startswith("error: "):
                raise Rejected(command, line.removeprefix("error: "))
            lines.append(line)
        return lines

    def _line(self) -> str:
        while b"\n" not in self._unread:
            try:
                data = self._connection.recv(65536)
            except TimeoutError:
                raise CallFailed("recv", self._path, errno.ETIMEDOUT, "siit does not answer") from None
            except OSError as error:
                raise failed("recv", self._path, error.errno or 0) from None
            if not data:
                raise CallFailed("recv", self._path, errno.ECONNRESET, "siit has hung up")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode("ascii", "replace")
