# SPDX-License-Identifier: ISC
"""Tables of iptables and ip6tables out of what iptables-save prints, as far as a verdict depends on it. Pure."""

import shlex
from collections.abc import Callable
from ipaddress import ip_network

from reach.ruleset import NEVER, UNKNOWN, Chain, Rule, Table, Test

TABLES = ("raw", "mangle", "filter", "security")  # those that may drop
HOOKS = {each.upper(): each for each in ("prerouting", "input", "forward", "output", "postrouting")}
VERDICTS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop", "RETURN": "return"}
PASSING = ("LOG", "NFLOG", "MARK", "CONNMARK", "TCPMSS", "AUDIT", "SET", "TRACE", "CT", "NOTRACK", "CLASSIFY")
# words behind an option that change no verdict here: its modules, its notes, limits that are seldom reached
SILENT = {
    "-m": 1,
    "--comment": 1,
    "--limit": 1,
    "--limit-burst": 1,
    "--hashlimit-upto": 1,
    "--set": 0,
    "--name": 1,
}
SILENT |= {"--hashlimit-burst": 1, "--hashlimit-mode": 1, "--hashlimit-name": 1, "--hashlimit-srcmask": 1}
SILENT |= {
    "--hashlimit-htable-expire": 1,
    "--connlimit-upto": 1,
    "--connlimit-mask": 1,
    "--connlimit-saddr": 0,
}
SILENT |= {
    "--rsource": 0,
    "--rdest": 0,
    "--mask": 1,
    "--seconds": 1,
    "--hitcount": 1,
    "--reap": 0,
    "--rttl": 0,
}
OVER = {"--hashlimit-above": 1, "--connlimit-above": 1, "--update": 0, "--rcheck": 0, "--icmp-type": 1}
OVER |= {"--icmpv6-type": 1, "-f": 0}


def lowered(text: str) -> tuple[str, ...]:
    return tuple(text.lower().split(","))


def devices(text: str) -> tuple[str, ...]:
    return (text[:-1] + "*" if text.endswith("+") else text,)


def networks(text: str) -> tuple:
    return tuple(ip_network(each, strict=False) for each in text.split(","))


def ports(text: str) -> tuple[tuple[int, int], ...]:
    found = [each.partition(":") for each in text.split(",")]
    return tuple((int(first or 0), int((last or 65535) if colon else first)) for first, colon, last in found)


def marks(text: str) -> tuple[tuple[int, int], ...]:
    value, _, mask = text.partition("/")
    return ((int(value, 0), int(mask or "0xffffffff", 0)),)


VALUED: dict[str, tuple[str, Callable[[str], tuple]]] = {
    "-i": ("in", devices),
    "-o": ("out", devices),
    "-s": ("source", networks),
    "-d": ("destination", networks),
    "-p": ("protocol", lowered),
    "--dport": ("port", ports),
    "--dports": ("port", ports),
    "--sport": ("sport", ports),
    "--sports": ("sport", ports),
    "--state": ("state", lowered),
    "--ctstate": ("state", lowered),
    "--ctstatus": ("state", lowered),
    "--ctdir": ("direction", lowered),
    "--mark": ("mark", marks),
    "--dst-type": ("kind", lowered),
    "--pkt-type": ("pkttype", lowered),
}


def read(program: str, family: int, text: str) -> list[Table]:
    """program: the one whose -save has printed the text."""
    found, table = [], None
    for line in text.splitlines():
        if line.startswith("*"):
            table = Table(f"{program}, table {line[1:]}", (family,), {}) if line[1:] in TABLES else None
            found += [table] if table else []
        elif table and line.startswith(":"):
            name, policy, *_ = line[1:].split()
            table.chains[name] = Chain(name, (), HOOKS.get(name), VERDICTS.get(policy, "accept"))
        elif table and line.startswith("-A "):
            try:
                name, rule = rule_of(shlex.split(line)[1:])
            except (ValueError, IndexError):  # words that are not known here
                name, rule = line.split()[1], Rule((UNKNOWN,), "unknown")
            old = table.chains.get(name, Chain(name))
            table.chains[name] = Chain(name, (*old.rules, rule), old.hook, old.policy)
    return found


def rule_of(words: list[str]) -> tuple[str, Rule]:
    """The chain that a rule is in, and the rule."""
    name, rest = words[0], words[1:]
    tests: list[Test] = []
    while rest:
        is_negated = rest[0] == "!"
        option, rest = (rest[1], rest[2:]) if is_negated else (rest[0], rest[1:])
        if option in ("-j", "-g"):
            return name, verdict(tuple(tests), option, rest[0])
        if option in VALUED:
            tests.append(valued(option, rest[0], is_negated))
            rest = rest[1:]
        elif option == "--tcp-flags":  # the mask, and those of it that are set
            field = "flags" if rest[1].lower() == "syn" else "unknown"
            tests.append(Test(field, ("syn",), is_negated))
            rest = rest[2:]
        elif option in SILENT or option in OVER:
            tests += [NEVER] if option in OVER and not is_negated else []
            rest = rest[SILENT.get(option, OVER.get(option, 0)) :]
        else:
            tests.append(UNKNOWN)
            while rest and not rest[0].startswith("-") and rest[0] != "!":
                rest = rest[1:]
    return name, Rule(tuple(tests), None)


def valued(option: str, value: str, is_negated: bool) -> Test:
    field, convert = VALUED[option]
    try:
        return Test(field, convert(value), is_negated)
    except ValueError:
        return UNKNOWN


def verdict(tests: tuple[Test, ...], option: str, target: str) -> Rule:
    if target in VERDICTS:
        return Rule(tests, VERDICTS[target])
    if target in PASSING:
        return Rule(tests, None)
    if target.isupper() and target in ("QUEUE", "NFQUEUE", "SYNPROXY", "TARPIT"):
        return Rule(tests, "unknown")
    return Rule(tests, "goto" if option == "-g" else "jump", target)
