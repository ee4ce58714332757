# SPDX-License-Identifier: ISC
"""The netfilter rules that a roam needs, as the daemon sees them: what a backend must offer. No I/O here.

Two backends: nft (stateless, maps on the platnode) and xtables (ipset and NETMAP on the clatnode, conntrack entries
re-homed on the platnode). Each owns what it makes, finds it again after a crash and takes it over.
"""

from runtime.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence
    from typing import Protocol

    from l3roamd_py.core.mapping import Mapping
    from runtime.loop import Poller

    Prefixes = tuple[tuple[bytes, int], ...]  # first address, length
    Pairs = tuple[tuple[bytes, bytes], ...]  # IPv6 address of a client, its care-of address


class RulesError(Exception):
    """The kernel refused; the text is one sentence saying what was asked and what it answered."""


SERIAL_DIGITS = 20  # of 64 bits
PLATS_MAX = 64  # that have rules at once: each is compared with every packet of a client
PREFIX_BYTES = 12  # a /96
NAMES: "dict[tuple[str, bytes], str]" = {}  # made before: MicroPython takes long to make a text
# the bit: of what a host that translates itself sends to a PLAT, to its end. 464xlat's firewall lets that pass
HOST_MARK = 0x8000000
NODES_IPV4 = bytes((192, 0, 0))  # 192.0.0.0/24: nodes' own addresses, no client's to send to
# timeout of an element that somebody took away and we put back: the daemon removes it when the client goes
AGAIN_S = 3600


def spare_plats(plats: "Sequence[bytes]", plat_of: dict[bytes, bytes]) -> list[bytes]:
    """Which PLATs no client uses: they give way when there are too many. Raises RulesError if there is none."""
    used = set(plat_of.values())
    if len(used) >= PLATS_MAX:
        raise RulesError(f"clients use {len(used)} PLATs already, expected at most {PLATS_MAX}")
    return [plat for plat in plats if plat not in used]


def independent_rounds(mappings: "Sequence[Mapping]") -> list[list[int]]:
    """Split mappings (their indices) into rounds in which no address occurs twice, so that each may be done at once.

    Those that share an address stay in their order.
    """
    rounds: list[list[int]] = []
    latest: dict[bytes, int] = {}  # address -> round
    for index, each in enumerate(mappings):
        own = {each.home, each.at, each.was or each.home}
        number = max([latest.get(address, -1) for address in own]) + 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(index)
        for address in own:
            latest[address] = number
    return rounds


def name_of_plat(stem: str, plat: bytes) -> str:
    """The name of a PLAT's set: it has the prefix in it, so that the next daemon knows whose it is."""
    name = NAMES.get((stem, plat))
    if name is None:
        if len(NAMES) >= PLATS_MAX:
            NAMES.clear()
        name = NAMES[stem, plat] = stem + plat[:PREFIX_BYTES].hex()
    return name


def plat_of_name(stem: str, name: str) -> bytes | None:
    """The PLAT whose set has this name, None if it is no such set."""
    try:
        prefix = bytes.fromhex(name[len(stem) :])
    except ValueError:
        return None
    is_plat = len(prefix) == PREFIX_BYTES and name == name_of_plat(stem, prefix)
    return prefix + bytes(4) if is_plat else None


def serial_of(text: str) -> int | None:
    """The serial that a comment says, None if it is none of ours: anybody who is root may write one."""
    if not 1 <= len(text) <= SERIAL_DIGITS or any(c not in "0123456789" for c in text):
        return None
    return int(text)


CHECK_S = 10.0  # between looks whether somebody took rules of ours away
GLANCE_S = 1.0  # between looks at the number of nf_tables' ruleset, which any change makes another
LOOK_SHARE = 100  # looks where no number tells of changes take this part of the time, at most


class Checks:
    """When a backend looks again; on the clock of whoever asks.

    generation: the ruleset's number, or None. look_s: how long a look takes, None if that number tells of all changes.
    """

    def __init__(
        self, generation: "Callable[[], int | None]", look_s: "Callable[[], float | None]" = lambda: None
    ) -> None:
        self.next_s: float | None = None
        self.is_regular = False  # the look that is due, for its time has come: nothing need have changed
        self._generation, self._look_s = generation, look_s
        self._seen, self._regular_s, self._looked_s = generation(), 0.0, 0.0

    def is_due(self, now_s: float) -> bool:
        """Whether to look now; the first time that somebody asks all is there still."""
        if self.next_s is not None and now_s < self.next_s:
            return False
        is_first, seen, look_s = self.next_s is None, self._generation(), self._look_s()
        pause_s = CHECK_S if look_s is None else min(CHECK_S, max(GLANCE_S, LOOK_SHARE * look_s))
        self.is_regular = not is_first and now_s >= self._regular_s
        is_other = seen != self._seen or (look_s is not None and now_s >= self._looked_s + pause_s)
        is_due = self.is_regular or (not is_first and is_other)
        self._seen = seen
        if is_first or self.is_regular:
            self._regular_s = now_s + CHECK_S
        if is_first or is_due:
            self._looked_s = now_s
        self.next_s = now_s + (pause_s if seen is None else GLANCE_S)
        return is_due


@record("mac address")
class Arrival:
    """A packet that came to the gate and waits there. address: its source, IPv4 or IPv6."""

    mac: bytes
    address: bytes


if TYPE_CHECKING:

    class Onward(Protocol):
        """What comes for clients that left. Raises RulesError from everything.

        for_s: seconds, after which the kernel ends it by itself.
        """

        def send_on(self, pairs: Pairs, for_s: float) -> None:
            """Send what comes for an address on to its care-of address."""
            ...

        def stop_sending_on(self, address: bytes) -> None: ...
        def add_care_of(self, pairs: Pairs, for_s: float) -> None:
            """Take what comes for a care-of address for its client's."""
            ...

        def drop_care_of(self, address: bytes) -> None:
            """End it, if there is one."""
            ...

        def drop_other_care_of(self, addresses: Container[bytes]) -> None:
            """End those of all other addresses, after a restart."""
            ...

    class Hosts(Protocol):
        """The rules for clients that translate themselves."""

        plat_of: dict[bytes, bytes]  # see ClatRules.own_plat_of

    class ClatRules(Protocol):
        """On a clatnode: the gate, and which client uses which PLAT. Raises RulesError from everything."""

        plat_of: dict[bytes, bytes]  # client -> PLAT; once set up, what the kernel holds, for a restart
        checks: Checks  # when tick wants to be called
        prefixes: "Prefixes"
        notices: list[str]  # what others did to our rules, for the log; whoever reads them empties this

        @property
        def onward(self) -> Onward:
            """What comes for clients that left."""
            ...

        @property
        def behind(self) -> list[str]:
            """Where rules of others stand before ours and may let packets pass by them, as sentences."""
            ...

        def set_up(self) -> None: ...
        def tear_down(self) -> None: ...
        def attend(self, poller: "Poller", callback: "Callable[[], object]") -> None:
            """Have the callback called when packets arrive at the gate, or go_on has something to do."""
            ...

        @property
        def has_arrived(self) -> bool:
            """Whether read_arrivals has something to tell that the callback was not called for."""
            ...

        def go_on(self) -> None:
            """Go on with what was begun: programs that write rules are not waited for."""
            ...

        def tick(self, now_s: float) -> None:
            """Look, at times, whether all is there still, and make again what somebody took away."""
            ...

        def read_arrivals(self) -> list[Arrival]:
            """Take what arrived; bounded per client and in all, the rest is dropped and counted."""
            ...

        def set_prefixes(self, prefixes: "Prefixes") -> None:
            """Hold IPv6 of clients, too: what comes with a source inside these prefixes."""
            ...

        clat_range: bytes | None  # what the CLAT device sends there keeps its destination; before set_up

        @property
        def seeks_ipv6(self) -> bool:
            """Whether packets wait that only an unreachable route leads away, inside the prefixes."""
            ...

        def set_network(self, own: bytes, length: int) -> None:
            """Hold what clients send to addresses of their IPv4 network but those that are reached, and our own."""
            ...

        def read_wanted(self) -> list[tuple[int, bytes, bytes, bytes]]:
            """Who has packets for whom: index of the device, MAC, source, destination."""
            ...

        def pass_wanted(self, address: bytes, is_lasting: bool) -> None: ...
        def queue_wanted(self, address: bytes) -> None: ...
        def refuse_wanted(self, address: bytes) -> bytes:
            """Drop what waits for an address; return the beginning of the newest packet, "" if there is none."""
            ...

        def open_gate(self, mac: bytes, address: bytes) -> None: ...
        def close_gate(self, mac: bytes, address: bytes) -> None: ...
        def hand_on(self) -> None:
            """Do what must be done before another node is told of clients that left."""
            ...

        def refuse(self, mac: bytes, address: bytes) -> None: ...
        def opened(self) -> set[tuple[bytes, bytes]]:
            """What is let in according to the kernel, as (mac, address): for a restart."""
            ...

        def set_hosts(self, pref64: bytes, plat_range: bytes, own_exit: bytes | None = None) -> None:
            """Have clients that translate themselves send to pref64, before set_up. own_exit: this node's PLAT."""
            ...

        @property
        def own_plat_of(self) -> dict[bytes, bytes]:
            """IPv6 address of such a client -> PLAT, if it is not the node's."""
            ...

        def use_plats(self, clients: Iterable[bytes], plat: bytes) -> None:
            """Send what these IPv6 addresses send to pref64 to a PLAT that is not the node's."""
            ...

        def hosts(self) -> list[bytes] | None:
            """Whose IPv6 addresses have sent something to pref64 lately; None: not known."""
            ...

        def use_plat(self, client: bytes, plat: bytes, lease_s: int) -> None: ...
        def leave_plat(self, client: bytes, plat: bytes) -> None: ...
        def set_current_plat(self, plat: bytes | None) -> None: ...
        def drop_plat(self, plat: bytes) -> None: ...
        def counters(self) -> dict[str, int]:
            """queued, released, dropped at the gate."""
            ...

    class PlatRules(Protocol):
        """On a platnode: where the roamed clients are."""

        device: str
        plat: bytes
        checks: Checks  # when tick wants to be called

        def set_up(self) -> None: ...
        def tear_down(self) -> None: ...
        def map_clients(self, mappings: Sequence[Mapping]) -> list[RulesError | None]:
            """Install or replace mappings, each atomically; return for each what went wrong.

            In their order; one whose client is at its home is removed.
            """
            ...

        def tick(self, now_s: float) -> bool:
            """Look, at times, whether all is there still; whether it had to be made again, and so holds no mapping."""
            ...

        def mappings(self) -> Iterable[Mapping]:
            """What the kernel holds, for a restart; was is None."""
            ...
