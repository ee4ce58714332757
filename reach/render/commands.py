# SPDX-License-Identifier: ISC
"""A plan as command lines of ip, wg, sysctl and nft, each with the one that takes it back. Pure.

All targets that are made of commands are made from these. What needs a shell says so. Undoing runs backwards.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from reach.description import MIN_MTU_BYTES
from reach.keys import Keys
from reach.plan import Br, Device, DeviceAddress, Dns, Gretap, Plan, Route, Rule, Service, Tunnel, Wg
from reach.relay import config_text

TTL = 225  # of a GRETAP's outer packets; a fixed one keeps "do not fragment" set outside


FOLDER = PurePosixPath("/etc/reach")


@dataclass(frozen=True, slots=True)
class Command:
    up: str
    down: str | None = None
    needs_shell: bool = False
    device: str | None = None  # the link that it is part of, where it is part of one


@dataclass(frozen=True, slots=True)
class File:
    """A file of a rendered configuration."""

    path: str
    text: str
    mode: int = 0o644


class RenderError(ValueError):
    """What the plan asks for cannot be written down for that target; one sentence says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where things are on the target, and whose keys are known."""

    keys: Keys
    folder: PurePosixPath = FOLDER

    def private_key(self, end: str) -> str:
        return str(self.folder / "keys" / f"{end}.key")

    def public_key(self, end: str) -> str:
        if end not in self.keys.public:
            raise RenderError(
                f"the public key of {end} is missing: `reach keys {end}` there, then copy keys/{end}.pub here"
            )
        return self.keys.public[end]

    def config(self, service: str) -> str:
        return str(self.folder / f"{service}.conf")

    def undo(self, link: str) -> str:
        return str(self.folder / f"undo-{link}.sh")

    @property
    def ruleset(self) -> str:
        return str(self.folder / "reach.nft")

    @property
    def flows(self) -> str:
        return str(self.folder / "flows.sh")


def all_or_nothing(found: list[Command], undo: str) -> list[str]:
    """Command lines for a system that stops at the first that fails: all but it are taken back then.

    But when it is the first of all, what it would make was there before, and is somebody else's.
    """
    return [each.up + (f" || {{ sh {undo}; false; }}" if number else "") for number, each in enumerate(found)]


def undo_file(path: str, found: list[Command]) -> File:
    """A script that takes commands back, as far as they were done."""
    downs = "".join(f"{each.down}\n" for each in reversed(found) if each.down)
    return File(path, f"# SPDX-License-Identifier: ISC\n# rendered by reach\nexec 2>/dev/null\n{downs}:\n")


def commands(plan: Plan, place: Place, with_firewall: bool = True) -> list[Command]:
    """Everything but the services, in the order in which to do it."""
    found = [*addresses(plan, outside=True)]
    for device in plan.devices:
        found += device_commands(plan, place, device)
    found += [*addresses(plan, outside=False), *sysctls(plan), *pins(plan), *routes(plan), *rules(plan)]
    found += [
        Command(f"ethtool --offload {device} tx off", device=device) for device in plan.untouched_offloads
    ]
    if with_firewall and plan.firewall:
        if plan.firewall.bridge_ports:  # the file has a second table, to be taken back as well
            found.append(Command("nft add table bridge reach", "nft delete table bridge reach"))
        load, unload = f"nft -f {place.ruleset}", "nft delete table inet reach"
        if plan.firewall.dnats or plan.firewall.snats:
            load, unload = f"{load} && sh {place.flows}", f"{unload}; sh {place.flows} down"
        found.append(Command(load, unload, needs_shell=True))
    return found + [dns(each) for each in plan.dns]


def names(plan: Plan) -> set[str]:
    """The devices that are ours, and go with all they have."""
    return {each.name for each in plan.devices if not (isinstance(each, Br) and not each.is_ours)}


def device_commands(plan: Plan, place: Place, device: Device) -> list[Command]:
    if isinstance(device, Tunnel):
        return [*tunnel(device)]
    if isinstance(device, Br):
        return [*bridge(device)]
    return [*(wg(plan, place, device) if isinstance(device, Wg) else gretap(plan, device))]


def tunnel(device: Tunnel) -> Iterator[Command]:
    limit = "none" if device.encap_limit is None else device.encap_limit
    ends = f"local {device.local} remote {device.remote}"
    yield Command(
        f"ip -6 tunnel add {device.name} mode ipip6 {ends} encaplimit {limit}",
        f"ip -6 tunnel del {device.name}",
        device=device.name,
    )
    yield Command(f"ip link set dev {device.name} mtu {device.mtu_bytes} up", device=device.name)


def wg_words(plan: Plan, place: Place, device: Wg) -> str:
    words = [f"wg set {device.name} private-key {place.private_key(plan.end)}"]
    words += [f"listen-port {device.port}"] if device.port else []
    words += [f"fwmark {device.mark}"] if device.mark else []
    for peer in device.peers:
        words.append(f"peer {place.public_key(peer.end)} allowed-ips {','.join(map(str, peer.allowed))}")
        # brackets are a pattern to a shell
        words += [f"endpoint {shlex.quote(peer.endpoint)}"] if peer.endpoint else []
        words += [f"persistent-keepalive {peer.keepalive_s}"] if peer.keepalive_s else []
    return " ".join(words)


def wg(plan: Plan, place: Place, device: Wg) -> Iterator[Command]:
    add = (
        f"wireguard-go {device.name}"
        if device.is_userspace
        else f"ip link add dev {device.name} type wireguard"
    )
    yield Command(add, f"ip link del dev {device.name}", device=device.name)
    yield Command(wg_words(plan, place, device), device=device.name)
    yield Command(f"ip link set dev {device.name} mtu {device.mtu_bytes} up", device=device.name)


def bridge(device: Br) -> Iterator[Command]:
    if not device.is_ours:
        return
    address = f" address {device.mac}" if device.mac else ""
    yield Command(
        f"ip link add name {device.name}{address} type bridge",
        f"ip link del dev {device.name}",
        device=device.name,
    )
    yield Command(f"ip link set dev {device.name} up", device=device.name)
    if device.uplink:
        yield uplink(device.name, device.uplink, has_port_mac=not device.mac)


def uplink(bridge: str, port: str, has_port_mac: bool) -> Command:
    """Make the device to the internet a port; what it had is the bridge's from then on, as is its MAC."""
    accept_ra = "net/ipv6/conf/{}/accept_ra"
    hear = f'sysctl -qw "{accept_ra.format(bridge)}=$(sysctl -n {accept_ra.format(port)})"'
    mac = rf"$(ip -o link show dev {port} | sed -E 's/.* link.ether ([^ ]+) .*/\1/')"
    copy_mac = f'ip link set dev {bridge} address "{mac}" && ' if has_port_mac else ""
    return Command(
        f"{hear} && {copy_mac}ip link set dev {port} master {bridge} && {move(port, bridge)}",
        f"ip link set dev {port} nomaster && {move(bridge, port)}",
        needs_shell=True,
        device=bridge,
    )


def move(source: str, target: str) -> str:
    """Let all that leads by one device lead by another, each route at once; what is moved is not moved again."""
    parts = []
    for family, nodad in ((4, ""), (6, " nodad")):
        parts += [
            f"{outer_addresses(family, source)} | {batch(family, 'addr', f'dev {target}{nodad}')}",
            f"{outer_routes(family, source)} | {batch(family, 'route', f'dev {target}')}",
            f"ip -{family} addr flush dev {source} scope global",
        ]
    return " && ".join(parts)


def batch(family: int, what: str, end: str) -> str:
    return f"sed 's/.*/{what} replace & {end}/' | ip -{family} -batch -"


def outer_addresses(family: int, device: str) -> str:
    """Words for `ip addr add`, a line for each."""
    address = "inet6? ([^ ]+( peer [^ ]+)?( brd [^ ]+)?) "
    pattern = rf"s/.* {address}.*(valid_lft [^ ]+ preferred_lft [^ ]+).*/\1 \4/;s/([0-9])sec/\1/g"
    return f"ip -{family} -o addr show dev {device} scope global | sed -E '{pattern}'"


def outer_routes(family: int, device: str) -> str:
    """Words for `ip route add`, a line for each; those that an address brings are not among them."""
    pattern = r"/ proto kernel /d;s/([0-9])sec/\1/g;s/ linkdown//"
    return f"ip -{family} route show dev {device} | sed -E '{pattern}'"


def gretap(plan: Plan, device: Gretap) -> Iterator[Command]:
    if device.gue_ports:
        own = device.gue_ports[0]
        first = next(
            d for d in plan.devices if isinstance(d, Gretap) and d.gue_ports and d.gue_ports[0] == own
        )
        if first == device:  # one socket for all that come to that port
            yield Command("modprobe fou", device=device.name)
            yield Command(f"ip fou add port {own} gue", f"ip fou del port {own}", device=device.name)
    yield from gretap_alone(device)


def gretap_alone(device: Gretap) -> Iterator[Command]:
    """Without GUE's port, which several may share."""
    mac = f" address {device.mac}" if device.mac else ""
    words = f"ip link add name {device.name}{mac} type gretap remote {device.remote}"
    words += f" local {device.local}" if device.local else ""
    words += f" ttl {TTL}"
    if device.gue_ports:
        own, other = device.gue_ports
        words += f" encap gue encap-sport {own} encap-dport {other}"
    yield Command(words, f"ip link del dev {device.name}", device=device.name)
    master = f" master {device.bridge}" if device.bridge else ""
    yield Command(
        f"ip link set dev {device.name} mtu {max(device.mtu_bytes, MIN_MTU_BYTES)}{master} up",
        device=device.name,
    )


def addresses(plan: Plan, outside: bool) -> Iterator[Command]:
    ours = names(plan)
    for each in plan.addresses:
        if (each.device not in ours) == outside:
            made = address(each)
            yield made if outside else replace(made, down=None, device=each.device)


def address(each: DeviceAddress) -> Command:
    what = f"{each.interface} dev {each.device}"
    lifetime = " preferred_lft 0" if each.is_deprecated else ""
    # a fresh address must be usable at once: a tunnel sends from it
    nodad = " nodad" if each.interface.version == 6 else ""
    return Command(f"ip addr replace {what}{lifetime}{nodad}", f"ip addr del {what}")


def sysctls(plan: Plan) -> Iterator[Command]:
    for each in plan.sysctls:
        yield Command(f"sysctl -qw {each.path}={each.value}")


def pins(plan: Plan) -> Iterator[Command]:
    """The gateway and device by which an address is reached now, written down as a route of its own."""
    pattern = r"s/^[^ ]* \(from [^ ]* \)\{0,1\}\(via .* \)\{0,1\}dev \([^ ]*\) .*/\2dev \3/p"
    for pin in plan.pins:
        now = f"ip -o route get {pin.address} | sed -n '{pattern}'"
        yield Command(f"{now} | xargs ip route replace {pin.address}", f"ip route del {pin.address}", True)


def routes(plan: Plan) -> Iterator[Command]:
    yield from map(route, plan.routes)


def route(each: Route) -> Command:
    table = f" table {each.table}" if each.table else ""
    family = "" if each.to.version == 4 else " -6"
    what = f"{each.to} dev {each.device}{table}"
    return Command(f"ip{family} route replace {what}", f"ip{family} route del {what}", device=each.device)


def rule_words(rule: Rule) -> str:
    words = [f"priority {rule.priority}"]
    words += ["not"] if rule.is_mark_inverted else []
    words += [f"from {rule.source}"] if rule.source else []
    words += [f"to {rule.destination}"] if rule.destination else []
    words += [f"fwmark {rule.mark}"] if rule.mark else []
    words += [f"iif {rule.in_device}"] if rule.in_device else []
    words += [f"lookup {rule.table}"]
    words += ["suppress_prefixlength 0"] if rule.suppresses_default else []
    return " ".join(words)


def rules(plan: Plan) -> Iterator[Command]:
    yield from map(rule, plan.rules)


def rule(each: Rule) -> Command:
    words = rule_words(each)
    return Command(f"ip -{each.family} rule add {words}", f"ip -{each.family} rule del {words}")


def dns(each: Dns) -> Command:
    """By whichever program decides about names on that machine; systemd-resolved may be installed and not run."""
    servers = " ".join(map(str, each.servers))
    domains = " ".join([*(["'~.'"] if each.answers_all else []), *([each.domain] if each.domain else [])])
    lines = [
        *(f"nameserver {server}" for server in each.servers),
        *([f"search {each.domain}"] if each.domain else []),
    ]
    text = "\\n".join(lines)
    has_resolved = "if resolvectl status >/dev/null 2>&1; then"
    return Command(
        f"{has_resolved} resolvectl dns {each.device} {servers} && resolvectl domain {each.device} {domains};"
        f" elif command -v resolvconf >/dev/null; then printf '{text}\\n' | resolvconf -a {each.device} -m 0 -x;"
        f" else echo 'names by {each.device}: neither systemd-resolved nor resolvconf is there; install openresolv,"
        " or leave dns out' >&2; false; fi",
        f"{has_resolved} resolvectl revert {each.device};"
        f" elif command -v resolvconf >/dev/null; then resolvconf -d {each.device}; fi",
        needs_shell=True,
        device=each.device,
    )


def services(plan: Plan, place: Place) -> list[Service]:
    """Every program that stays: those of the plan, and the relay."""
    found = list(plan.services)
    if plan.listeners:
        found.append(Service("relay", ("reach-relay", "{config}"), config_text(plan.listeners)))
    return found


def service_words(service: Service, place: Place) -> list[str]:
    """Quoted for a shell, and for systemd."""
    return [shlex.quote(word.replace("{config}", place.config(service.name))) for word in service.command]


def configs(plan: Plan, place: Place) -> list[File]:
    return [File(place.config(each.name), each.config) for each in services(plan, place) if each.config]
