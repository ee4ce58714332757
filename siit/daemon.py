# SPDX-License-Identifier: ISC
"""The daemon: a Unix socket, a state file and the devices. What a command means is control.py's business.

The devices are persistent: when the daemon ends, however it ends, they and their routes stay, and the next
one finds in its state file which are its own and by which rules they translate.
"""

import contextlib
import fcntl
import json
import logging
import os
import selectors
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from nat46.language import ControlError, Pair
from siit import control
from siit.device import Device, DeviceError

CLIENTS = 64  # connections at a time; one more closes the one that has been quiet for longest
UNREAD_BYTES = 256 * 1024  # replies that a client has not read; beyond, its further commands wait
THREAD_STACK_BYTES = 256 * 1024
RTMGRP_LINK = 1
log = logging.getLogger("siit")


class DaemonError(Exception):
    """The daemon cannot start; one sentence says why and what would be right. Nothing was changed."""


class Translators:
    """The devices and their rules: carries requests out and keeps the state file."""

    def __init__(self, state: Path, queues: int, wake) -> None:
        self._state = state
        self._queues = queues
        self._wake = wake
        self.rules: dict[str, tuple[Pair, ...]] = {}
        self.devices: dict[str, Device] = {}

    def restore(self) -> None:
        """Take over what the daemon before left; a device that we do not get stays in the state file."""
        try:
            self.rules = control.parse_state(self._state.read_text("ascii"))
        except FileNotFoundError:
            return
        except (ControlError, OSError, UnicodeDecodeError) as error:
            raise DaemonError(f"{self._state}: {error}: correct the file or delete it") from error
        for name, pairs in self.rules.items():
            try:
                self.devices[name] = Device(name, pairs, self._queues, self._wake)
                self.devices[name].persist(True)
            except DeviceError as error:
                log.warning("%s; its rules are kept", error)

    def answer(self, line: str) -> list[str]:
        """Carry out one line; return the reply. ControlError, DeviceError: refused, nothing changed."""
        request = control.understand(line, self.rules)
        if isinstance(request, control.Show):
            return control.show(self.rules, request.devices)
        if isinstance(request, control.Stat):
            return [json.dumps({"devices": [self._describe(name) for name in request.devices]})]
        if isinstance(request, control.Create):
            device = Device(request.device, request.pairs, self._queues, self._wake)
            try:
                self._keep({**self.rules, request.device: request.pairs})
            except ControlError:
                device.leave()
                raise
            self.devices[request.device] = device
            device.persist(True)  # only now: killed before, we leave no device that no state file knows
            log.info("%s added", request.device)
        elif isinstance(request, control.Change):
            self._keep({**self.rules, request.device: request.pairs})
            if request.device in self.devices:
                self.devices[request.device].use(request.pairs)
        else:
            gone = self.devices.get(request.device)
            if gone:
                gone.persist(False)  # so that it goes with us if we are killed on the way
            try:
                self._keep({name: pairs for name, pairs in self.rules.items() if name != request.device})
            except ControlError:
                if gone:
                    gone.persist(True)
                raise
            if gone:
                del self.devices[request.device]
                gone.leave()
            log.info("%s deleted", request.device)
        return []

    def _describe(self, name: str) -> dict:
        device = self.devices.get(name)
        if device is None:
            return {"name": name, "attached": False, "pairs": len(self.rules[name])}
        return {
            "name": name,
            "attached": True,
            "mtu_bytes": device.mtu_bytes,
            "pairs": len(self.rules[name]),
            "queues": self._queues,
            "coalesces_udp": device.coalesces,
            "counters": device.counters(),
        }

    def _keep(self, rules: dict[str, tuple[Pair, ...]]) -> None:
        """Write the state file, in one step, and remember; ControlError if it cannot be written."""
        try:
            write_atomically(self._state, control.format_state(rules))
        except OSError as error:
            raise ControlError(f"{self._state} cannot be written: {error.strerror}") from error
        self.rules = rules

    def follow(self) -> None:
        """Something about links has changed: take over MTUs, forget devices that others have deleted."""
        for name, device in list(self.devices.items()):
            if device.is_alive:
                device.follow_mtu()
                continue
            log.warning("%s was deleted by somebody else, its rules are gone with it", name)
            del self.devices[name]
            device.leave()
            try:
                self._keep({each: pairs for each, pairs in self.rules.items() if each != name})
            except ControlError as error:
                log.warning("%s", error)

    def leave(self) -> None:
        for device in self.devices.values():
            device.leave()


def write_atomically(path: Path, text: str) -> None:
    """Replace a file's content; whoever reads it, also after a crash, finds the old or the new.

    One writer at a time: what a crash leaves beside it has always the same name, and the next call takes it over.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        with open(
            os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w", encoding="ascii"
        ) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


class Client:
    """One connection: what it has sent and not yet ended, what it has not yet read."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.reader = control.LineReader()
        self.lines: list[str | ControlError] = []
        self.unread = b""
        self.has_ended = False  # sends no more

    def receive(self) -> None:
        try:
            data = self.connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data, self.unread = b"", b""
        if data:
            self.lines += self.reader.feed(data)
        else:
            self.has_ended = True
            self.lines += self.reader.end()

    def send(self) -> None:
        try:
            while self.unread:
                self.unread = self.unread[self.connection.send(self.unread) :]
        except BlockingIOError:
            pass
        except OSError:
            self.unread, self.lines, self.has_ended = b"", [], True

    @property
    def is_done(self) -> bool:
        return self.has_ended and not self.lines and not self.unread


class Server:
    """One loop over the listening socket, its clients, and what the kernel says of links."""

    def __init__(self, listener: socket.socket, translators: Translators, wake: socket.socket) -> None:
        self._translators = translators
        self._clients: dict[int, Client] = {}  # by descriptor, the longest quiet first
        self._selector = selectors.DefaultSelector()
        self._is_stopping = False
        self._links = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        self._links.bind((0, RTMGRP_LINK))
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._selector.register(wake, selectors.EVENT_READ, self._drain)
        self._selector.register(self._links, selectors.EVENT_READ, self._drain)

    def stop(self, *_signal) -> None:
        self._is_stopping = True

    def run(self) -> None:
        """Serve until stop is called, which a signal handler may do."""
        while not self._is_stopping:
            for key, events in self._selector.select():
                if isinstance(key.data, Client):
                    self._serve(key.data, events)
                else:
                    key.data(key.fileobj)

    def close(self) -> None:
        for client in list(self._clients.values()):
            self._drop(client)
        self._selector.close()
        self._links.close()

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        if len(self._clients) >= CLIENTS:
            self._drop(next(iter(self._clients.values())))
        client = Client(connection)
        self._clients[connection.fileno()] = client
        self._selector.register(connection, selectors.EVENT_READ, client)

    def _drain(self, source: socket.socket) -> None:
        """Signals and link messages only say that there is something to look at."""
        with contextlib.suppress(OSError):
            while source.recv(65536):
                pass
        self._translators.follow()

    def _serve(self, client: Client, events: int) -> None:
        if client.connection.fileno() not in self._clients:
            return  # dropped by an accept in this same round
        if events & selectors.EVENT_READ:
            client.receive()
        if events & selectors.EVENT_WRITE:
            client.send()
        while client.lines and len(client.unread) < UNREAD_BYTES:
            client.unread += reply(self._translators, client.lines.pop(0))
        client.send()
        if client.is_done:
            self._drop(client)
            return
        self._clients[client.connection.fileno()] = self._clients.pop(client.connection.fileno())
        # who does not read replies is not listened to
        wanted = selectors.EVENT_WRITE if client.unread or client.has_ended else selectors.EVENT_READ
        self._selector.modify(client.connection, wanted, client)

    def _drop(self, client: Client) -> None:
        del self._clients[client.connection.fileno()]
        self._selector.unregister(client.connection)
        client.connection.close()


def reply(translators: Translators, line: str | ControlError) -> bytes:
    """The reply to one line, whatever it is."""
    try:
        if isinstance(line, ControlError):
            raise line
        lines = [*translators.answer(line), "ok"]
    except (ControlError, DeviceError) as error:
        lines = [f"error: {error}"]
    return "".join(each + "\n" for each in lines).encode("ascii", "backslashreplace")


@contextlib.contextmanager
def _alone(path: Path, what: str) -> Iterator[None]:
    """Hold the lock beside a file; DaemonError if another daemon has it. A dead daemon holds none."""
    with _lock(path, what) as lock:
        try:
            yield
        finally:
            Path(lock.name).unlink(missing_ok=True)  # while it is ours


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


def run(socket_path: Path, state: Path, queues: int = 1) -> None:
    """Serve in the foreground until SIGTERM or SIGINT. Raises DaemonError when it cannot start."""
    threading.stack_size(THREAD_STACK_BYTES)
    with _alone(socket_path, "socket"), _alone(state, "state"):
        wake_read, wake_write = socket.socketpair()
        wake_read.setblocking(False)
        wake_write.setblocking(False)

        def wake() -> None:
            with contextlib.suppress(BlockingIOError):
                wake_write.send(b"!")

        translators = Translators(state, queues, wake)
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
