# SPDX-License-Identifier: ISC
"""How an end is: its links with bytes, MTU and handshakes, and whether what is published answers. Changes nothing."""

import json
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from reach import process
from reach.apply import Ledger, lost
from reach.check_publish import home_of
from reach.description import SERVER, Description, Publication, WireGuard
from reach.host import Machine
from reach.kernel import Kernel
from reach.passages import Blocked, blocked, sentence
from reach.plan import Plan, Wg
from reach.ruleset import Packet

ANSWER_S = 3.0
UNSEEN = "only root sees firewalls and peers: run it with sudo"
SESSION_S = 180  # WireGuard's REJECT_AFTER_TIME: with keepalives there is a newer session by then


def peers(plan: Plan, device: Wg, public: dict[str, str]) -> list[dict[str, Any]]:
    """Each peer with the age of its last handshake in seconds, None for never."""
    names = {key: end for end, key in public.items()}
    try:
        done = subprocess.run(["wg", "show", device.name, "dump"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return []
    found = []
    for line in done.stdout.splitlines()[1:]:
        key, _, endpoint, _, handshake, received, sent, _ = line.split("\t")
        age = max(0, int(time.time()) - int(handshake)) if int(handshake) else None
        peer: dict[str, Any] = {
            "end": names.get(key, key),
            "endpoint": None if endpoint == "(none)" else endpoint,
        }
        found.append(
            peer | {"handshake_age_s": age, "received_bytes": int(received), "sent_bytes": int(sent)}
        )
    return found


def is_silent(whole: Description, plan: Plan, device: Wg, peer: dict[str, Any]) -> bool:
    """Whether nothing is heard of a peer that ought to be there: the hub, or a home that keeps its link alive."""
    link, end = whole.link(device.name), whole.ends.get(peer["end"])
    if not isinstance(link, WireGuard) or end is None:
        return False
    is_expected = link.hub == end.name or (end.role == "home" and link.hub == plan.end)
    age = peer["handshake_age_s"]
    return is_expected and link.keepalive_s > 0 and (age is None or age > SESSION_S + link.keepalive_s)


def answers(target: str, port: int, is_range: bool) -> bool | None:
    """Whether somebody accepts TCP connections there; None: nobody does at the first port of a range, which may be."""
    try:
        with socket.create_connection((target, port), timeout=ANSWER_S):
            return True
    except ConnectionRefusedError:
        return None if is_range else False
    except OSError:
        return False


def published(whole: Description, blocks: list[Blocked]) -> list[dict[str, Any]]:
    """What the server publishes, whether the target answers the server, and what holds up everybody else.

    UDP cannot be asked, so `answers` is null for it, as it is for a range that refuses its first port."""
    found: list[dict[str, Any]] = []
    with ThreadPoolExecutor(16) as pool:
        for each in whole.publications:
            home = home_of(whole, each)
            common = {"to": str(each.to), "by": each.by, "home": home.name if home else None}
            if each.is_whole:
                places = blocking_places(whole, each, None, 0, blocks)
                found.append({"what": "whole address", **common, "asked": None, "held_up_by": places})
            for protocol, (first, last) in each.protocols():
                target = (str(each.to), each.to_port or first, last > first)
                asked = pool.submit(answers, *target) if protocol == "tcp" else None
                what = f"{protocol} {first}" + (f"-{last}" if last > first else "")
                places = blocking_places(whole, each, protocol, first, blocks)
                found.append({"what": what, **common, "asked": asked, "held_up_by": places})
        for one in found:
            asked = one.pop("asked")
            one["answers"] = False if one["held_up_by"] else asked.result() if asked else None
    return found


def blocking_places(
    whole: Description, each: Publication, protocol: str | None, port: int, blocks: list[Blocked]
) -> list[str]:
    """The chains that take what callers of a publication send, or the answers."""
    public = (whole.server.ipv4, whole.server.listen)

    def is_its(packet: Packet) -> bool:
        its_first = packet.ports[0] if packet.ports else packet.port
        if each.by == "relay":
            return packet.hook != "forward" and (packet.protocol, its_first) == (protocol, port)
        is_called = packet.hook == "prerouting" and packet.destination in public  # not rewritten yet
        inside = port if is_called else each.to_port or port
        is_to = is_called or each.to in (packet.source, packet.destination)
        return is_to and (protocol is None or (packet.protocol, its_first) == (protocol, inside))

    return [one.place for one in blocks if one.is_certain and any(map(is_its, one.packets))]


def relay_counters(folder: Path) -> dict[str, int] | None:
    try:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(ANSWER_S)
            asking.connect(str(folder / "relay.sock"))
            return json.loads(asking.makefile().read())
    except (OSError, ValueError):
        return None


def read(
    whole: Description, plan: Plan, public: dict[str, str], kernel: Kernel, machine: Machine
) -> dict[str, Any]:
    links, folder = [], kernel.folder
    for device in plan.devices:
        link: dict[str, Any] = {"name": device.name, "kind": type(device).__name__.lower()}
        link["state"] = kernel.devices.state(device.name)
        if isinstance(device, Wg):
            link["peers"] = [
                each | {"is_silent": is_silent(whole, plan, device, each)}
                for each in peers(plan, device, public)
            ]
        links.append(link)
    found: dict[str, Any] = {"end": plan.end, "is_up": (folder / f"{plan.end}.json").exists(), "links": links}
    found["is_seen"] = machine.is_seen
    blocks = blocked(plan, machine.tables, set(machine.addresses), machine.filters_bridges)
    found["firewall"] = [
        {"place": each.place, "says": sentence(each, plan), "is_certain": each.is_certain} for each in blocks
    ]
    if plan.end == SERVER:
        found["published"] = published(whole, blocks)
    found["lost"] = lost(kernel, Ledger(folder, plan.end))
    if plan.listeners:
        found["relay"] = relay_counters(folder) if process.running(folder, "relay") else None
    return found


def problems(found: dict[str, Any]) -> list[str]:
    """What of an end is not as it should be, each in a few words; none: all is well."""
    links, listed = found["links"], found.get("published", [])
    is_gone = "relay" in found and found["relay"] is None
    return [
        *([] if found["is_up"] else ["it is not up"]),
        *([] if found["is_seen"] else [UNSEEN]),
        *(f"{step} is lost" for step in found["lost"]),
        *(
            f"nothing is heard of {p['end']}"
            for each in links
            for p in each.get("peers", [])
            if p["is_silent"]
        ),
        *(f"{each['place']} holds up what is needed" for each in found["firewall"] if each["is_certain"]),
        *(f"{each['what']} does not answer" for each in listed if each["answers"] is False),
        *(["the relay is not there"] if is_gone else []),
    ]


def text(found: dict[str, Any]) -> str:
    """For people."""
    lines = [f"{found['end']}: {'up' if found['is_up'] else 'down'}"]
    if found["unconfirmed_s"] is not None:
        lines[0] += f", taken back in {found['unconfirmed_s']} s unless you say: reach confirm {found['end']}"
    for link in found["links"]:
        state = link["state"]
        lines.append(
            f"  {link['name']}: MTU {state['mtu_bytes']}, {state['received_bytes']} bytes in, {state['sent_bytes']} out"
            if state
            else f"  {link['name']}: not there"
        )
        for peer in link.get("peers", []):
            age = peer["handshake_age_s"]
            heard = "never heard of" if age is None else f"handshake {age} s ago"
            heard += ", SILENT" if peer["is_silent"] and age is not None else ""
            lines.append(f"    {peer['end']}: {heard}, from {peer['endpoint'] or 'nowhere yet'}")
    for each in found.get("published", []):
        says = {True: "answers", False: "DOES NOT ANSWER", None: "cannot be asked"}[each["answers"]]
        if each["held_up_by"]:
            says = f"CALLERS ARE HELD UP by {', '.join(each['held_up_by'])}"
        lines.append(f"  {each['what']} to {each['to']} by the {each['by']}: {says}")
    if "relay" in found:
        relay = found["relay"]
        lines.append(
            f"  relay: {relay['connections']} connections, {relay['flows']} UDP flows"
            if relay
            else "  relay: not there"
        )
    for each in found["firewall"]:
        lines.append(f"  {'FIREWALL' if each['is_certain'] else 'firewall'}: {each['place']}: {each['says']}")
    if not found["is_seen"]:
        lines.append(f"  {UNSEEN}")
    if lost_steps := found.get("lost"):
        lines.append(f"  LOST: {', '.join(lost_steps)}; `reach up {found['end']}` makes it again")
    return "\n".join(lines)
