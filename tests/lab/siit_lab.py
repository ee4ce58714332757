# SPDX-License-Identifier: ISC
"""What siit's tests with namespaces use: a namespace with its daemon, sockets in it, waiting with a deadline."""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import threading
import uuid
from pathlib import Path

import pytest
from waiting import wait_until

from sdk.netns import NetworkNamespace
from sdk.timeouts import TIMEOUT_SCALE

LIBC = ctypes.CDLL(None, use_errno=True)
ROOT = Path(__file__).resolve().parent.parent.parent
SIIT = str(ROOT / "bin" / "siit")
DEADLINE_S = 60 * TIMEOUT_SCALE

CLAT_RULES = (
    "local.v4 10.1.0.0/24 local.v6 fd00:64:1::/96 local.style RFC6052 "
    "remote.v4 0.0.0.0/0 remote.v6 fd00:64:2::/96 remote.style RFC6052"
)

NEEDS = [  # what a test module's pytestmark is
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="no /dev/net/tun"),
]


class Namespace:
    """A network namespace; commands, sockets and siit's daemon in it."""

    def __init__(self, name, folder):
        self.name = name
        self.socket = folder / f"{name}.sock"
        self.state = folder / f"{name}.rules"
        self.log = folder / f"{name}.log"
        self.daemon = None
        self.options = ()  # of each daemon
        self.wrapper = ()  # the command that runs it
        self.space = NetworkNamespace(name)
        self.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")

    def command(self, *words):
        return self.space.command(*words)

    def run(self, *words, check=True, **options):
        done = subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=60, check=False, **options
        )
        assert not check or done.returncode == 0, (words, done.stdout, done.stderr)
        return done

    def socket_in(self, *arguments):
        """A socket of this namespace in our process."""
        made = []

        def make():  # setns changes the calling thread only
            with open(f"/run/netns/{self.name}") as netns:
                assert LIBC.setns(netns.fileno(), 0) == 0
            made.append(socket.socket(*arguments))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        made[0].settimeout(DEADLINE_S)
        return made[0]

    def start_siit(self, *options, env=None):
        log = self.log.open("a")
        before = log.tell()
        files = ("--socket", self.socket, "--state", self.state)
        self.daemon = subprocess.Popen(
            self.command(*self.wrapper, SIIT, "daemon", *files, *self.options, *options),
            stdout=log,
            stderr=log,
            env={**os.environ, **(env or {})},
        )
        log.close()
        wait_until(
            lambda: "ready at" in self.log.read_text()[before:] or self.daemon.poll() is not None,
            "siit is ready",
        )
        assert self.daemon.poll() is None, self.log.read_text()

    def end_siit(self, number=signal.SIGTERM):
        self.daemon.send_signal(number)
        self.daemon.wait(DEADLINE_S)

    def ctl(self, *commands, check=True):
        return self.run(SIIT, "ctl", "--socket", self.socket, *commands, check=check)

    def routes(self):
        shown = self.run("ip", "-4", "route").stdout + self.run("ip", "-6", "route").stdout
        return shown.replace("linkdown ", "")  # the kernel's mark while no daemon holds the device

    def counters(self, device):
        done = self.run(SIIT, "stat", "--socket", self.socket, device, "--json")
        return json.loads(done.stdout)["devices"][0]["counters"]

    def close(self):
        if self.daemon and self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait()
        self.space.end()


@pytest.fixture
def namespaces(tmp_path):
    """A function that makes namespaces of the names given; all are taken away."""
    with contextlib.ExitStack() as stack:
        run = uuid.uuid4().hex[:8]

        def make(*names):
            made = []
            for name in names:
                made.append(Namespace(f"siit{run}-{name}", tmp_path))
                stack.callback(made[-1].close)
            return made

        yield make
