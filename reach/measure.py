# SPDX-License-Identifier: ISC
"""`reach test`: round trip and throughput to another end, by each way there is, beside plain IPv6.

At the other end runs `reach test OTHER --serve`. A caller says with its first byte what it wants: e, and each byte
comes back; s, and bytes come as fast as they go.
"""

import contextlib
import socket
import statistics
import threading
import time
from dataclasses import dataclass
from ipaddress import ip_address

from reach.description import Description, WireGuard
from reach.plan_wireguard import inner
from reach.reading import Address

PORT = 4646
TRIPS = 20
SECONDS = 3.0
CHUNK = bytes(1 << 16)
PATIENCE_S = 5.0


@dataclass(frozen=True)
class Way:
    """How an end can be reached: plainly, or through a link."""

    name: str
    to: Address
    inside: tuple[
        Address, ...
    ] = ()  # this end's own addresses in links, which a plain way does not go out with


@dataclass(frozen=True)
class Result:
    way: Way
    trip_ms: float | None  # median; None when nobody answers that way
    megabits_per_s: float | None


def ways(whole: Description, end: str, other: str) -> list[Way]:
    """Every address of another end that this end may know, plain ones first. Pure."""
    there = whole.ends[other]
    links = [link for link in whole.links_of(end) if isinstance(link, WireGuard)]
    own = tuple(interface.ip for link in links for interface in inner(link, end))
    found = [Way("plain IPv6", there.ipv6.ip, own)] if there.ipv6 else []
    found += [Way("plain IPv4", there.ipv4, own)] if there.ipv4 else []
    for link in links:
        if other in link.ends:
            found += [Way(link.name, interface.ip) for interface in inner(link, other)]
    return found


def serve(port: int = PORT) -> None:
    """Answer measurements, on all addresses of both families, until interrupted."""
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) as listening:
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(PATIENCE_S + SECONDS)
        wish = connection.recv(1)
        while wish == b"s":
            connection.sendall(CHUNK)
        while wish == b"e" and (got := connection.recv(1)):
            connection.sendall(got)


def measure(way: Way, port: int = PORT, seconds: float = SECONDS) -> Result:
    try:
        return Result(way, trip(way, port), rate(way, port, seconds))
    except OSError:
        return Result(way, None, None)


def connect(way: Way, port: int, wish: bytes) -> socket.socket:
    connection = socket.create_connection((str(way.to), port), timeout=PATIENCE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if ip_address(connection.getsockname()[0]) in way.inside:  # a home without IPv4 goes by the link
        connection.close()
        raise ConnectionError(f"{way.to} is reached through a link only")
    connection.sendall(wish)
    return connection


def trip(way: Way, port: int) -> float:
    """The median of some round trips in milliseconds."""
    took = []
    with connect(way, port, b"e") as connection:
        for _ in range(TRIPS):
            begun = time.monotonic()
            connection.sendall(b"x")
            if not connection.recv(1):
                raise ConnectionResetError
            took.append((time.monotonic() - begun) * 1000)
    return statistics.median(took)


def rate(way: Way, port: int, seconds: float) -> float:
    """What comes in that time, in Mbit/s."""
    count, begun = 0, time.monotonic()
    with connect(way, port, b"s") as connection:
        while (took := time.monotonic() - begun) < seconds:
            count += len(connection.recv(1 << 18))
    return count * 8 / took / 1e6


def text(other: str, results: list[Result]) -> str:
    lines = [f"{other}:"]
    for result in results:
        way = f"  {result.way.name:12} {result.way.to!s:32}"
        if result.trip_ms is None:
            lines.append(f"{way} no answer (is `reach test {other} --serve` running there?)")
        else:
            lines.append(f"{way} {result.trip_ms:8.2f} ms {result.megabits_per_s:9.1f} Mbit/s")
    return "\n".join(lines)
