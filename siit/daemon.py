# SPDX-License-Identifier: ISC
"""`siit daemon`: one at a time for each socket and state file, from its start to the signal that ends it."""

import contextlib
import fcntl
import functools
import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from nat46.language import ControlError
from runtime.log import Log
from runtime.loop import Poller
from runtime.server import Refused, Server, SocketError
from siit import control
from siit.device import DeviceError
from siit.translator import DEFAULT_POLICY, Policy
from siit.translators import DaemonError, Translators

THREAD_STACK_BYTES = 256 * 1024
REWRITE_MS = 5000  # until the next try to write a state file that could not be written
RTMGRP_LINK, RTMGRP_TC = 1, 8
log = Log("siit")


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


class Language:
    """What the control socket answers: what a command asks for, then `ok`; or what is wrong with it."""

    def __init__(self, translators: Translators) -> None:
        self._translators = translators

    def line_bytes(self, _data: bytes) -> int:
        return control.LINE_BYTES

    def answer(self, line: bytes) -> tuple[str]:
        try:
            lines = self._translators.answer(line.removesuffix(b"\r").decode("ascii"))
        except UnicodeDecodeError:
            raise Refused("the line has bytes that are not ASCII, expected a command") from None
        except (ControlError, DeviceError) as error:
            raise Refused(str(error)) from None
        return ("\n".join([*lines, "ok\n"]),)


def _why_no_fast(mode: str) -> str | None:
    """Why no device shall have a fast path; None: all that can."""
    if mode == "auto":
        from siit import fast_trial

        reason = fast_trial.reason_against()
        if reason:
            log.info(f"no fast path: {reason}")
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
    wake_read, wake_write = socket.socketpair()
    links = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    for each in (wake_read, wake_write, links):
        each.setblocking(False)
    links.bind((0, RTMGRP_LINK | RTMGRP_TC))

    def wake() -> None:
        with contextlib.suppress(BlockingIOError):
            wake_write.send(b"!")

    with _alone(socket_path, "socket"), _alone(state, "state"):
        poller = Poller()
        translators = Translators(state, queues, wake, policy, _why_no_fast(fast_mode))
        try:
            translators.restore()
            server = Server(
                str(socket_path), poller, time.monotonic, math.inf, Language(translators), has_sessions=True
            )
            for source in (wake_read, links):
                poller.add(source, functools.partial(_follow, source, translators))
            ending: list[bool] = []
            poller.stop_on_signals(lambda: ending.append(True))
            log.info(f"ready at {socket_path}, {len(translators.devices)} devices")
            told = None
            while not ending:
                if told != len(translators.devices):
                    told = len(translators.devices)
                    log.tell_manager(f"translating on {told} devices")
                poller.wait(REWRITE_MS if translators.unwritten else -1)
                if translators.unwritten:
                    translators.write()
            server.close()
            log.info("ended; devices and routes stay for the next daemon")

        except SocketError as error:
            raise DaemonError(str(error)) from None
        finally:
            translators.leave()


def _follow(source: socket.socket, translators: Translators) -> None:
    """Links and their qdiscs may be others now: what woke us only says that there is something to look at."""
    with contextlib.suppress(OSError):
        while source.recv(65536):
            pass
    translators.follow()
