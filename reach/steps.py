# SPDX-License-Identifier: ISC
"""A plan as steps that can be written down, carried out, compared with what was done before, and taken back. Pure.

A Step is plain values, for the ledger is a file. `reconcile` compares: what is done and no longer wanted is undone,
newest first; everything wanted is then ensured in order, for undoing a device takes its routes along. Some kinds are
changed in place, because taking them back first would break open connections.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from reach.firewall import bridge_text, nft_text
from reach.flows import rule as flow_rule
from reach.flows import snat_rule as flow_snat_rule
from reach.keys import Keys
from reach.plan import Br, Device, DeviceAddress, Plan, Route, Rule, Tunnel, Wg
from reach.render import commands
from reach.render.commands import Command, Place, RenderError, names, services

IN_PLACE = frozenset({"nft", "process", "peers"})
MAIN = 254  # the routing table


@dataclass(frozen=True)
class Step:
    kind: str
    key: str  # what it is about; kind and key name a step
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> tuple[str, str]:
        return self.kind, self.key


@dataclass(frozen=True)
class Entry:
    """A step in the ledger, with what one must know to take it back."""

    step: Step
    note: dict[str, Any]


def from_plan(plan: Plan, known: Keys, key_folder: str) -> list[Step]:
    """Raises RenderError when a key is missing."""
    ours, found = names(plan), []
    found += [Step("device", name) for name in relied_on(plan)]
    found += [address(each) for each in plan.addresses if each.device not in ours]
    for device in plan.devices:
        found += device_steps(plan, device, known, key_folder)
    found += [address(each) for each in plan.addresses if each.device in ours]
    found += [Step("sysctl", each.path, {"value": each.value}) for each in plan.sysctls]
    found += [Step("pin", str(pin.address)) for pin in plan.pins]
    found += [route(each) for each in plan.routes]
    found += [rule(each) for each in plan.rules]
    found += [Step("offload", device) for device in plan.untouched_offloads]
    if plan.firewall:
        rules = {
            "dnats": [flow_rule(each) for each in plan.firewall.dnats],
            "snats": [flow_snat_rule(each) for each in plan.firewall.snats],
        }
        found.append(Step("nft", "reach", {"text": nft_text(plan.firewall), **rules}))
    if plan.firewall.bridge_ports:
        found.append(Step("nft", "bridge reach", {"text": bridge_text(plan.firewall)}))
    for each in plan.dns:
        found.append(Step("shell", f"names by {each.device}", lines(commands.dns(each))))
    for service in services(plan, Place(known)):
        values: dict[str, Any] = {"command": list(service.command), "config": service.config}
        found.append(Step("process", service.name, values))
    return [*found, *greetings(plan)]


def relied_on(plan: Plan) -> list[str]:
    """Devices that must be there. A translator's may come later."""
    later = {rule.in_device for rule in plan.rules}
    return list(dict.fromkeys(name for name in (plan.wan, plan.lan) if name and name not in later))


def address(each: DeviceAddress) -> Step:
    values = {"device": each.device, "interface": str(each.interface), **lines(commands.address(each))}
    return Step("address", f"{each.interface} on {each.device}", values)


def route(each: Route) -> Step:
    values = {"to": str(each.to), "device": each.device, "table": each.table or MAIN}
    return Step("route", f"{each.to} table {each.table or MAIN}", values | lines(commands.route(each)))


def rule(each: Rule) -> Step:
    about = each.source or each.destination or each.mark or each.in_device or ""
    sides = [network and str(network.network_address) for network in (each.source, each.destination)]
    seen = [each.priority, each.table, *sides, each.in_device, each.mark or None]
    values = {"family": each.family, "seen": seen, **lines(commands.rule(each))}
    return Step("rule", f"IPv{each.family} {each.priority} {about}", values)


def lines(command: Command) -> dict[str, Any]:
    return {"up": command.up, "down": command.down}


def greetings(plan: Plan) -> Iterator[Step]:
    for device in plan.devices:
        if isinstance(device, Wg) and any(peer.endpoint is None for peer in device.peers):
            inner = [str(peer.allowed[0].network_address) for peer in device.peers]
            yield Step("greeting", device.name, {"addresses": inner})


def device_steps(plan: Plan, device: Device, known: Keys, key_folder: str) -> list[Step]:
    if isinstance(device, Wg):
        return wireguard_steps(plan.end, device, known, key_folder)
    if isinstance(device, Br):
        return bridge_steps(device, [*commands.bridge(device)])
    if isinstance(device, Tunnel):
        return [made_device("tunnel", device.name, [*commands.tunnel(device)])]
    step = made_device("gretap", device.name, [*commands.gretap_alone(device)])
    return [Step("fou", str(device.gue_ports[0])), step] if device.gue_ports else [step]


def made_device(kind: str, name: str, made: list[Command]) -> Step:
    """add: makes the device, where it is not there; set: makes it as it ought to be."""
    add, set_ = made
    return Step(kind, name, {"add": add.up, "set": set_.up})


def wireguard_steps(end: str, device: Wg, known: Keys, key_folder: str) -> list[Step]:
    place = Place(known)
    peers = [
        {
            "end": peer.end,
            "public_key": place.public_key(peer.end),
            "allowed": [str(each) for each in peer.allowed],
            "endpoint": peer.endpoint,
            "keepalive_s": peer.keepalive_s,
        }
        for peer in device.peers
    ]
    if end not in known.private:
        raise RenderError(f"the private key of {end} is missing: `reach keys {end}` makes it")
    made = Step("wireguard", device.name, {"mtu": device.mtu_bytes, "userspace": device.is_userspace})
    config = {"private_key": f"{key_folder}/{end}.key", "port": device.port, "mark": device.mark}
    return [made, Step("peers", device.name, {**config, "peers": peers})]


def bridge_steps(device: Br, made: list[Command]) -> list[Step]:
    steps = [made_device("bridge", device.name, made[:2])] if device.is_ours else []
    if device.uplink:
        steps.append(Step("uplink", device.uplink, {"bridge": device.name, **lines(made[2])}))
    return steps


@dataclass(frozen=True)
class Change:
    """What to undo, in this order, and what then to ensure, each with its old note or None."""

    undo: tuple[Entry, ...]
    ensure: tuple[tuple[Step, dict[str, Any] | None], ...]


def reconcile(done: list[Entry], wanted: list[Step]) -> Change:
    by_name = {entry.step.name: entry for entry in done}
    staying = {}
    for step in wanted:
        entry = by_name.get(step.name)
        if entry and (entry.step == step or step.kind in IN_PLACE):
            staying[step.name] = entry
    undo = tuple(entry for entry in reversed(done) if entry.step.name not in staying)
    unique = {step.name: step for step in wanted}  # two links may ask for the same sysctl
    return Change(
        undo, tuple((s, staying[s.name].note if s.name in staying else None) for s in unique.values())
    )


def is_new(done: list[Entry], wanted: list[Step]) -> bool:
    """Whether anything would change."""
    return {entry.step.name: entry.step for entry in done} != {step.name: step for step in wanted}
