# SPDX-License-Identifier: ISC
"""What is sent over a path, by net_load.c, and what is counted of it: a table."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from bench.namespaces import BenchError
from bench.speed.cpu import Counter
from bench.speed.ends import Ends, Machine

PORT = "5201"
SMALL, LARGE = 22, 1372  # bytes that make a frame of 64 bytes and an IPv4 packet of 1,400
END_S = 30
PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}


@dataclass(frozen=True)
class Sample:
    """Of one load on one variant, once.

    rate: bits, packets or connections a second. amount: gigabytes, millions of packets, or thousands of round trips or
    connections. worst: the 99th percentile of round trips in microseconds, whose median is `rate` then.
    damaged: packets with a wrong checksum that the server got.
    """

    rate: float
    amount: float
    cpu_s: float
    worst: float = 0
    reordered: int = 0
    damaged: int = 0
    lost: float = 0  # of all that was sent, from 0 to 1

    @property
    def cost(self) -> float:
        """CPU seconds of a gigabyte or of a million packets (so microseconds of one), milliseconds of the others."""
        return self.cpu_s / self.amount


Heard = tuple[float, float, float, float]  # bytes, packets, seconds, reordered
Make = Callable[[list[float], Heard, float], Sample]


@dataclass(frozen=True)
class Load:
    """words: of net_load, with {seconds}; what they say and what the server heard makes a sample."""

    words: tuple[str, ...]
    unit: str
    cost_unit: str
    make: Make
    scale: float = 1  # of the rate, for people
    is_less_better: bool = False


def of_stream(said: list[float], heard: Heard, cpu_s: float) -> Sample:
    return Sample(said[0] * 8 / said[1], said[0] / 1e9, cpu_s)


def of_packets(said: list[float], heard: Heard, cpu_s: float) -> Sample:
    sent, (_, packets, seconds, reordered) = said[0], heard
    rate = packets / seconds if seconds else 0
    lost = 1 - packets / sent if sent else 0
    return Sample(rate, packets / 1e6, cpu_s, reordered=int(reordered), lost=max(0.0, lost))


def of_trips(said: list[float], heard: Heard, cpu_s: float) -> Sample:
    return Sample(said[0] / 1e3, heard[0] / 1e3, cpu_s, worst=said[1] / 1e3)


def of_connections(said: list[float], heard: Heard, cpu_s: float) -> Sample:
    return Sample(said[0] / said[1], said[0] / 1e3, cpu_s)


def udp(size: int, flows: int) -> Load:
    return Load(("udp", "{seconds}", str(size), str(flows)), "kpps", "us/packet", of_packets, 1e3)


LOADS = {
    "tcp1": Load(("tcp", "{seconds}", "1"), "Gbit/s", "s/GB", of_stream, 1e9),
    "tcp8": Load(("tcp", "{seconds}", "8"), "Gbit/s", "s/GB", of_stream, 1e9),
    "udp64": udp(SMALL, 1),
    "udp64_mixed": udp(SMALL, 64),
    "udp1400": udp(LARGE, 1),
    "trips": Load(("trips", "3000"), "us", "ms/1000", of_trips, is_less_better=True),
    "connect": Load(("connect", "{seconds}"), "/s", "ms/1000", of_connections),
}


@contextlib.contextmanager
def served(ends: Ends, program: str) -> Iterator[subprocess.Popen]:
    server = ends.server.start(program, "serve", ends.at, PORT, **PIPES)
    try:
        assert server.stdout
        if server.stdout.readline() != "ready\n":
            raise BenchError(f"net_load does not serve at {ends.at}")
        yield server
    finally:
        server.kill()
        server.communicate()


def damaged_so_far(machine: Machine) -> int:
    """Packets of TCP and UDP with a wrong checksum that a machine has got, of both versions."""
    total = 0
    lines = machine.run("cat", "/proc/net/snmp", "/proc/net/snmp6").splitlines()
    for names, values in pairwise(lines):
        if "InCsumErrors" in names.split() and names.startswith(("Tcp:", "Udp:")):
            total += int(values.split()[names.split().index("InCsumErrors")])
    return total + sum(int(line.split()[1]) for line in lines if line.startswith("Udp6InCsumErrors"))


def carry(load: Load, ends: Ends, program: str, seconds: float, pids: list[int]) -> Sample:
    """Send a load from the client to the server, once. pids: of the translators. BenchError if nothing arrives."""
    damaged = damaged_so_far(ends.server)
    counter = Counter(pids)
    command, *rest = (word.format(seconds=seconds) for word in load.words)
    with served(ends, program) as server:
        said = ends.client.run(program, command, ends.source, ends.to, PORT, *rest)
        answer, _ = server.communicate(timeout=END_S)
    cpu_s = counter.seconds()
    total, packets, took_s, reordered = map(float, answer.split())
    sample = load.make([float(word) for word in said.split()], (total, packets, took_s, reordered), cpu_s)
    if not sample.amount or not sample.rate:
        raise BenchError(f"nothing of `{command}` came to {ends.to}")
    return replace(sample, damaged=damaged_so_far(ends.server) - damaged)
