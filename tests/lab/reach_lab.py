# SPDX-License-Identifier: ISC
"""What reach's tests with namespaces use: machines, cables between them, sockets in them, and the relay."""

import contextlib
import ctypes
import itertools
import json
import os
import queue
import resource
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from waiting import wait_until

from reach.relay import build
from sdk.timeouts import TIMEOUT_SCALE

LIBC = ctypes.CDLL(None, use_errno=True)
ROOT = Path(__file__).resolve().parents[2]
ASAN = ROOT / "build" / "bin" / "reach-relay-asan"
CLONE_NEWNET = 0x40000000  # linux/sched.h
DEADLINE_S = 60 * TIMEOUT_SCALE
CHURN = float(os.environ.get("REACH_CHURN", 1))  # how much longer than in every test run
OWN_RUN = "mount -t tmpfs none /run && mkdir /run/wireguard && echo && read -r _"
numbers = itertools.count()
# both ends of a thousand connections are in our process
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)


def needs(*programs):
    """What a test module's pytestmark is."""
    missing = [each for each in programs if not shutil.which(each)]
    return [
        pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
        pytest.mark.skipif(bool(missing), reason=f"no {', '.join(missing)}"),
    ]


class Machine:
    """Namespaces for network and mounts; commands and sockets in them. They end with their holder: when it is closed,
    and when the test is killed, whose pipe it reads."""

    def __init__(self):
        self.init = subprocess.Popen(
            [
                "unshare",
                "--net",
                "--mount",
                "--pid",
                "--mount-proc",
                "--kill-child",
                "--fork",
                "sh",
                "-c",
                OWN_RUN,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.init.stdout.read(1)
        children = Path(f"/proc/{self.init.pid}/task/{self.init.pid}/children").read_text().split()
        self.pid = int(children[0])
        self.wishes: queue.Queue = queue.Queue()
        self.made: queue.Queue = queue.Queue()
        self.lock = threading.Lock()
        threading.Thread(target=self.make_sockets, daemon=True).start()
        self.run("ip", "link", "set", "lo", "up")

    def command(self, *words):
        """Processes of the machine: they, and what they leave running, end with it."""
        spaces = ("--net", "--mount", "--pid")
        return ["nsenter", *spaces, "--target", str(self.pid), *map(str, words)]

    def run(self, *words, check=True, **options):
        done = subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            timeout=60 * TIMEOUT_SCALE,
            check=False,
            **options,
        )
        assert not check or done.returncode == 0, (words, done.stdout, done.stderr)
        return done

    def make_sockets(self):
        """The thread that lives in the namespace: setns changes the calling thread only."""
        with open(f"/proc/{self.pid}/ns/net") as netns:
            assert LIBC.setns(netns.fileno(), 0) == 0
        while wish := self.wishes.get():
            self.made.put(socket.socket(*wish))

    def open_socket(self, family, kind=socket.SOCK_STREAM, timeout_s=DEADLINE_S):
        """A socket of this machine in our process."""
        with self.lock:
            self.wishes.put((family, kind))
            made = self.made.get(timeout=DEADLINE_S)
        made.settimeout(timeout_s)
        return made

    def connect(self, address, port, family=socket.AF_INET, source=None, timeout_s=DEADLINE_S):
        made = self.open_socket(family, timeout_s=timeout_s)
        if source:
            made.bind((source, 0))
        try:
            made.connect((address, port))
        except OSError:
            made.close()
            raise
        return made

    def end(self):
        self.wishes.put(None)
        self.init.stdin.close()
        self.init.wait(DEADLINE_S)
        self.init.stdout.close()


@contextlib.contextmanager
def network_namespace():
    """Be in a fresh one."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    assert LIBC.unshare(CLONE_NEWNET) == 0
    try:
        yield
    finally:
        assert LIBC.setns(own, 0) == 0
        os.close(own)


def cable(one, one_name, other, other_name):
    """A veth between two machines, both ends up."""
    ends = ("netns", str(one.pid), "type", "veth", "peer", "name", other_name, "netns", str(other.pid))
    subprocess.run(["ip", "link", "add", one_name, *ends], check=True)
    one.run("ip", "link", "set", one_name, "up")
    other.run("ip", "link", "set", other_name, "up")


def address(machine, device, *addresses):
    for each in addresses:
        words = ["nodad"] if ":" in each else []
        machine.run("ip", "addr", "add", each, "dev", device, *words)


class Server:
    """A TCP server of the test: what it accepts is served by a function in a thread of its own."""

    def __init__(self, machine, host, port, serve, family=socket.AF_INET6):
        self.socket = machine.open_socket(family)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((host, port))
        self.socket.listen(8192)
        self.socket.settimeout(None)
        self.serve = serve
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                threading.Thread(target=self.one, args=(connection,), daemon=True).start()

    def one(self, connection):
        with connection, contextlib.suppress(OSError):
            connection.settimeout(DEADLINE_S)
            self.serve(connection)

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def echo(connection):
    while got := connection.recv(65536):
        connection.sendall(got)


class Relay:
    """reach-relay on a machine; checked for sanitizer reports when it ends."""

    def __init__(self, machine, folder, config, *options, program=None):
        self.config = folder / f"relay{next(numbers)}.conf"
        self.status_path = self.config.with_suffix(".sock")
        self.log = self.config.with_suffix(".log")
        self.config.write_text(config)
        words = machine.command(
            "env",
            "ASAN_OPTIONS=detect_leaks=1:abort_on_error=0",
            program or asan(),
            "--status",
            self.status_path,
        )
        with self.log.open("w") as log:
            self.process = subprocess.Popen([*words, *map(str, options), str(self.config)], stderr=log)
        wait_until(
            lambda: "relay: ready" in self.said() or self.process.poll() is not None, "the relay is ready"
        )
        assert self.process.poll() is None, self.said()

    @property
    def pid(self):
        """The relay itself, where the process that we started only waits for it."""
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])

    def send_signal(self, number):
        os.kill(self.pid, number)

    def said(self):
        return self.log.read_text()

    def status(self):
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(DEADLINE_S)
            asking.connect(str(self.status_path))
            return json.loads(asking.makefile().read())

    def reload(self, config):
        before = self.said().count("reloaded")
        self.config.write_text(config)
        self.send_signal(signal.SIGHUP)
        wait_until(lambda: self.said().count("reloaded") > before, "the relay has reloaded, or refused to")

    def descriptors(self):
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def cpu_s(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def anonymous_kib(self):
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("RssAnon")).split()[1])

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.send_signal(number)
            self.process.wait(DEADLINE_S)
        assert "Sanitizer" not in self.said(), self.said()
        assert "runtime error" not in self.said(), self.said()


def program():
    if not build.is_current(build.PROGRAM):
        build.build(build.PROGRAM, [])
    return build.PROGRAM


def asan():
    if not build.is_current(ASAN):
        build.build(ASAN, ["-fsanitize=address,undefined", "-g", "-fno-omit-frame-pointer"])
    return ASAN
