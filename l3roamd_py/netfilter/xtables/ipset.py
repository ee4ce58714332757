# SPDX-License-Identifier: ISC
"""Sets of addresses in the kernel (ipset's `hash:ip`), over netlink (linux/netfilter/ipset/ip_set.h).

An element may have a timeout and a comment. Adding one that is there gives it the new ones.
"""

import errno
import socket
import time

from l3roamd_py.netfilter.nfnetlink import SUBSYSTEM_IPSET, NetfilterSocket, NetlinkError, message, told
from runtime.loop import BootClock
from runtime.netlink import (
    CREATE,
    DUMP,
    EXCLUSIVE,
    NETWORK_ORDER,
    attribute,
    attributes,
    nested,
    text,
    u32,
    walk,
)
from runtime.record import record
from runtime.sockets import error_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PROTOCOL = attribute(1, b"\6")
SET_CREATE, SET_DESTROY, SET_LIST, SET_ADD, SET_DELETE, SET_TYPE = 2, 3, 7, 9, 10, 13
SET_NAME, TYPE_NAME, REVISION, FAMILY, DATA, ELEMENTS = 2, 3, 4, 5, 7, 8
ADDRESS, TIMEOUT, FLAGS, MAX_ELEMENTS, COUNT, COMMENT = 1, 6, 8, 19, 24, 26
LIST_FLAGS, NAMES_ONLY, HEADERS_ONLY = 6, 1 << 1, 1 << 2
WITH_COMMENT = 1 << 4
IS_THERE, IS_BUSY, IS_NOT_THERE = 4103, 4100, 4103  # ipset's own numbers, beyond errno
MISSING = (errno.ENOENT, IS_NOT_THERE)

SIZE_MAX = 262144
TYPE = "hash:ip"
LET_GO_S = 2.0  # until the kernel has given up a rule that named the set


@record("address timeout_s comment")
class Member:
    """An element. address: 4 or 16 bytes; timeout_s None: for ever."""

    address: bytes
    timeout_s: int | None = None
    comment: str | None = None


@record("name family has_timeout")
class IpSet:
    """A set of IPv4 (family AF_INET) or IPv6 addresses; its elements have timeouts if has_timeout."""

    name: str
    family: int
    has_timeout: bool


def _message(kind: int, flags: int, *body: bytes) -> bytes:
    return message(SUBSYSTEM_IPSET, kind, flags, PROTOCOL + b"".join(body), socket.AF_INET)


def create(each: IpSet, revision: int) -> bytes:
    """A new set; the kernel answers IS_THERE (or EEXIST) if there is one of this name."""
    options = [u32(FLAGS | NETWORK_ORDER, WITH_COMMENT), u32(MAX_ELEMENTS | NETWORK_ORDER, SIZE_MAX)]
    if each.has_timeout:
        options.append(u32(TIMEOUT | NETWORK_ORDER, 0))
    kind = text(TYPE_NAME, TYPE) + attribute(REVISION, bytes((revision,)))
    kind += attribute(FAMILY, bytes((each.family,)))
    return _message(SET_CREATE, CREATE | EXCLUSIVE, text(SET_NAME, each.name), kind, nested(DATA, *options))


def destroy(name: str) -> bytes:
    return _message(SET_DESTROY, 0, text(SET_NAME, name))


def add(name: str, member: Member) -> bytes:
    return _change(SET_ADD, name, member)


def delete(name: str, address: bytes) -> bytes:
    return _change(SET_DELETE, name, Member(address))


def _change(kind: int, name: str, member: Member) -> bytes:
    length = 1 if len(member.address) == 4 else 2
    parts = [nested(ADDRESS, attribute(length | NETWORK_ORDER, member.address))]
    if member.timeout_s is not None:
        parts.append(u32(TIMEOUT | NETWORK_ORDER, member.timeout_s))
    if member.comment is not None:
        parts.append(text(COMMENT, member.comment))
    return _message(kind, 0, text(SET_NAME, name), nested(DATA, *parts))


def members_of(answer: bytes) -> "Iterator[Member]":
    """The elements in one message of a list."""
    for _, entry in walk(attributes(answer).get(ELEMENTS, b"")):
        parts = attributes(entry)
        if ADDRESS in parts:
            yield Member(
                address=next(walk(parts[ADDRESS]))[1],
                timeout_s=int.from_bytes(parts[TIMEOUT], "big") if TIMEOUT in parts else None,
                comment=told(parts[COMMENT]) if COMMENT in parts else None,
            )


class IpSets:
    """The kernel's sets. Raises OSError from everything."""

    def __init__(self) -> None:
        self.netfilter = NetfilterSocket()

    def close(self) -> None:
        self.netfilter.close()

    def create(self, each: IpSet) -> None:
        """See that a set is there; one that is keeps its elements."""
        try:
            self.netfilter.ask(create(each, self.revision(each.family)))
        except NetlinkError as error:
            if error_number(error) not in (errno.EEXIST, IS_THERE):
                raise

    def revision(self, family: int) -> int:
        """The newest kind of `hash:ip` that this kernel has."""
        body = text(TYPE_NAME, TYPE) + attribute(FAMILY, bytes((family,)))
        answers = list(self.netfilter.dump(_message(SET_TYPE, 0, body)))
        return attributes(answers[0])[REVISION][0]

    def destroy(self, name: str) -> None:
        """Remove a set, if it is there. A rule that named it may need a moment to be gone."""
        now_s = BootClock().now_s
        deadline_s = now_s() + LET_GO_S
        while True:
            try:
                self.netfilter.ask(destroy(name))
            except NetlinkError as error:
                if error_number(error) == IS_BUSY and now_s() < deadline_s:
                    time.sleep(0.01)
                    continue
                if error_number(error) != errno.ENOENT:
                    raise
            return

    def add(self, name: str, member: Member) -> None:
        self.netfilter.ask(add(name, member))

    def delete(self, name: str, *addresses: bytes) -> None:
        """Remove elements, if they are there."""
        failed = self.netfilter.failures([delete(name, address) for address in addresses])
        for place, code in failed.items():
            if code not in MISSING:
                raise NetlinkError(code, place)

    def members(self, name: str) -> list[Member]:
        request = message(SUBSYSTEM_IPSET, SET_LIST, DUMP, PROTOCOL + text(SET_NAME, name), socket.AF_INET)
        return [member for answer in self.netfilter.dump(request) for member in members_of(answer)]

    def count(self, names: "Iterable[str]") -> int:
        """How many elements these sets have together, which the kernel knows; -1 if one is not there."""
        total = 0
        for name in names:
            body = PROTOCOL + text(SET_NAME, name) + u32(LIST_FLAGS, HEADERS_ONLY)
            try:
                for answer in self.netfilter.dump(
                    message(SUBSYSTEM_IPSET, SET_LIST, DUMP, body, socket.AF_INET)
                ):
                    header = attributes(attributes(answer)[DATA])
                    total += int.from_bytes(header[COUNT], "big")
            except (NetlinkError, KeyError):
                return -1
        return total

    def names(self, prefix: str) -> list[str]:
        """The names of sets that begin so."""
        request = message(
            SUBSYSTEM_IPSET, SET_LIST, DUMP, PROTOCOL + u32(LIST_FLAGS, NAMES_ONLY), socket.AF_INET
        )
        found = {told(attributes(each)[SET_NAME]) or "" for each in self.netfilter.dump(request)}
        return sorted([name for name in found if name.startswith(prefix)])
