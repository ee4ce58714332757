# SPDX-License-Identifier: ISC
"""What a daemon before us left in the kernel: what the restored clients do not need goes; `flush` removes all."""

from l3roamd_py.core.mapping import Mapping
from l3roamd_py.core.node import Node
from l3roamd_py.core.wire import PORT
from l3roamd_py.kernel.ndp import LEARNT, hear_groups
from l3roamd_py.kernel.netlink import KernelError
from l3roamd_py.kernel.network import Network
from l3roamd_py.kernel.translator import Translator
from l3roamd_py.kernel.udp import PortInUse, Udp
from l3roamd_py.netfilter import choice
from l3roamd_py.netfilter.rules import RulesError
from l3roamd_py.pairs import remove_left, start_script
from l3roamd_py.performer import MAPS_MAX
from runtime import files
from runtime.lock import Lock
from runtime.loop import BootClock
from runtime.server import SocketError
from runtime.sockets import error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from l3roamd_py.netfilter.rules import ClatRules, PlatRules


class FlushError(Exception):
    """Something could not be removed; one sentence. What was removed stays removed."""


def remove_others(kernel: Network, node: Node | None) -> list[KernelError]:
    """Remove what is ours in the kernel and no client's of the node; what is a client's is known as ours again.

    Return what could not be done: it keeps nobody from the rest.
    """
    clients = [] if node is None else list(node.clients.values())
    departed = [] if node is None else list(node.departed)  # their addresses linger
    wanted = set() if node is None else {node.node_client(mac) for mac in list(node.clients) + departed}
    tied = set() if node is None else {(node.mac_of(client.mac), client.ipv4) for client in clients}
    routed = {(address, kernel.table) for client in clients for address in client.addresses}

    def tie(pair: tuple[bytes, bytes]) -> None:
        (kernel.pin if pair in tied else kernel.unpin)(*pair)

    failures: list[KernelError] = []
    _each(failures, lambda: kernel.addresses() - wanted, kernel.remove_address)
    _each(failures, kernel.pinned, tie)
    _each(failures, lambda: kernel.routes() - routed, lambda route: kernel.drop_route(*route))
    return failures


def _each(failures: list[KernelError], listed: "Callable[[], set]", put_right: "Callable") -> None:
    """Do something for each of what the kernel lists, and note what it refuses."""
    found: set = set()
    try:
        found = listed()
    except KernelError as error:
        failures.append(error)
    for each in found:
        try:
            put_right(each)
        except KernelError as error:
            failures.append(error)


def flush(socket: str, state: str, client_device: str, node_client_prefix: bytes | None) -> None:
    """Remove everything that a daemon made. Raises FlushError."""
    try:
        lock = Lock(socket, "l3roamd_py")
        _need_no_daemon()
        for rules in _rules_of_both_kinds(client_device):
            rules.tear_down()
        kernel = Network(client_device, node_client_prefix)
        for error in remove_others(kernel, None) + kernel.other_routes.follow_prefixes(()):
            raise error
        for sentence in remove_left(kernel, Translator("clat", None, start_script, BootClock().now_s)):
            raise FlushError(sentence)
        hear_groups(client_device, LEARNT)
        files.remove(state)
        files.remove(socket)
        lock.release()
    except (SocketError, RulesError, KernelError) as error:
        raise FlushError(str(error)) from None
    except OSError as error:
        raise FlushError(f"{state} or {socket} cannot be removed: {error_text(error)}") from None


def _need_no_daemon() -> None:
    """Raise FlushError if a daemon serves this node: its socket may be another than we were told."""
    try:
        Udp().close()
    except PortInUse:
        raise FlushError(f"a roaming daemon has UDP port {PORT}, expected none: end it first") from None
    except OSError:
        pass


def remove_other_kind(
    clat: "ClatRules | None", plat: "PlatRules | None"
) -> "tuple[list[RulesError], list[Mapping]]":
    """Remove rules of the other backend, which a daemon before us has used.

    Return what could not be done, and who has roamed. Both at once would keep clients out, or send them to the wrong
    PLAT.
    """
    failures: list[RulesError] = []
    mappings: list[Mapping] = []
    for kind in choice.KINDS:
        if not choice.has_left(kind):
            continue
        backend = choice.rules_of(kind)
        if isinstance(clat, backend) or isinstance(plat, backend):
            continue
        own = ("plat", bytes(16)) if plat is None else (plat.device, plat.plat)
        others = backend[1](*own)
        if plat is not None:
            try:
                mappings += others.mappings()
                # their connections are known by their homes then, whoever knows them next
                failures += map_all(others, [Mapping(m.home, m.home, m.at, 0, 0) for m in mappings])
            except RulesError as error:
                failures.append(error)
        for rules in (backend[0]("", "clat"), others):
            try:
                rules.tear_down()
            except RulesError as error:
                failures.append(error)
            rules.close()
    return failures, mappings


def map_all(rules: "PlatRules", mappings: "Sequence[Mapping]") -> list[RulesError]:
    """Map many clients; return what could not be done."""
    results: list[RulesError | None] = []
    for i in range(0, len(mappings), MAPS_MAX):
        results += rules.map_clients(mappings[i : i + MAPS_MAX])
    return [error for error in results if error is not None]


def _rules_of_both_kinds(client_device: str) -> "Iterator[ClatRules | PlatRules]":
    """The rules that may be there: whoever changed --rules has both. By name, so the devices do not matter."""
    for kind in choice.KINDS:
        try:
            clat_rules, plat_rules = choice.choose_rules(kind)
        except RulesError:
            continue  # the kernel cannot do it, so it has none
        yield clat_rules(client_device, "clat")
        yield plat_rules("plat", bytes(16))
