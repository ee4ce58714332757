# SPDX-License-Identifier: ISC
"""`siit daemon`: one at a time for each socket and state file, from its start to the signal that ends it."""

import contextlib
import fcntl
import logging
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from siit.server import CLIENTS, Server
from siit.translator import DEFAULT_POLICY, Policy
from siit.translators import DaemonError, Translators

THREAD_STACK_BYTES = 256 * 1024
log = logging.getLogger("siit")


@contextlib.contextmanager
def _alone(path: Path, what: str) -> Iterator[None]:
    """Hold the lock beside a file; DaemonError if another daemon has it. A dead daemon holds none."""
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        with _lock(path, what) as lock:
            try:
                yield
            finally:
                Path(lock.name).unlink(missing_ok=True)  # while it is ours
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # never made, or in use
                folder.rmdir()


def _lock(path: Path, what: str) -> TextIO:
    """The file beside a path, open and locked. It is the one that is there, not one that has just been removed."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = open(f"{path}.lock", "a")  # noqa: SIM115 stays open as long as we run
        except OSError as error:
            raise DaemonError(f"{path.parent} cannot hold our {what}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock.fileno()), os.stat(lock.name)):
                return lock
        except BlockingIOError:
            lock.close()
            raise DaemonError(
                f"another siit daemon uses {path}, expected none: end it, or choose another --{what}"
            ) from None
        except FileNotFoundError:
            pass
        lock.close()


def _listen(path: Path) -> socket.socket:
    """Listen at a path, in place of the socket of a daemon that was killed."""
    try:
        if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
            raise DaemonError(f"{path} is there and no socket, expected a path that is free")
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        before = os.umask(0o177)  # root's alone
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(CLIENTS)
    except OSError as error:
        raise DaemonError(f"cannot listen at {path}: {error.strerror or error}") from error
    return listener


def _why_no_fast(mode: str) -> str | None:
    """Why no device shall have a fast path; None: all that can."""
    if mode == "auto":
        from siit import fast_trial

        reason = fast_trial.reason_against()
        if reason:
            log.info("no fast path: %s", reason)
        return f"off: {reason}" if reason else None
    return None if mode == "on" else "off"


def run(
    socket_path: Path,
    state: Path,
    queues: int = 1,
    policy: Policy = DEFAULT_POLICY,
    fast_mode: str = "off",
) -> None:
    """Serve in the foreground until SIGTERM or SIGINT. Raises DaemonError when it cannot start."""
    threading.stack_size(THREAD_STACK_BYTES)
    with _alone(socket_path, "socket"), _alone(state, "state"):
        wake_read, wake_write = socket.socketpair()
        wake_read.setblocking(False)
        wake_write.setblocking(False)

        def wake() -> None:
            with contextlib.suppress(BlockingIOError):
                wake_write.send(b"!")

        translators = Translators(state, queues, wake, policy, _why_no_fast(fast_mode))
        try:
            translators.restore()
            listener = _listen(socket_path)
            server = Server(listener, translators, wake_read)
            signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, server.stop)
            log.info("ready at %s, %d devices", socket_path, len(translators.devices))
            server.run()
            server.close()
            listener.close()
            socket_path.unlink(missing_ok=True)
            log.info("ended; devices and routes stay for the next daemon")
        finally:
            translators.leave()
