# SPDX-License-Identifier: ISC
"""Tables of nftables out of `nft -j list ruleset` (libnftables-json(5)), as far as a verdict depends on it. Pure."""

import json
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

from reach.ruleset import NEVER, UNKNOWN, Chain, Rule, Table, Test

FAMILIES = {"ip": (4,), "ip6": (6,), "inet": (4, 6), "netdev": (4, 6)}
VERDICTS = {"accept": "accept", "drop": "drop", "reject": "drop", "return": "return", "queue": "unknown"}
PASSING = ("counter", "log", "mangle", "notrack", "flow", "set", "map", "meter", "ct helper", "ct timeout")
FIELD_OF_META = {"iifname": "in", "iif": "in", "oifname": "out", "oif": "out", "l4proto": "protocol"}
FIELD_OF_META |= {"nfproto": "family", "protocol": "family", "mark": "mark", "pkttype": "pkttype"}
FIELD_OF_CT = {"state": "state", "status": "state", "mark": "mark", "direction": "direction"}
FIELD_OF_PAYLOAD = {"saddr": "source", "daddr": "destination", "dport": "port", "sport": "sport"}
FIELD_OF_PAYLOAD |= {"protocol": "protocol", "nexthdr": "protocol", "version": "family", "flags": "flags"}
FAMILY_OF = {"ip": 4, "ip6": 6, "ipv4": 4, "ipv6": 6}
NAMED = {
    "http": 80,
    "https": 443,
    "ssh": 22,
    "domain": 53,
}  # nft -n prints numbers; without it some are names
BITS = 0xFFFFFFFF
FOREIGN = (KeyError, ValueError, TypeError, IndexError, AttributeError)  # of words that are not known here
Sets = dict[tuple[str, str, str], list[Any]]


class NotUnderstood(ValueError):
    """An expression whose value nobody can tell here."""


def read(text: str) -> list[Table]:
    """The tables in a listing, but for those of bridges."""
    found = [next(iter(each.items())) for each in json.loads(text)["nftables"]]
    named: Sets = {
        (value["family"], value["table"], value["name"]): value.get("elem", [])
        for kind, value in found
        if kind in ("set", "map")
    }
    rules: dict[tuple[str, str, str], list[Rule]] = {}
    for kind, value in found:
        if kind == "rule":
            where = value["family"], value["table"], value["chain"]
            try:
                read_rules = list(rules_of(value["expr"], where[:2], named))
            except FOREIGN:
                read_rules = [Rule((UNKNOWN,), "unknown")]
            rules.setdefault(where, []).extend(read_rules)
    tables: dict[tuple[str, str], Table] = {}
    for kind, value in found:
        if kind != "chain" or value["family"] not in FAMILIES:
            continue
        key = value["family"], value["table"]
        table = tables.setdefault(key, Table(f"table {' '.join(key)}", FAMILIES[key[0]], {}))
        table.chains[value["name"]] = chain(value, rules.get((*key, value["name"]), []))
    return list(tables.values())


def chain(value: Any, rules: list[Rule]) -> Chain:
    hook = value.get("hook") if value.get("type") in ("filter", "route") else None
    if hook == "ingress":  # what has just come in by some devices, which not every nft names
        names = value.get("dev", [])
        elsewhere = (
            Test("in", tuple([names] if isinstance(names, str) else names), True) if names else UNKNOWN
        )
        hook, rules = "prerouting", [Rule((elsewhere,), "accept"), *rules]
    return Chain(value["name"], tuple(rules), hook, value.get("policy", "accept"))


def rules_of(expressions: list[Any], where: tuple[str, str], named: Sets) -> Iterator[Rule]:
    """A rule; of a verdict map, one for each of its elements."""
    tests: list[Test] = []
    for expression in expressions:
        kind, value = named_part(expression)
        if kind == "match":
            tests += match(value, where, named)
        elif kind in ("limit", "ct count", "quota"):
            tests += [NEVER] if value.get("inv") else []
        elif kind in ("jump", "goto"):
            yield Rule(tuple(tests), kind, str(value["target"]))
        elif kind in VERDICTS:
            yield Rule(tuple(tests), VERDICTS[kind])
        elif kind == "xt" and value.get("type") == "target":
            yield Rule(tuple(tests), "drop" if value.get("name") == "REJECT" else "unknown")
        elif kind == "vmap":
            for element, verdict in members(value["data"], where, named):
                match_one = {"op": "==", "left": value["key"], "right": element}
                does, target = named_part(verdict)
                here = (*tests, *match(match_one, where, named))
                yield Rule(here, VERDICTS.get(does, does), str(target.get("target", "")))
        elif kind not in PASSING:
            tests.append(UNKNOWN)


def named_part(expression: Any) -> tuple[str, Any]:
    """The only key of an object and its value; some values are null, some keys stand alone."""
    if not expression:
        raise NotUnderstood("nothing")
    kind, value = next(iter(expression.items())) if isinstance(expression, dict) else (expression, None)
    return kind, {} if value is None else value


def members(value: Any, where: tuple[str, str], named: Sets) -> list[Any]:
    """The elements of a set, or of a map, or a single value as a list."""
    if isinstance(value, str) and value.startswith("@"):
        key = (*where, value[1:])
        if key not in named:
            raise NotUnderstood(value)
        value = named[key]
    found = value["set"] if isinstance(value, dict) and "set" in value else value
    return [plain(each) for each in (found if isinstance(found, list) else [found])]


def plain(element: Any) -> Any:
    """An element without its timeout and comment."""
    return element["elem"]["val"] if isinstance(element, dict) and "elem" in element else element


def match(value: Any, where: tuple[str, str], named: Sets) -> list[Test]:
    try:
        return understood(value["left"], value["op"], members(value["right"], where, named))
    except FOREIGN:
        return [UNKNOWN]


def understood(left: Any, op: str, values: list[Any]) -> list[Test]:
    """A match as tests: what its field implies, and the comparison. Raises NotUnderstood, or what a lookup does."""
    if op not in ("==", "!=", "in"):
        raise NotUnderstood(op)
    kind, inside = named_part(left)
    if kind == "concat":
        parts = [
            tuple(
                test
                for part, one in zip(inside, each["concat"], strict=True)
                for test in understood(part, "==", [one])
            )
            for each in values
        ]
        return [Test("any", tuple(parts), op == "!=")]
    mask = BITS
    if kind == "&":
        left, mask = inside
        kind, inside = named_part(left)
    implied, field = field_of(kind, inside)
    if field == "mark":
        return [*implied, Test(field, tuple((number(each), int(mask)) for each in values), op == "!=")]
    return [*implied, Test(field, tuple(CONVERT.get(field, str)(each) for each in values), op == "!=")]


def field_of(kind: str, inside: Any) -> tuple[list[Test], str]:
    """The tests that an expression implies, and the field that it names."""
    if kind == "meta":
        return [], FIELD_OF_META[inside["key"]]
    if kind == "ct" and "dir" not in inside:
        return [], FIELD_OF_CT[inside["key"]]
    if kind == "fib" and inside["result"] == "type" and "daddr" in inside["flags"]:
        return [], "kind"
    if kind != "payload":
        raise NotUnderstood(kind)
    protocol, field = inside["protocol"], FIELD_OF_PAYLOAD.get(inside["field"], "unknown")
    if protocol in ("ip", "ip6"):
        return [Test("family", (FAMILY_OF[protocol],))], field
    return ([Test("protocol", (protocol,))] if protocol != "th" else []), field


def network(value: Any) -> Any:
    if isinstance(value, dict) and "prefix" in value:
        return ip_network(f"{value['prefix']['addr']}/{value['prefix']['len']}")
    return ip_network(value)  # ValueError of a range: not understood


def port_range(value: Any) -> tuple[int, int]:
    if isinstance(value, dict):
        first, last = value["range"]
        return number(first), number(last)
    return number(value), number(value)


def number(value: Any) -> int:
    return NAMED[value] if value in NAMED else int(value)


CONVERT: dict[str, Callable[[Any], Any]] = {
    "source": network,
    "destination": network,
    "port": port_range,
    "sport": port_range,
    "family": lambda value: FAMILY_OF.get(value, value),
}
