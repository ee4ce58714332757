# SPDX-License-Identifier: ISC
"""Netfilter's netlink: its messages as bytes, its socket, and transactions of nf_tables.

What this is for: one roam must cost one system call, not a process. What the subsystems say is in nft/, nfqueue,
xtables/ipset and conntrack; framing and the socket are those of all netlink, in runtime/.

Behind the header of netlink every message has `nfgenmsg` (family u8, version u8, resource u16, the last big-endian).
Attributes' values are mostly big-endian.
"""

import errno
import struct

from l3roamd_py.netfilter.rules import RulesError
from runtime import netlink
from runtime.netlink import MESSAGE_ERROR, error_of, split
from runtime.netlink_socket import NETFILTER, WAITING_MAX, NetlinkError, NetlinkSocket, drain
from runtime.sockets import error_number, error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

SUBSYSTEM_CONNTRACK, SUBSYSTEM_QUEUE, SUBSYSTEM_IPSET, SUBSYSTEM_NFTABLES = 1, 3, 6, 10
BATCH_BEGIN, BATCH_END = 0x10, 0x11
FAMILY_BYTES = 4


class TransactionError(NetlinkError):
    """Nothing of a transaction was done; errors has the errno of each message that failed, by its index."""

    def __init__(self, errors: "Mapping[int, int]"):
        first = min(errors)
        super().__init__(errors[first], first)
        self.errors = dict(errors)


def message(subsystem: int, kind: int, flags: int, body: bytes, family: int = 0, resource: int = 0) -> bytes:
    """A whole request."""
    return netlink.message(subsystem << 8 | kind, flags, struct.pack("!BBH", family, 0, resource) + body)


def transaction(subsystem: int, messages: "Sequence[bytes]", check_only: bool = False) -> list[bytes]:
    """What makes the kernel do all of the messages or none. check_only: it looks at all, and takes them back."""
    begin = message(0, BATCH_BEGIN, 0, b"", resource=subsystem)
    end = message(0, BATCH_END, 0, b"", resource=subsystem)
    return [begin] + list(messages) + ([] if check_only else [end])


class NetfilterSocket(NetlinkSocket):
    """A netlink socket to netfilter, of the network namespace that it was made in."""

    def __init__(self) -> None:
        super().__init__(NETFILTER, FAMILY_BYTES)
        self.commits = 0  # transactions that were done

    def commit(self, subsystem: int, messages: "Sequence[bytes]", check_only: bool = False) -> None:
        """Do all of the messages or none. Raises TransactionError, with indices into messages.

        Only errors are told, so any answer says that nothing was done, one that the kernel had no room for as well.
        """
        if not messages:
            return
        first = self.send(transaction(subsystem, messages, check_only))
        errors: dict[int, int] = {}
        for received in drain(self.socket, WAITING_MAX):
            if received is None:
                errors.setdefault(len(messages) - 1, errno.ENOBUFS)
                continue
            for kind, _, sequence, begin, end in split(received):
                place = (sequence - first & 0xFFFFFFFF) - 1  # the first is the batch's begin
                if (
                    kind == MESSAGE_ERROR
                    and place < len(messages)
                    and (code := error_of(received, begin, end))
                ):
                    errors.setdefault(max(place, 0), code)
        if errors:
            raise TransactionError(errors)
        self.commits += not check_only


def told(value: bytes) -> str | None:
    """A text as the kernel has it, with its NUL; None if it is none of ours: anybody who is root may write one."""
    try:
        return value.rstrip(b"\0").decode()
    except UnicodeError:
        return None


def is_missing(error: OSError) -> bool:
    return error_number(error) == errno.ENOENT


class refusal:
    """Say what could not be done, as a RulesError, when the kernel refuses."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: "Any", error: "Any", trace: "Any") -> None:
        if isinstance(error, OSError):
            raise RulesError(f"{self.what}: {error_text(error)}") from None


class suppress_missing:
    """What is not there any more need not be removed."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: "Any", error: "Any", trace: "Any") -> bool:
        return isinstance(error, OSError) and is_missing(error)
