# SPDX-License-Identifier: ISC
"""What this machine lacks for its configuration, in sentences; and the MAC of which a node's prefixes are made."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from reach.command import KernelError
from reach.kernel_rules import read_tables
from server import firewalls
from server.conf import Conf
from server.keys import mac as parse_mac
from xlat464.address import format_ipv6, format_prefix6
from xlat464.endpoint import parse_endpoint
from xlat464.node import NODE_LENGTH, node_prefix, parse_range

KEPT_MAC = Path("/var/lib/464xlat/mac")
DEVICES = Path("/sys/class/net")
NAT46 = Path("/proc/net/nat46/control")
CONNTRACK_MAX = Path("/proc/sys/net/netfilter/nf_conntrack_max")
ASK_S = 3
DUMP_BYTES = 8 << 20  # of some ten thousand routes


def lacks(conf: Conf) -> Iterator[str]:
    """Yield what is missing or in the way, each a sentence. Changes nothing."""
    roles = [role for role in ("clat", "plat") if conf.is_on(role)]
    if not roles:
        yield "no role is on: expected enabled = 1 in [plat], or in [clat]"
        return
    yield from _devices(conf)
    yield from _programs(conf)
    yield from _babel(conf)
    if conf.is_on("plat"):
        yield from _line(conf)
    if os.geteuid():
        yield "the firewalls of this machine were not looked at: expected root, or sudo"
        return
    try:
        for sentence in firewalls.held_up(conf, read_tables()):
            yield f"{sentence}: docs/gateway.md has the lines for nftables, ufw, firewalld and Docker"
    except KernelError as error:
        yield f"the firewalls of this machine cannot be read: {error}"


def _devices(conf: Conf) -> Iterator[str]:
    named = [("roaming", "mesh", device) for device in conf.values("roaming", "mesh")]
    if conf.is_on("plat"):
        named += [("plat", "wan", device) for device in conf.values("plat", "wan")]
    if conf.is_on("clat"):
        named.append(("clat", "client_device", conf.value("clat", "client_device")))
    for section, option, device in named:
        if not (DEVICES / device).exists():
            there = " ".join(sorted(path.name for path in DEVICES.iterdir()))
            yield f"{section}.{option}: there is no device {device} now, expected one of {there}"


def _programs(conf: Conf) -> Iterator[str]:
    if not NAT46.exists() and shutil.which("siit") is None:
        yield "there is no translator: expected the package 464xlat-siit"
    if shutil.which("nft") is None and shutil.which("iptables") is None:
        yield "there is no firewall: expected the package nftables"
    is_limited = any(conf.value("plat", f"limit_{way}_kbit") != "0" for way in ("up", "down"))
    if is_limited and shutil.which("tc") is None:
        yield "plat.limit_up_kbit and plat.limit_down_kbit need the program tc: expected the package iproute2"
    if conf.is_on("clat") and shutil.which("prefixd") is None:
        yield "a clatnode needs the package prefixd, which chooses an exit"
    if conf.value("roaming", "node_client_prefix") and shutil.which("l3roamd_py") is None:
        yield "[roaming] needs the package l3roamd-py"


def _babel(conf: Conf) -> Iterator[str]:
    """Whether the routing daemon answers where prefixd reads; without babel nobody finds this node."""
    text = conf.value("prefixd", "babel")
    kind, *place = parse_endpoint(text)
    family = socket.AF_INET6 if kind == "inet6" else socket.AF_UNIX
    where = (format_ipv6(place[0]), place[1]) if kind == "inet6" else place[0]
    end = time.monotonic() + ASK_S  # it may just be starting
    while (error := _refusal(family, where)) and time.monotonic() < end:
        time.sleep(0.1)
    if error:
        daemon = "BIRD" if kind == "bird" else "babeld"
        yield f"prefixd.babel: {daemon} does not answer at {text} ({error.strerror or 'no answer'}): is it started?"
    elif kind != "bird" and (mac := conf.value("node", "mac") or _kept_mac()):
        yield from _twins(conf, mac, _dump(family, where))


def _twins(conf: Conf, mac: str, dump: str) -> Iterator[str]:
    """Who else announces this node's /96s? babeld has no route to what it announces itself."""
    ranges = {role: conf.value("node", f"{role}_range") for role in ("clat", "plat") if conf.is_on(role)}
    own = {
        format_prefix6(node_prefix(parse_range(each), parse_mac(mac)), NODE_LENGTH)
        for each in ranges.values()
    }
    # add route ID prefix P from S installed I id ROUTER metric M ...
    lines = [line.split() for line in dump.splitlines() if line.startswith("add route ")]
    for prefix in sorted({words[4] for words in lines if len(words) > 4} & own):
        if any(words[4:5] == [prefix] and " metric 65535 " not in f"{' '.join(words)} " for words in lines):
            yield f"another node announces {prefix}, so two have the MAC {mac}: expected another as mac in [node]"


def _dump(family: int, where: tuple[str, int] | str) -> str:
    """Return what babeld's local interface answers to `dump`, as far as it comes; "" where it does not."""
    said, end = b"", time.monotonic() + ASK_S
    try:
        with socket.socket(family, socket.SOCK_STREAM) as asked:
            asked.settimeout(ASK_S)
            asked.connect(where)
            asked.sendall(b"dump\nquit\n")
            while len(said) < DUMP_BYTES and time.monotonic() < end and (more := asked.recv(65536)):
                said += more
    except OSError:
        pass
    return said.decode(errors="replace")


def _refusal(family: int, where: tuple[str, int] | str) -> OSError | None:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as asked:
            asked.settimeout(ASK_S)
            asked.connect(where)
    except OSError as error:
        return error
    return None


def _line(conf: Conf) -> Iterator[str]:
    wans = conf.values("plat", "wan")
    words = ["ip", "-4", "route", "show", "table", "all", "default"]
    try:
        routes = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        yield "there is no program ip: expected the package iproute2"
        return
    if wans and not any(f" dev {wan} " in f"{line} " for wan in wans for line in routes.splitlines()):
        yield f"no IPv4 default route leads out of {', '.join(wans)}: the role waits for one"


def _kept_mac() -> str:
    return KEPT_MAC.read_text().strip() if KEPT_MAC.exists() else ""


def find_mac(conf: Conf) -> str:
    """Return the node's MAC, "" where there is none yet. What is chosen once is kept: prefixes are made of it."""
    if given := conf.value("node", "mac"):
        return given
    if kept := _kept_mac():
        return kept
    first = [*conf.values("plat", "wan"), conf.value("clat", "client_device")]
    cards = sorted(path.parent.name for path in DEVICES.glob("*/device"))
    others = sorted(path.name for path in DEVICES.iterdir())
    for device in [*first, *cards, *others]:
        try:
            found = (DEVICES / device / "address").read_text().strip()
            parse_mac(found)
        except (OSError, ValueError):
            continue
        KEPT_MAC.parent.mkdir(parents=True, exist_ok=True)
        new = KEPT_MAC.with_suffix(".new")
        new.write_text(f"{found}\n")
        new.replace(KEPT_MAC)
        return found
    return ""
