# SPDX-License-Identifier: ISC
"""What a person would do on a client's machine, as one-shot programs: run as `python3 -m sdk.client VERB …` there.

Prints one JSON object per result. Nothing here knows of the lab: a laptop in a real mesh can run the same verbs.
"""

import argparse
import hashlib
import socket
import sys
import time
import urllib.request

from sdk.traffic import act

CONNECT_TIMEOUT_S = (
    0.25  # short: an attempt that was sent into the dead PLAT must not delay the verdict on the next
)


def download(url: str) -> dict:
    """Fetch url; return its bytes, SHA-256 and duration."""
    start, digest, size = time.monotonic(), hashlib.sha256(), 0
    with urllib.request.urlopen(url, timeout=10) as response:
        while chunk := response.read(1 << 18):
            digest.update(chunk)
            size += len(chunk)
    return {"bytes": size, "sha256": digest.hexdigest(), "seconds": time.monotonic() - start}


def udp_echo(host: str, port: int, size: int) -> dict:
    """Send a datagram of size bytes to an echo service, up to five times; return what came back."""
    payload = hashlib.shake_256(b"udp echo").digest(size)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(
            socket.IPPROTO_IP, 10, 0
        )  # IP_MTU_DISCOVER = IP_PMTUDISC_DONT: let the datagram be fragmented
        s.connect((host, port))
        s.settimeout(1)
        for attempt in range(1, 6):
            start = time.monotonic()
            s.send(payload)
            try:
                answer = s.recv(65535)
            except TimeoutError:
                continue
            same = answer == payload
            return {
                "bytes": len(answer),
                "same": same,
                "attempts": attempt,
                "seconds": time.monotonic() - start,
            }
    return {"bytes": 0, "same": False, "attempts": 5, "seconds": 0.0}


def connects(host: str, port: int, until_s: float) -> dict:
    """Open new TCP connections to an echo service until one works; return when it did (monotonic clock, seconds).

    Each attempt is a new socket and has to echo a byte: a connection of before would prove nothing.
    """
    deadline, attempts, refusals = time.monotonic() + until_s, 0, 0
    while time.monotonic() < deadline:
        attempts += 1
        started = time.monotonic()
        try:
            with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S) as s:
                s.sendall(b"?")
                if s.recv(1) == b"?":
                    return {"at_s": time.monotonic(), "attempts": attempts, "refusals": refusals}
        except TimeoutError:
            pass
        except OSError:  # an ICMP unreachable: the mesh says at once that there is no way
            refusals += 1
        time.sleep(max(0.0, 0.02 - (time.monotonic() - started)))
    return {"at_s": None, "attempts": attempts, "refusals": refusals}


def main() -> int:
    parser = argparse.ArgumentParser(prog="sdk.client", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("download", help="fetch a URL, print its size, SHA-256 and duration")
    verb.add_argument("url")
    verb = verbs.add_parser(
        "udp-echo", help="send one datagram to an echo service and compare what comes back"
    )
    verb.add_argument("host")
    verb.add_argument("port", type=int)
    verb.add_argument("size", type=int)
    verb = verbs.add_parser("connects", help="open new TCP connections until one works")
    verb.add_argument("host")
    verb.add_argument("port", type=int)
    verb.add_argument("until_s", type=float)
    return act(parser, {"download": download, "udp-echo": udp_echo, "connects": connects})


if __name__ == "__main__":
    sys.exit(main())
