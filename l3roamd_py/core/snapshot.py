# SPDX-License-Identifier: ISC
"""What a restart must not lose, as a dictionary ready for JSON. No I/O.

Bytes are hexadecimal text, times seconds of CLOCK_BOOTTIME: after a reboot all of it is worthless, and says so by lying
in the future. What the kernel keeps is not here: the mappings of the platnode come from there. A client whose gate the
kernel has closed was let go after the snapshot, so it must be asked for anew.
"""

from l3roamd_py.core.absence import restore_client
from l3roamd_py.core.actions import CloseGate, LeavePlat, RemoveNodeClient, SetCurrentPlat
from l3roamd_py.core.addresses import give_lease
from l3roamd_py.core.client import (
    NEVER,
    NOWHERE,
    UNKNOWN,
    Absent,
    Away,
    Claiming,
    Client,
    Departed,
    Lease,
    Presence,
    Roaming,
    Served,
    former_of,
    make_client,
)
from l3roamd_py.core.departed import end_linger, forget_departed
from l3roamd_py.core.grants import watch_away
from l3roamd_py.core.ipv6 import add_address
from l3roamd_py.core.mapping import Mapping
from l3roamd_py.core.node import Node, is_device, is_usable
from l3roamd_py.core.options import Options
from l3roamd_py.core.platnode import Platnode
from l3roamd_py.core.search import claim
from l3roamd_py.core.token import Token, TokenIssuer
from runtime.rows import hexadecimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from l3roamd_py.core.client import State

VERSION = 2
TIMES_END_S = 1e12  # beyond the longest lease of any boot


def make_snapshot(
    node: Node, platnode: Platnode | None, now_s: float, collect: "Callable[[Iterable[Any]], Any]" = list
) -> "dict[str, Any]":
    """Return the state; {} is a valid one, too. collect: what a table becomes; iter: its rows are made one by one."""
    saved: "dict[str, Any]" = {
        "version": VERSION,
        "now_s": now_s,
        "is_ipv6_only": node.options.own is not None,
        "current_plat": _hex(node.current),
        "clients": collect(_save_client(client) for client in node.clients.values()),
        "departed": collect(_save_departed(node.departed[mac]) for mac in node.departed),
        "away": collect([hexadecimal(ipv4), hexadecimal(each.plat)] for ipv4, each in node.away.items()),
        "granted": collect(
            [hexadecimal(node.granted[ipv4][0]), hexadecimal(ipv4), node.granted[ipv4][1]]
            for ipv4 in node.granted
        ),
        "beside": collect([hexadecimal(mac), hexadecimal(ipv4)] for mac, ipv4 in node.beside),
    }
    if platnode is not None:
        saved["secret"] = hexadecimal(platnode.issuer.secret)
        saved["serial"] = platnode.serial
        saved["spent"] = collect(
            [hexadecimal(home), entry.serial, entry.tokens_until_s]
            for home, entry in platnode.entries.items()
            if entry.at is None
        )
    return saved


def _hex(value: bytes | None) -> str | None:
    return None if value is None else hexadecimal(value)


def _mac(text: str) -> bytes:
    return _sized(text, 6)


def _ipv4(text: str) -> bytes:
    return _sized(text, 4)


def _ipv6(text: str) -> bytes:
    return _sized(text, 16)


def _sized(text: str, size: int) -> bytes:
    value = bytes.fromhex(text)
    if len(value) != size:
        raise ValueError(f"{text} has {len(value)} bytes, expected {size}")
    return value


def _time(value: "Any") -> float:
    if not 0 <= value < TIMES_END_S:
        raise ValueError(f"{value} is no time")
    return float(value)


def _serial(value: "Any") -> int:
    if not 0 <= value < 1 << 64:
        raise ValueError(f"{value} is no serial")
    return int(value)


def _save_lease(lease: Lease | None) -> "list[Any] | None":
    if lease is None:
        return None
    token = hexadecimal(lease.token.encode())
    return [hexadecimal(lease.home), hexadecimal(lease.plat), lease.until_s, token, lease.is_granted]


def _load_lease(saved: "list[Any] | None") -> Lease | None:
    if saved is None:
        return None
    home, plat, until_s, token, is_granted = saved
    return Lease(
        _ipv6(home), _ipv6(plat), _time(until_s), Token.decode(bytes.fromhex(token)), bool(is_granted)
    )


def _save_client(client: Client) -> "list[Any]":
    former = former_of(client)
    addresses = [hexadecimal(address) for address in client.addresses]
    had = None if former is None else _save_departed(former)
    lease = _save_lease(client.lease)
    return [hexadecimal(client.mac), client.state.name, _hex(client.ipv4), lease, addresses, had]


def _save_departed(departed: Departed) -> "list[Any]":
    where = [hexadecimal(departed.mac), hexadecimal(departed.place), departed.is_extended, departed.until_s]
    had = [
        _hex(departed.ipv4),
        _save_lease(departed.lease),
        [hexadecimal(each) for each in departed.addresses],
    ]
    return where + had + [departed.told_s, departed.is_acknowledged]


def _load_departed(saved: "list[Any]") -> Departed:
    mac, place, is_extended, until_s, ipv4, lease, addresses, told_s, is_acknowledged = saved
    departed = Departed(
        _mac(mac),
        _ipv6(place),
        bool(is_extended),
        _time(until_s),
        None if ipv4 is None else _ipv4(ipv4),
        _load_lease(lease),
        [_ipv6(address) for address in addresses[-Options.max_addresses :]],
        Presence(0.0),
    )
    departed.told_s, departed.is_acknowledged = _time(told_s), bool(is_acknowledged)
    return departed


def restore(
    node: Node,
    platnode: Platnode | None,
    saved: "dict[str, Any]",
    opened: set[tuple[bytes, bytes]],
    mappings: list[Mapping],
) -> None:
    """Take a snapshot over. opened: what the kernel's gate lets in; mappings: what the kernel maps.

    Of what is more than we remember now the newest is taken. Raises ValueError, KeyError or TypeError for what is no
    snapshot of this version; nothing is taken over then.
    """
    options = node.options
    saved = _of_this_boot(saved, node.now_s, options.own is not None)
    departed = [_load_departed(entry) for entry in saved["departed"][-options.max_departed :]]
    granted = [
        (_mac(mac), _ipv4(ipv4), _time(until_s))
        for mac, ipv4, until_s in saved["granted"][-options.max_granted :]
    ]
    away = [(_ipv4(ipv4), _ipv6(plat)) for ipv4, plat in saved.get("away", ())]
    beside = [(_mac(mac), _ipv4(ipv4)) for mac, ipv4 in saved.get("beside", [])[-options.max_clients :]]
    clients = [_load_client(node, entry) for entry in saved["clients"][-options.max_clients :]]
    current = None if saved["current_plat"] is None else _ipv6(saved["current_plat"])
    if platnode is not None:
        _restore_platnode(platnode, saved, mappings)
    node.current = current
    if node.current is not None:
        node.do(SetCurrentPlat(node.current))
    for mac, ipv4, until_s in granted:
        if until_s > node.now_s:
            node.granted[ipv4] = (mac, until_s)
    for ipv4, plat in away:
        if ipv4 in node.granted:
            node.away[ipv4] = Away(plat)
            watch_away(node, ipv4)
    for mac, ipv4 in beside:
        node.add_beside(mac, ipv4)
    for entry in departed:
        _restore_departed(node, entry)
    for client in clients:
        _restore_client(node, client, opened)
    for mac, ipv4 in sorted(opened):
        _adopt_opened(node, mac, ipv4)


def _of_this_boot(saved: "dict[str, Any]", now_s: float, is_ipv6_only: bool) -> "dict[str, Any]":
    """Return the snapshot, or an empty one in the place of none, one from before a reboot and one of another kind."""
    if not saved or saved["now_s"] > now_s or saved.get("is_ipv6_only", False) != is_ipv6_only:
        return {"version": VERSION, "current_plat": None, "clients": [], "departed": [], "granted": []}
    if saved["version"] != VERSION:
        raise ValueError(f"a snapshot of version {saved['version']}, expected {VERSION}")
    return saved


def adopt_plats(node: Node, plats: "Iterable[tuple[bytes, bytes]]") -> None:
    """Take over what the kernel's sets of PLATs hold, as (`CLAT::ipv4`, PLAT): back, if its client left since.

    A client that the kernel alone knows has its lease from there: the PLAT's word will tell whether it roamed to us.
    """
    for at, plat in sorted(plats):
        is_ipv4 = node.options.clat is not None and at == node.at(at[12:])
        client = node.client_at(at) if is_ipv4 else node.clients.get(node.owner_of.get(at, b""))
        if client is not None and not is_ipv4:
            client.own_plat = plat
        elif client is None:
            node.do(LeavePlat(at, plat))
        elif client.lease is None:
            _give_lease(node, client, plat)
        elif client.lease.plat == NOWHERE:
            client.lease.plat = plat
    for client in node.clients.values():
        if client.ipv4 is not None and client.lease is None:  # there was no PLAT when it came
            _give_lease(node, client, node.current or NOWHERE)


def _give_lease(node: Node, client: Client, plat: bytes) -> None:
    assert client.ipv4 is not None
    until_s = node.now_s + node.options.unleased_s
    give_lease(node, client, Lease(node.at(client.ipv4), plat, until_s, is_granted=False))


def _load_client(node: Node, saved: "list[Any]") -> Client:
    """Return a client as the snapshot has it, which nobody serves yet."""
    mac, name, ipv4, lease, addresses, had = saved
    former = None if had is None else _load_departed(had)
    states: "dict[str, State]" = {
        state.name: state for state in (Claiming(former), Roaming(), Served(), Absent(NEVER, NEVER))
    }
    client = make_client(_mac(mac), states[name], node.now_s)
    client.ipv4, client.lease = None if ipv4 is None else _ipv4(ipv4), _load_lease(lease)
    client.addresses = [_ipv6(address) for address in addresses]
    return client


def _restore_platnode(platnode: Platnode, saved: "dict[str, Any]", mappings: list[Mapping]) -> None:
    if "secret" in saved:
        platnode.issuer = TokenIssuer(bytes.fromhex(saved["secret"]))
        platnode.serial = _serial(saved["serial"])
        spent, room = saved["spent"], platnode.node.options.max_roams - len(mappings)
        for home, serial, tokens_until_s in spent[max(0, len(spent) - max(0, room)) :]:
            platnode.restore_serial(_ipv6(home), _serial(serial), _time(tokens_until_s))
    platnode.restore(mappings)


def _restore_departed(node: Node, departed: Departed) -> None:
    """Its node-client address lingers no more than a moment, acknowledged or not: who claims it asks no longer."""
    node.departed[departed.mac] = departed
    node.timers.set((forget_departed, departed.mac), departed.until_s)
    node.timers.set((end_linger, departed.mac), node.now_s + node.options.linger_s)


def _restore_client(node: Node, client: Client, opened: set[tuple[bytes, bytes]]) -> None:
    """Serve it as the kernel does, until it is known to be here; if the kernel does not, ask who has it."""
    addresses, lease, ipv4 = client.addresses, client.lease, client.ipv4
    client.addresses, client.lease, client.ipv4 = [], None, None
    node.clients[client.mac] = client
    node.ports.add(client.mac, node.port_of(node.mac_of(client.mac)))
    client.presence.is_routed = True
    for address in addresses:
        add_address(node, client, address)
    is_roaming = isinstance(client.state, Roaming)
    is_ours = ipv4 is None or (node.mac_of(client.mac), ipv4) in opened or is_roaming
    if isinstance(client.state, Claiming) or not is_ours:
        node.do(RemoveNodeClient(node.node_client(client.mac)))
        former = former_of(client)
        if former is None and lease is not None:
            # as if it had gone where we do not know: it must be heard, and has its lease still
            until_s = node.now_s + node.options.departed_s
            former = Departed(client.mac, UNKNOWN, False, until_s, ipv4, lease, addresses, client.presence)
        client.state = Claiming(former)
        node.touch(client.mac)
        return claim(node, client)
    if lease is not None and lease.until_s > node.now_s and not node.is_of_other(client.mac, lease.ipv4):
        give_lease(node, client, lease)
    is_roaming = is_roaming and client.lease is not None
    return restore_client(node, client, Roaming.name if is_roaming else Served.name)


def _adopt_opened(node: Node, mac: bytes, ipv4: bytes) -> None:
    """The kernel lets somebody in of whom the snapshot does not know.

    An IPv6 address is learnt anew, from its next packet.
    """
    client = node.clients.get(node.name_of(mac, ipv4))
    if client is not None and (client.ipv4 == ipv4 or ipv4 in client.addresses):
        return
    is_ours = len(ipv4) == 4 and is_device(mac) and is_usable(ipv4) and node.options.clat is not None
    is_known = client is not None or mac in node.departed or node.is_of_other(mac, ipv4)
    if is_known or not is_ours or len(node.clients) >= node.options.max_clients:
        node.do(CloseGate(mac, ipv4))
        return
    client = node.clients[mac] = make_client(mac, Served(), node.now_s)
    client.ipv4 = ipv4
    node.owner_of[ipv4] = mac
    node.ports.add(mac, node.port_of(mac))
    restore_client(node, client, Served.name)
