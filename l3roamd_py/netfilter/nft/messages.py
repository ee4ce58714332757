# SPDX-License-Identifier: ISC
"""The words of nf_tables that our rules need, as netlink messages (linux/netfilter/nf_tables.h). No I/O.

Tables, chains, sets and their elements; what a rule consists of is in nftables_expressions.
"""

from l3roamd_py.netfilter.nfnetlink import SUBSYSTEM_NFTABLES, message, told
from runtime.netlink import (
    APPEND,
    CREATE,
    DUMP,
    EXCLUSIVE,
    attribute,
    attributes,
    nested,
    text,
    u32,
    u64,
    unpack_header,
    walk,
)
from runtime.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

IPV4, IPV6 = 2, 10  # families of a table
ONLY_EMPTY = 0x100  # NLM_F_NONREC, of a deletion

NEW_TABLE, GET_TABLE, DELETE_TABLE = 0, 1, 2
NEW_CHAIN, GET_CHAIN = 3, 4
NEW_RULE, GET_RULE, DELETE_RULE = 6, 7, 8
NEW_SET, GET_SET, DELETE_SET = 9, 10, 11
NEW_ELEMENT, GET_ELEMENT, DELETE_ELEMENT = 12, 13, 14
GET_GENERATION = 16

# data types as nft numbers them, so that `nft list` prints addresses; a concatenation has six bits for each
TYPE_IPV4, TYPE_IPV6, TYPE_ETHER = 7, 8, 9
TYPE_ETHER_IPV4, TYPE_ETHER_IPV6 = TYPE_ETHER << 6 | TYPE_IPV4, TYPE_ETHER << 6 | TYPE_IPV6
TYPE_IPV6_IPV6 = TYPE_IPV6 << 6 | TYPE_IPV6

SET_MAP, SET_TIMEOUT, SET_DYNAMIC = 0x8, 0x10, 0x20
PREROUTING, FORWARD, OUTPUT, POSTROUTING = 0, 2, 3, 4  # hooks


@record("key data expires_ms comment")
class Element:
    """An element of a set or map. expires_ms: what is left (None: for ever); comment as nft stores it."""

    key: bytes
    data: bytes | None = None
    expires_ms: int | None = None
    comment: str | None = None


@record("name key_type key_bytes data_type data_bytes has_timeout dynamic_size")
class Set:
    """A set, or a map if data_bytes is not 0. dynamic_size: packets bring its elements, of which it holds that many."""

    name: str
    key_type: int
    key_bytes: int
    data_type: int = 0
    data_bytes: int = 0
    has_timeout: bool = True
    dynamic_size: int = 0


@record("name hook priority kind")
class Chain:
    """hook: None for a chain that rules of others lead to."""

    name: str
    hook: int | None = None
    priority: int = 0
    kind: str = "filter"  # or "route", at OUTPUT: what gets another address there is routed anew


@record("family name comment chains sets")
class Table:
    """A table's name, its fixed sets and chains; comment tells one layout from another."""

    family: int
    name: str
    comment: str
    chains: tuple[Chain, ...]
    sets: tuple[Set, ...] = ()

    def __str__(self) -> str:
        return f"{'ip' if self.family == IPV4 else 'ip6'} {self.name}"


def _message(family: int, kind: int, flags: int, *body: bytes) -> bytes:
    return message(SUBSYSTEM_NFTABLES, kind, flags, b"".join(body), family)


def _userdata(comment: str) -> bytes:
    """A comment as nft keeps it: type 0, length, the text with its NUL."""
    value = comment.encode() + b"\0"
    return bytes((0, len(value))) + value


def _comment(userdata: bytes) -> str | None:
    while len(userdata) >= 2:
        kind, length = userdata[:2]
        if kind == 0:
            return told(userdata[2 : 2 + length])
        userdata = userdata[2 + length :]
    return None


# --- tables, chains, rules, sets ---------------------------------------------


def add_table(table: Table) -> list[bytes]:
    """The table with its chains and sets; none of it may be there already."""
    made = [
        _message(
            table.family,
            NEW_TABLE,
            CREATE | EXCLUSIVE,
            text(1, table.name),
            attribute(6, _userdata(table.comment)),
        )
    ]
    made += [add_set(table, each, number + 1) for number, each in enumerate(table.sets)]
    return made + [add_chain(table, each) for each in table.chains]


def delete_table(family: int, name: str, flags: int = 0) -> bytes:
    return _message(family, DELETE_TABLE, flags, text(1, name))


def get_table(family: int, name: str) -> bytes:
    return _message(family, GET_TABLE, 0, text(1, name))


def table_comment(answer: bytes) -> str | None:
    return _comment(attributes(answer).get(6, b""))


def get_chain(family: int, table: str, name: str) -> bytes:
    return _message(family, GET_CHAIN, 0, text(1, table), text(3, name))


def add_chain(table: Table, chain: Chain) -> bytes:
    body = [text(1, table.name), text(3, chain.name)]
    if chain.hook is not None:
        hook = nested(4, u32(1, chain.hook), u32(2, chain.priority & 0xFFFFFFFF))
        body += [hook, u32(5, 1), text(7, chain.kind)]
    return _message(table.family, NEW_CHAIN, CREATE, *body)


def add_rule(table: Table, chain: str, *expressions: bytes) -> bytes:
    body = text(1, table.name), text(2, chain), nested(4, *expressions)
    return _message(table.family, NEW_RULE, CREATE | APPEND, *body)


def get_rules(family: int, table: str) -> bytes:
    return _message(family, GET_RULE, DUMP, text(1, table))


def flush_chain(table: Table, chain: str) -> bytes:
    return _message(table.family, DELETE_RULE, 0, text(1, table.name), text(2, chain))


def add_set(table: Table, each: Set, set_id: int) -> bytes:
    flags = (SET_MAP if each.data_bytes else 0) | (SET_TIMEOUT if each.has_timeout else 0)
    flags |= SET_DYNAMIC if each.dynamic_size else 0
    body = [
        text(1, table.name),
        text(2, each.name),
        u32(3, flags),
        u32(4, each.key_type),
        u32(5, each.key_bytes),
    ]
    if each.data_bytes:
        body += [u32(6, each.data_type), u32(7, each.data_bytes)]
    if each.dynamic_size:
        body.append(nested(9, u32(1, each.dynamic_size)))
    return _message(table.family, NEW_SET, CREATE, *body, u32(10, set_id))


def delete_set(table: Table, name: str) -> bytes:
    return _message(table.family, DELETE_SET, 0, text(1, table.name), text(2, name))


def get_sets(family: int, table: str) -> bytes:
    return _message(family, GET_SET, DUMP, text(1, table))


def set_name(answer: bytes) -> str:
    return attributes(answer)[2].rstrip(b"\0").decode()


# --- elements ----------------------------------------------------------------


def milliseconds(lease_s: int) -> int:
    """A timeout, at least a second: 0 would mean for ever."""
    return max(lease_s, 1) * 1000


def element(each: Element) -> bytes:
    parts = [nested(1, attribute(1, each.key))]
    if each.data is not None:
        parts.append(nested(2, attribute(1, each.data)))
    if each.expires_ms is not None:
        parts.append(u64(4, each.expires_ms))
    if each.comment is not None:
        parts.append(attribute(6, _userdata(each.comment)))
    return nested(1, *parts)


def add_elements(family: int, table: str, name: str, *elements: Element, exclusive: bool = True) -> bytes:
    """Add elements; with exclusive one that is there already fails the transaction."""
    body = text(1, table), text(2, name), nested(3, *[element(each) for each in elements])
    return _message(family, NEW_ELEMENT, CREATE | (EXCLUSIVE if exclusive else 0), *body)


def delete_elements(family: int, table: str, name: str, *keys: bytes) -> bytes:
    body = text(1, table), text(2, name), nested(3, *[element(Element(key)) for key in keys])
    return _message(family, DELETE_ELEMENT, 0, *body)


def flush_set(table: Table, name: str) -> bytes:
    return _message(table.family, DELETE_ELEMENT, 0, text(1, table.name), text(2, name))


def get_elements(family: int, table: str, name: str) -> bytes:
    return _message(family, GET_ELEMENT, DUMP, text(1, table), text(2, name))


def get_generation() -> bytes:
    return _message(0, GET_GENERATION, 0)


def generation_of(answer: bytes) -> int:
    return int.from_bytes(attributes(answer)[1], "big")


def get_element(family: int, table: str, name: str, key: bytes) -> bytes:
    return _message(family, GET_ELEMENT, 0, text(1, table), text(2, name), nested(3, element(Element(key))))


def elements_of(answer: bytes) -> "Iterator[Element]":
    """The elements in one message of a dump."""
    for _, entry in walk(attributes(answer).get(3, b"")):
        parts = attributes(entry)
        yield Element(
            key=attributes(parts[1])[1],
            data=attributes(parts[2]).get(1) if 2 in parts else None,
            expires_ms=int.from_bytes(parts[5], "big") if 5 in parts else None,
            comment=_comment(parts[6]) if 6 in parts else None,
        )


def is_deletion(request: bytes) -> bool:
    """Whether a message removes elements."""
    kind: int = unpack_header(request)[1]
    return kind == SUBSYSTEM_NFTABLES << 8 | DELETE_ELEMENT
