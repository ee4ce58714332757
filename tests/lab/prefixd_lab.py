# SPDX-License-Identifier: ISC
"""What prefixd's lab tests and bench use: namespaces, a scripted babeld, a scripted translator."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import uuid
import zlib
from pathlib import Path

from waiting import wait_until

from sdk.netns import NetworkNamespace

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PLAT_RANGE = "fddd:1337:1338::/48"
GREETING = b"BABEL 1.0\nversion babeld-1.12.1\nhost lab\nmy-id 02:00:00:00:00:00:00:01\nok\n"


def plat(number):
    """Return the prefix of PLAT number N, without its length."""
    return f"fddd:1337:1338:1:2:{number:x}::"


def route(prefix, metric, verb="add", installed="yes", route_id=0x564830143590):
    """Return a line as babeld 1.12.1 writes it; each prefix has a router of its own."""
    router = zlib.crc32(prefix.encode()).to_bytes(4, "big").hex(":")
    return (
        f"{verb} route {route_id:x} prefix {prefix}/96 from ::/0 installed {installed} "
        f"id 02:00:00:ff:{router} metric {metric} refmetric 0 via fe80::1 if mesh0\n"
    )


def xroute(prefix, verb="add"):
    return f"{verb} xroute {prefix}/96-::/0 prefix {prefix}/96 from ::/0 metric 0\n"


class Namespaces:
    """Network namespaces with names of their own."""

    def __init__(self):
        self.tag = "pfx" + uuid.uuid4().hex[:6]
        self.spaces = {}
        self.processes = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
        for space in self.spaces.values():
            space.end()

    def add(self, name):
        """Make a namespace that forwards IPv6 and has no duplicate address detection to wait for."""
        self.spaces[name] = NetworkNamespace(f"{self.tag}-{name}")
        keys = ["all.forwarding=1", "all.accept_dad=0", "default.accept_dad=0", "icmp.ratelimit=0"]
        self.run(name, "sysctl", "-qw", *[f"net.ipv6.{k if k[:4] == 'icmp' else 'conf.' + k}" for k in keys])
        return self.spaces[name].name

    def link(self, left, right):
        """Connect two namespaces; the devices are named after the other end."""
        names = [self.spaces[each].name for each in (left, right)]
        subprocess.run(
            f"ip link add name {right} netns {names[0]} type veth peer name {left} netns {names[1]}".split(),
            check=True,
        )
        for here, there in ((left, right), (right, left)):
            self.run(here, "ip", "link", "set", "dev", there, "up")

    def run(self, name, *words, check=True):
        done = subprocess.run(self.spaces[name].command(*words), capture_output=True, text=True)
        assert done.returncode == 0 or not check, f"{words}: {done.stderr}"
        return done.stdout

    def start(self, name, words, **options):
        process = subprocess.Popen(self.spaces[name].command(*words), **options)
        self.processes.append(process)
        return process


class FakeBabeld:
    """A babeld that says what it is told to, on a Unix socket; a new `monitor` hears the table first."""

    def __init__(self, path, table=()):
        self.path = str(path)
        self.table = list(table)
        self.peer = None
        self.monitored = 0
        self.greeting = GREETING
        self._listener = None
        self.open()

    def open(self):
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen()
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def _serve(self, listener):
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):
                peer.sendall(self.greeting)
                if peer.recv(100) == b"monitor\n":
                    self.peer = peer  # before anybody can act on the table
                    peer.sendall("".join(self.table).encode() + b"ok\n")
                    self.monitored += 1

    def say(self, text):
        """Send text or bytes to who monitors."""
        self.peer.sendall(text if isinstance(text, bytes) else text.encode())

    def close(self):
        """Die: the connection and the socket are gone."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        os.unlink(self.path)
        if self.peer is not None:
            self.peer.shutdown(socket.SHUT_RDWR)
            self.peer.close()
            self.peer = None


class LineServer:
    """A Unix socket that takes lines and may answer each: the translator, or the roaming daemon."""

    def __init__(self, path, answer=b"ok\n", backlog=16):
        self.path = str(path)
        self.answer = answer
        self.lines = []
        self.times = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(backlog)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            if self.answer:
                threading.Thread(target=self._talk, args=(peer,), daemon=True).start()
            else:
                self._talk(peer)  # a line a connection, as l3roamd: in the order in which they came

    def _talk(self, peer):
        with peer, peer.makefile("rb") as stream, contextlib.suppress(OSError):
            for line in stream:
                self.times.append(time.monotonic())
                self.lines.append(line.decode().rstrip("\n"))
                if self.answer:
                    peer.sendall(self.answer)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        os.unlink(self.path)


class Prefixd:
    """A prefixd in a namespace, with everything around it in one folder."""

    def __init__(self, spaces, name, folder, python=None, **options):
        self.folder = Path(folder)
        self.socket = self.folder / "prefixd.sock"
        self.hooks = self.folder / "hooks"
        hook = self.folder / "hook.sh"
        hook.write_text(f'#!/bin/sh\necho "$1" >>{self.hooks}\n')
        hook.chmod(0o755)
        given = {
            "plat-range": PLAT_RANGE,
            "clat": "clat",
            "target": self.folder / "control",
            "babel": self.folder / "babel",
            "socket": self.socket,
            "hook": hook,
            **options,
        }
        words = [word for key, value in given.items() for word in ("--" + key.replace("_", "-"), str(value))]
        self.log_path = self.folder / "log"
        self.words = words
        self.python = python or sys.executable
        with self.log_path.open("ab") as log:
            self.process = spaces.start(
                name,
                [str(REPOSITORY / "bin" / "prefixd"), *words],
                stdout=log,
                stderr=log,
                env={**os.environ, "PREFIXD_PYTHON": self.python},
            )

    def status(self, command=b"status"):
        """Return the status, or None while there is none."""
        with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(str(self.socket))
            sock.sendall(command + b"\n")
            with sock.makefile("rb") as stream:
                return json.loads(stream.read())
        return None

    def candidates(self):
        """Return how many PLATs are known, without asking for all of them: cheap enough to ask often."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(str(self.socket))
            sock.sendall(b"status\n")
            found = re.search(rb'"candidates": (\d+)', sock.recv(4096))
            return int(found.group(1)) if found else None
        return None

    def chosen(self):
        """Return the chosen PLAT without its length, or None."""
        status = self.status()
        return status["chosen"].removesuffix("/96") if status and status["chosen"] else None

    def wait_chosen(self, prefix):
        wait_until(lambda: self.chosen() == prefix, f"choice of {prefix} ({self.log()})")

    def hooked(self):
        return self.hooks.read_text().split() if self.hooks.exists() else []

    def log(self):
        return self.log_path.read_text()
