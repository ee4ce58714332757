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
from reach.description import SERVER, Description
from reach.kernel import Kernel
from reach.plan import Plan, Wg

ANSWER_S = 3.0


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


def answers(target: str, port: int) -> bool:
    """Whether somebody accepts TCP connections there."""
    try:
        with socket.create_connection((target, port), timeout=ANSWER_S):
            return True
    except OSError:
        return False


def published(whole: Description) -> list[dict[str, Any]]:
    """What the server publishes; UDP cannot be asked, so `answers` is null for it."""
    found: list[dict[str, Any]] = []
    with ThreadPoolExecutor(16) as pool:
        for each in whole.publications:
            home = home_of(whole, each)
            common = {"to": str(each.to), "by": each.by, "home": home.name if home else None}
            if each.is_whole:
                found.append({"what": "whole address", **common, "answers": None})
            for protocol, (first, last) in each.protocols():
                asked = (
                    pool.submit(answers, str(each.to), each.to_port or first) if protocol == "tcp" else None
                )
                what = f"{protocol} {first}" + (f"-{last}" if last > first else "")
                found.append({"what": what, **common, "answers": asked})
        return [{**each, "answers": each["answers"].result() if each["answers"] else None} for each in found]


def relay_counters(folder: Path) -> dict[str, int] | None:
    try:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(ANSWER_S)
            asking.connect(str(folder / "relay.sock"))
            return json.loads(asking.makefile().read())
    except (OSError, ValueError):
        return None


def read(whole: Description, plan: Plan, public: dict[str, str], kernel: Kernel) -> dict[str, Any]:
    links, folder = [], kernel.folder
    for device in plan.devices:
        link: dict[str, Any] = {"name": device.name, "kind": type(device).__name__.lower()}
        link["state"] = kernel.devices.state(device.name)
        if isinstance(device, Wg):
            link["peers"] = peers(plan, device, public)
        links.append(link)
    found: dict[str, Any] = {"end": plan.end, "is_up": (folder / f"{plan.end}.json").exists(), "links": links}
    if plan.end == SERVER:
        found["published"] = published(whole)
    found["lost"] = lost(kernel, Ledger(folder, plan.end))
    if plan.listeners:
        found["relay"] = relay_counters(folder) if process.running(folder, "relay") else None
    return found


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
            lines.append(f"    {peer['end']}: {heard}, from {peer['endpoint'] or 'nowhere yet'}")
    for each in found.get("published", []):
        says = {True: "answers", False: "DOES NOT ANSWER", None: "cannot be asked"}[each["answers"]]
        lines.append(f"  {each['what']} to {each['to']} by the {each['by']}: {says}")
    if "relay" in found:
        relay = found["relay"]
        lines.append(
            f"  relay: {relay['connections']} connections, {relay['flows']} UDP flows"
            if relay
            else "  relay: not there"
        )
    if lost_steps := found.get("lost"):
        lines.append(f"  LOST: {', '.join(lost_steps)}; `reach up {found['end']}` makes it again")
    return "\n".join(lines)
