# SPDX-License-Identifier: ISC
"""For OpenWrt: a script of uci commands, safe to run again: it first deletes every section that is named reach_….

WireGuard, addresses, routes and rules are netifd's. netifd has no protocol for IPv4 in IPv6 with addresses of our
choice, nor for GUE; such devices are made by an init script, as people do by hand, and netifd uses them.
"""

from dataclasses import replace

from reach.firewall import Match, range_text, ruleset_text
from reach.plan import Br, Plan, Wg
from reach.render import flows
from reach.render.commands import (
    Command,
    File,
    Place,
    addresses,
    configs,
    device_commands,
    names,
    pins,
    rules,
    service_words,
    services,
    sysctls,
)

SCRIPT = "/etc/init.d/reach"
NEWLINE = "\n"
PLAT = "plat"  # the translator's device on a platnode, and its zone on Gluon
MODULES = {
    "Tunnel": "kmod-ip6-tunnel ip-full",
    "Wg": "wireguard-tools",
    "Gretap": "kmod-gre kmod-fou ip-full ethtool",
}


def render(plan: Plan, place: Place) -> list[File]:
    files = [
        File("/etc/reach/uci.sh", script(plan, place), 0o755),
        File(SCRIPT, init_script(plan, place), 0o755),
    ]
    if replace(plan.firewall, accepts=(), clamps=()):
        files.append(File(place.ruleset, ruleset_text(replace(plan.firewall, accepts=(), clamps=()))))
    files += flows.files(plan, place)
    return files + configs(plan, place)


def section(config: str, name: str, kind: str, options: dict[str, str | list[str]]) -> list[str]:
    """The uci commands that make one named section."""
    lines = [f"set {config}.{name}={kind}"]
    for key, value in options.items():
        if isinstance(value, list):
            lines += [f"add_list {config}.{name}.{key}='{one}'" for one in value]
        else:
            lines.append(f"set {config}.{name}.{key}='{value}'")
    return lines


def uci_name(text: str) -> str:
    """Section names are letters, digits and underscores."""
    return "reach_" + "".join(c if c.isalnum() else "_" for c in text)


def script(plan: Plan, place: Place) -> str:
    needed = {word for d in plan.devices for word in MODULES.get(type(d).__name__, "").split()}
    programs = {each.command[0] for each in services(plan, place)} - {"sh"}
    needed |= programs | ({"conntrack"} if flows.has_flows(plan.firewall) else set())
    lines = [*network(plan, place), *routing(plan), *firewall(plan)]
    return f"""\
#!/bin/sh
# SPDX-License-Identifier: ISC
# rendered by reach for {plan.end}; safe to run again
# uci.sh           set this end up
# uci.sh remove    take it back
# needs: {" ".join(sorted(needed)) or "nothing more"}

# what an earlier run has made, and this one may not
for config in network firewall; do
	uci -q show "$config" | sed -n "s/^\\($config\\.reach_[A-Za-z0-9_]*\\)=.*/delete \\1/p" | uci -q batch
done
if [ "${{1:-}}" = remove ]; then
	uci commit network
	uci commit firewall
	{SCRIPT} stop
	{SCRIPT} disable
	nft delete table inet reach 2>/dev/null # an include that is gone leaves its table
	[ ! -f {place.flows} ] || sh {place.flows} down
	reload_config
	exit
fi
uci -q batch <<EOF
{NEWLINE.join(lines)}
commit network
commit firewall
EOF
{SCRIPT} enable
{SCRIPT} restart
reload_config
"""


def network(plan: Plan, place: Place) -> list[str]:
    lines: list[str] = []
    for device in plan.devices:
        if isinstance(device, Br) and not device.is_ours:
            continue
        own = [str(each.interface) for each in plan.addresses if each.device == device.name]
        if isinstance(device, Wg):
            lines += wireguard(plan, place, device, own)
            continue
        options: dict[str, str | list[str]] = {"proto": "static" if own else "none", "device": device.name}
        options |= {"ipaddr": [a for a in own if ":" not in a]} if any(":" not in a for a in own) else {}
        options |= {"ip6addr": [a for a in own if ":" in a]} if any(":" in a for a in own) else {}
        lines += section("network", uci_name(device.name), "interface", options)
    return lines


def wireguard(plan: Plan, place: Place, device: Wg, own: list[str]) -> list[str]:
    name = uci_name(device.name)
    options: dict[str, str | list[str]] = {
        "proto": "wireguard",
        "private_key": f"$(cat {place.private_key(plan.end)})",
    }
    options |= {"addresses": own, "mtu": str(device.mtu_bytes)}
    options |= {"listen_port": str(device.port)} if device.port else {}
    options |= {"fwmark": hex(device.mark)} if device.mark else {}
    lines = section("network", name, "interface", options)
    for peer in device.peers:
        values: dict[str, str | list[str]] = {
            "public_key": place.public_key(peer.end),
            "description": peer.end,
        }
        values |= {"allowed_ips": [str(each) for each in peer.allowed], "route_allowed_ips": "0"}
        if peer.endpoint:
            host, _, port = peer.endpoint.rpartition(":")
            values |= {"endpoint_host": host.strip("[]"), "endpoint_port": port}
        values |= {"persistent_keepalive": str(peer.keepalive_s)} if peer.keepalive_s else {}
        lines += section("network", f"{name}_{uci_name(peer.end)}", f"wireguard_{name}", values)
    return lines


def routing(plan: Plan) -> list[str]:
    lines: list[str] = []
    for number, route in enumerate(plan.routes):
        options: dict[str, str | list[str]] = {"interface": uci_name(route.device), "target": str(route.to)}
        options |= {"table": str(route.table)} if route.table else {}
        lines += section(
            "network", f"reach_route{number}", "route" if route.to.version == 4 else "route6", options
        )
    for number, rule in enumerate(plan.rules):
        if rule.in_device:  # netifd's wants a network for it; the init script does it
            continue
        options = {"priority": str(rule.priority), "lookup": str(rule.table)}
        options |= {"src": str(rule.source)} if rule.source else {}
        options |= {"dest": str(rule.destination)} if rule.destination else {}
        options |= {"mark": str(rule.mark)} if rule.mark else {}
        options |= {"invert": "1"} if rule.is_mark_inverted else {}
        options |= {"suppress_prefixlength": "0"} if rule.suppresses_default else {}
        lines += section("network", f"reach_rule{number}", "rule" if rule.family == 4 else "rule6", options)
    return lines


def firewall(plan: Plan) -> list[str]:
    """A zone of our links that lets through what our own table decides about, and what this machine accepts."""
    ours = [uci_name(each.name) for each in plan.devices if each.name in names(plan)]
    lines = zone(plan, ours) if ours else []
    for number, match in enumerate(plan.firewall.accepts):
        lines += section("firewall", f"reach_accept{number}", "rule", accept(match))
    if replace(plan.firewall, accepts=(), clamps=()):
        include: dict[str, str | list[str]] = {"type": "nftables", "path": "/etc/reach/reach.nft"}
        lines += section("firewall", "reach_nft", "include", include | {"position": "ruleset-post"})
    if flows.has_flows(plan.firewall):  # after each start and reload; the last option is fw3's
        include = {"type": "script", "path": "/etc/reach/flows.sh", "fw4_compatible": "1", "reload": "1"}
        lines += section("firewall", "reach_flows", "include", include)
    return lines


def zone(plan: Plan, ours: list[str]) -> list[str]:
    options: dict[str, str | list[str]] = {"name": "reach", "network": ours, "mtu_fix": "1"}
    from_plat = any(rule.in_device == PLAT for rule in plan.rules)
    # our own table decides, if it is there: Gluon's firewall is iptables
    verdict = "REJECT" if from_plat else "ACCEPT"
    options |= {"input": verdict, "output": "ACCEPT", "forward": verdict}
    lines = section("firewall", "reach_zone", "zone", options)
    if from_plat:
        lines += section("firewall", "reach_from_plat", "forwarding", {"src": PLAT, "dest": "reach"})
    for source, target in (("reach", "lan"), ("lan", "reach"), ("reach", "wan"), ("wan", "reach")):
        if source != "wan" or plan.role == "server":
            both: dict[str, str | list[str]] = {"src": source, "dest": target}
            lines += section("firewall", f"reach_{source}_{target}", "forwarding", both)
    return lines


def accept(match: Match) -> dict[str, str | list[str]]:
    options: dict[str, str | list[str]] = {"name": "reach", "src": "wan", "target": "ACCEPT"}
    options["proto"] = "4" if match.protocol == "ipip" else match.protocol or "all"
    options |= {"dest_port": " ".join(map(range_text, match.ports))} if match.ports else {}
    options |= {"src_ip": [str(each) for each in match.source]} if match.source else {}
    options |= {"dest_ip": str(match.destination)} if match.destination is not None else {}
    return options


def init_script(plan: Plan, place: Place) -> str:
    """What netifd cannot do, at START=19 as the network's own is 20."""
    found: list[Command] = [*addresses(plan, outside=True)]
    for device in plan.devices:
        if not isinstance(device, Wg):
            found += device_commands(plan, place, device)
    found += [*sysctls(plan), *pins(plan)]
    found += rules(replace(plan, rules=tuple(rule for rule in plan.rules if rule.in_device)))
    found += [Command(f"ethtool --offload {device} tx off") for device in plan.untouched_offloads]
    ups = "".join(f"\t{each.up}\n" for each in found)
    downs = "".join(f"\t{each.down}\n" for each in reversed(found) if each.down)
    programs = "".join(f"\trun {' '.join(service_words(each, place))}\n" for each in services(plan, place))
    return f"""\
#!/bin/sh /etc/rc.common
# SPDX-License-Identifier: ISC
# rendered by reach for {plan.end}
# shellcheck disable=SC2034 # read by rc.common
START=19
# shellcheck disable=SC2034 # read by rc.common
USE_PROCD=1

run() {{
	procd_open_instance
	procd_set_param command "$@"
	procd_set_param respawn 60 5 0
	procd_close_instance
}}

start_service() {{
{ups}{programs}	:
}}

stop_service() {{
{downs}	:
}}
"""
