# SPDX-License-Identifier: ISC
"""One daemon at a path, from before it touches anything until it has ended."""

import socket

from runtime.server import PATH_BYTES, SocketError
from runtime.sockets import CLOEXEC, unix_address


class Lock:
    """Held as long as a daemon uses a path, by a name that no file has: it ends with its daemon, however that ends."""

    def __init__(self, path: str, program: str) -> None:
        if len(path.encode()) > PATH_BYTES:
            raise SocketError(f"{path}: expected a path of at most {PATH_BYTES} bytes")
        name = "\0" + path + ".lock"
        if len(name.encode()) > PATH_BYTES:
            name = "\0" + path  # there is room for just that
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | CLOEXEC)
        try:
            self._socket.bind(unix_address(name))
        except OSError:
            self._socket.close()
            sentence = f"another {program} uses {path}, expected none: end it, or choose another --socket"
            raise SocketError(sentence) from None

    def release(self) -> None:
        self._socket.close()
