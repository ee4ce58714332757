# SPDX-License-Identifier: ISC
"""A table of ours in the kernel: made, found again after a crash, replaced, removed. Elements outlive all but removal.

The table's comment names its layout (the kinds of its sets and its chains). One with the same comment stays as it
is and only its rules are written anew; any other is replaced in one transaction, with those elements of sets of the
same name that fit. So there is no moment without rules, and no second copy.
"""

from l3roamd_py.netfilter.nfnetlink import (
    SUBSYSTEM_NFTABLES,
    NetfilterSocket,
    NetlinkError,
    TransactionError,
    is_missing,
)
from l3roamd_py.netfilter.nft import messages as nftables
from l3roamd_py.netfilter.nft.messages import Chain, Element, Set, Table
from runtime.signing import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

ELEMENTS_A_MESSAGE = 100  # an attribute's length is 16 bits


def layout(
    family: int, name: str, chains: "Sequence[Chain]", sets: "Sequence[Set]", others: str = ""
) -> Table:
    """A Table whose comment says what it consists of; others: what else must be the same to keep it."""
    digest = sha256(repr((chains, sets, others)).encode()).digest()[:6].hex()
    return Table(family, name, f"l3roamd_py {digest}", tuple(chains), tuple(sets))


def find_table(netfilter: NetfilterSocket, table: Table) -> str | None:
    """The comment of a table of this name, empty if it has none; None if there is no such table."""
    try:
        answers = list(netfilter.dump(nftables.get_table(table.family, table.name)))
    except NetlinkError as error:
        if is_missing(error):
            return None
        raise
    return nftables.table_comment(answers[0]) or ""


def generation(netfilter: NetfilterSocket) -> int | None:
    """A number that others make another by any change to the ruleset of this network namespace; None: no nf_tables.

    The kernel's own grows by one with each transaction that changes something. What this socket has done is taken off,
    so that a client that comes or goes is no reason to look at all rules.
    """
    try:
        for answer in netfilter.dump(nftables.get_generation()):
            return nftables.generation_of(answer) - netfilter.commits & 0xFFFFFFFF
    except OSError:
        pass
    return None


def is_whole(netfilter: NetfilterSocket, table: Table, rules: int) -> bool:
    """Whether a table of ours is there with all that it should have, by number: somebody may have flushed it."""
    if find_table(netfilter, table) != table.comment:
        return False
    found = list(netfilter.dump(nftables.get_rules(table.family, table.name)))
    names = set(list_sets(netfilter, table))
    return len(found) == rules and names >= {each.name for each in table.sets}


def list_sets(netfilter: NetfilterSocket, table: Table) -> list[str]:
    return [nftables.set_name(each) for each in netfilter.dump(nftables.get_sets(table.family, table.name))]


def list_elements(netfilter: NetfilterSocket, table: Table, name: str) -> list[Element]:
    request = nftables.get_elements(table.family, table.name, name)
    return [element for answer in netfilter.dump(request) for element in nftables.elements_of(answer)]


def find_element(netfilter: NetfilterSocket, table: Table, name: str, key: bytes) -> bytes:
    """What the kernel says of an element by its key, its data in it; nothing if there is none.

    To look first is cheap; a transaction that fails makes the kernel wait for 15 ms.
    """
    try:
        for answer in netfilter.dump(nftables.get_element(table.family, table.name, name, key)):
            return answer
    except NetlinkError as error:
        if not is_missing(error):
            raise
    return b""


def add_elements(table: Table, name: str, *elements: Element) -> bytes:
    """What adds elements; those that are there may be, with the same data."""
    return nftables.add_elements(table.family, table.name, name, *elements, exclusive=False)


def delete_elements(table: Table, name: str, *keys: bytes) -> bytes:
    return nftables.delete_elements(table.family, table.name, name, *keys)


def removal(netfilter: NetfilterSocket, table: Table, name: str, key: bytes) -> list[bytes]:
    """What takes an element out of a set; nothing if there is none."""
    return [delete_elements(table, name, key)] if find_element(netfilter, table, name, key) else []


def raise_table(netfilter: NetfilterSocket, table: Table, rules: "Sequence[bytes]") -> None:
    """See that the table is there as it should be, with these rules."""
    found = find_table(netfilter, table)
    if found is None:
        return netfilter.commit(SUBSYSTEM_NFTABLES, nftables.add_table(table) + list(rules))
    if found == table.comment:
        try:
            return netfilter.commit(SUBSYSTEM_NFTABLES, rewrite(table, rules))
        except TransactionError:
            pass  # somebody took parts of it away: make it anew
    return _replace(netfilter, table, rules)


def rewrite(table: Table, rules: "Sequence[bytes]") -> list[bytes]:
    """What gives a table these rules and no others."""
    return [nftables.flush_chain(table, chain.name) for chain in table.chains] + list(rules)


def _replace(netfilter: NetfilterSocket, table: Table, rules: "Sequence[bytes]") -> None:
    messages = [nftables.delete_table(table.family, table.name)] + nftables.add_table(table)
    names = list_sets(netfilter, table)
    for each in table.sets:
        if each.name in names:
            fitting = [e for e in list_elements(netfilter, table, each.name) if fits(e, each)]
            fitting = fitting[: each.dynamic_size or None]
            for start in range(0, len(fitting), ELEMENTS_A_MESSAGE):
                some = fitting[start : start + ELEMENTS_A_MESSAGE]
                messages.append(add_elements(table, each.name, *some))
    netfilter.commit(SUBSYSTEM_NFTABLES, messages + list(rules))


def fits(element: Element, each: Set) -> bool:
    """Whether an element of another table's set can be one of this set."""
    return (
        len(element.key) == each.key_bytes
        and len(element.data or b"") == each.data_bytes
        and (element.expires_ms is not None) <= each.has_timeout
    )


def remove_table(netfilter: NetfilterSocket, table: Table) -> None:
    try:
        netfilter.commit(SUBSYSTEM_NFTABLES, [nftables.delete_table(table.family, table.name)])
    except TransactionError as error:
        if not is_missing(error):
            raise
