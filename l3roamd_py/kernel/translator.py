# SPDX-License-Identifier: ISC
"""Pairs in the CLAT's translator: siit at its Unix socket, or nat46 at its control file. One address for one.

They stand before the pair of the exit, which prefixd configures: `config` is for the last one. nat46 lists its pairs
without a lock of its own, so commands are kept apart by one on the network namespace, as in 464xlat's translator.sh.
"""

import os
import socket

from runtime.sockets import error_text, is_socket, unix_address
from xlat464.address import format_ipv4, format_ipv6, parse_ipv4, parse_ipv6

SIIT, NAT46 = "/run/siit/control.sock", "/proc/net/nat46/control"
ANSWER_S = 1.0
ANSWER_BYTES = 1 << 18  # more than a device of some hundred pairs shows


class TranslatorError(Exception):
    """It refused, or did not answer; one sentence."""


class Translator:
    """target: its socket or control file, None: what there is."""

    def __init__(self, device: str, target: str | None = None) -> None:
        self.device, self._target = device, target

    def insert(self, ipv4: bytes, ipv6: bytes) -> None:
        self._tell(f"insert {self.device} {_pair(ipv4, ipv6)}")

    def remove(self, ipv4: bytes, ipv6: bytes) -> None:
        self._tell(f"remove {self.device} {_pair(ipv4, ipv6)}")

    def pairs(self) -> "list[tuple[bytes, bytes]]":
        """The pairs of one address for one, whoever made them."""
        if _is_siit(self._path()):
            lines = self._tell(f"show {self.device}")
        else:
            with open(self._path()) as file:
                lines = file.read(ANSWER_BYTES).split("\n")
        return [pair for line in lines if (pair := _pair_of(line, self.device))]

    def _path(self) -> str:
        return self._target or (SIIT if _exists(SIIT) else NAT46)

    def _tell(self, command: str) -> list[str]:
        """Raises TranslatorError."""
        path = self._path()
        try:
            if _is_siit(path):
                return _ask(path, command)
            if os.system(f"flock /proc/self/ns/net sh -c 'printf %s\\\\n \"{command}\" >{path}'"):
                raise TranslatorError(f"{path} did not take `{command}`")
        except OSError as error:
            raise TranslatorError(f"the translator did not take `{command}`: {error_text(error)}") from None
        return []


def _exists(path: str) -> bool:
    try:
        os.stat(path)
    except OSError:
        return False
    return True


def _is_siit(path: str) -> bool:
    return _exists(path) and is_socket(path)


def _ask(path: str, command: str) -> list[str]:
    """Say a command to siit; return the lines of its answer."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(ANSWER_S)
        sock.connect(unix_address(path))
        line = command.encode() + b"\n"
        while line:
            line = line[sock.send(line) :]
        answer = b""
        while len(answer) < ANSWER_BYTES and (piece := sock.recv(1 << 14)):
            answer += piece
            lines = answer.decode().split("\n")
            last = lines[-2] if len(lines) > 1 and not lines[-1] else ""
            if last == "ok":
                return lines[:-2]
            if last.startswith("error: "):
                raise TranslatorError(f"siit refused `{command}`: {last[7:]}")
    finally:
        sock.close()
    raise TranslatorError(f"siit did not answer `{command}`")


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
