# SPDX-License-Identifier: ISC
"""A stand-in for OpenWrt's firewall4: what it makes of zones, ways and rules, as far as documentation uses them.

An option that is not known here fails the test: documentation with it has not been checked. The order of rules is that
of firewall4's ruleset.uc: first established connections, then the zones' chains. In these rules come before the policy.
A zone's forward policy is for packets between the zone's own devices.
"""

from collections.abc import Iterable, Mapping

from uci import Section, Value

VERDICTS = {"ACCEPT": "accept", "REJECT": "jump handle_reject", "DROP": "drop"}
KNOWN = {
    "defaults": {"input", "output", "forward", "syn_flood", "synflood_protect"},
    "zone": {"name", "network", "device", "input", "output", "forward", "masq", "mtu_fix"},
    "forwarding": {"src", "dest"},
    "rule": {"name", "src", "dest", "proto", "src_ip", "dest_port", "family", "target", "icmp_type"},
}


def words(value: Value | None) -> list[str]:
    return [] if value is None else value.split() if isinstance(value, str) else value


def matches(rule: Mapping[str, Value]) -> Iterable[str]:
    """Yield the condition of a rule for each of its protocols."""
    family = rule.get("family", "any")
    assert family in ("ipv4", "ipv6", "any"), family
    base = {"ipv4": "meta nfproto ipv4 ", "ipv6": "meta nfproto ipv6 ", "any": ""}[str(family)]
    if "src_ip" in rule:
        base += f"{'ip6' if ':' in str(rule['src_ip']) else 'ip'} saddr {rule['src_ip']} "
    ports = f"{{ {', '.join(words(rule['dest_port']))} }}" if "dest_port" in rule else ""
    for protocol in words(rule.get("proto", "tcp udp")):
        if protocol == "icmp":
            assert family == "ipv6", "icmp of IPv4 is not known here"
            kinds = ", ".join(words(rule.get("icmp_type")))
            yield base + (f"icmpv6 type {{ {kinds} }} " if kinds else "meta l4proto ipv6-icmp ")
        else:
            assert protocol in ("tcp", "udp"), protocol
            yield base + (f"{protocol} dport {ports} " if ports else f"meta l4proto {protocol} ")


def render(sections: list[Section], devices: Mapping[str, str]) -> str:
    """Return the rules for nft; devices are those of networks, which netifd tells the real one."""
    for section in sections:
        unknown = set(section.options) - KNOWN[section.kind]
        assert not unknown, f"firewall4's {section.kind} {unknown}: not known here"
    of_kind = {kind: [section.options for section in sections if section.kind == kind] for kind in KNOWN}
    (defaults,) = of_kind["defaults"]
    zones = {str(zone["name"]): zone for zone in of_kind["zone"]}
    members = {}
    for name, zone in zones.items():
        found = [devices[network] for network in words(zone.get("network")) if network in devices]
        members[name] = ", ".join(f'"{device}"' for device in [*found, *words(zone.get("device"))])
    chains = {f"{way}_{name}": [] for name in zones for way in ("input", "forward")}
    base: dict[str, list[str]] = {"input": ['iif "lo" accept'], "forward": []}
    for rule in of_kind["rule"]:
        place = f"forward_{rule['src']}" if "dest" in rule else f"input_{rule['src']}"
        out = f"oifname {{ {members[str(rule['dest'])]} }} " if "dest" in rule else ""
        chains[place] += [f"{match}{out}{VERDICTS[str(rule['target'])]}" for match in matches(rule)]
    for way in of_kind["forwarding"]:
        assert {way["src"], way["dest"]} <= set(zones), way
        if members[str(way["dest"])]:
            chains[f"forward_{way['src']}"].append(f"oifname {{ {members[str(way['dest'])]} }} accept")
    for name, zone in zones.items():
        if not members[name]:
            continue
        chains[f"input_{name}"].append(VERDICTS[str(zone.get("input", defaults["input"]))])
        forward = VERDICTS[str(zone.get("forward", defaults["forward"]))]
        chains[f"forward_{name}"].append(f"oifname {{ {members[name]} }} {forward}")
        for way in base:
            base[way].append(f"iifname {{ {members[name]} }} jump {way}_{name}")
    text = "table inet fw4 {\n\tchain handle_reject { meta l4proto tcp reject with tcp reset; reject; }\n"
    for name, lines in chains.items():
        text += f"\tchain {name} {{\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n"
    for way, lines in base.items():
        text += f"\tchain {way} {{\n\t\ttype filter hook {way} priority filter; policy drop;\n"
        text += "\t\tct state established,related accept\n"
        text += "".join(f"\t\t{line}\n" for line in [*lines, VERDICTS[str(defaults[way])]]) + "\t}\n"
    return text + "}\n"
