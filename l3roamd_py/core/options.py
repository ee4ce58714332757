# SPDX-License-Identifier: ISC
"""What the core is told at its start: who this node is, and every time and bound in one place. No I/O."""

import os

from xlat464.address import contains, format_ipv6, mask
from xlat464.node import CLIENT_LENGTH, NODE_LENGTH, RANGE_LENGTH, management_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ROAMS_MOST = 131072


class Options:
    """Prefixes are their first address, 16 bytes; clat and plat are this node's own /96, None without that role.

    prefixes: the clients' IPv6 prefixes, each with its length. random: makes nonces and the secret, of so many bytes.
    others: what is to differ from the values below.

    Offsets (`_at_s`) count from a message's first copy; after the last one comes the give-up.
    """

    is_roam_auth_required = True
    sends_on = True  # what comes for a client that left
    # address of a node without CLAT and PLAT: it serves IPv6 alone, and speaks as l3roamd version 0
    own: bytes | None = None
    told_plat: bytes | None = None  # that INFO names for clients without a lease; nobody relies upon it
    pref64: bytes | None = None  # the /96 of clients that translate themselves, see own_plats.py
    own_plat_wait_s = 0.5  # how long IPv6 of one that comes waits for INFO, which says where its PLAT is
    partners: tuple[bytes, ...] = ()  # addresses of nodes of the same owner, see partners.py

    claim_at_s = (0, 0.03, 0.06, 0.12, 0.24, 0.48)
    claim_nodes_copies = (3, 5)  # of these, counted from 0, which go to every clatnode too
    claim_resend_s = 0.02  # the least between two copies when the client is seen again meanwhile
    claim_give_up_s = 1.0  # then the client is new
    unrouted_give_up_s = 0.06  # then it is, if babel knows nobody to ask and no neighbour answers
    onward_after_s = 0.06  # then neighbours may pass on a CLAIM for a client that they let go
    group_ttl = 3  # of a CLAIM to all neighbours: who let the client go may pass it on
    arrival_rounds = 3  # CLAIMs for a client that we let go, until it is heard or not taken to be here
    legacy_grace_s = 0.1  # a better INFO may come after one of l3roamd version 0
    legacy_remind_s = 2.0  # then such a node is claimed from once more,
    legacy_reminders = 5  # until it has answered, each after twice the time of the one before
    legacy_again_s = 0.3
    claim_late_s = 5.0  # an INFO may still come this long after its CLAIM
    anew_late_s = 1.5  # but not when the client has begun anew for so long: that is worth more then
    info_at_s = (0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 5)
    info_deaf_s = 0.2  # without an ACK for so long, INFO goes to whoever else claims the client
    roam_at_s = (0, 0.03, 0.06, 0.12, 0.24, 0.4, 0.6, 0.8)
    expect_s = 1.0  # how long a PLAT waits for a ROAM that another than the client's node is to send
    max_expected = 4096
    roam_give_up_s = 1.0  # then the client gets new connectivity
    token_at_s = (0, 0.2, 0.5, 1, 2, 4)
    token_again_s = 60.0  # after all of these
    plat_patience_s = 2.0  # a PLAT without a route for so long is none
    token_pace_s = 0.025  # between first requests when many clients change their PLAT at once
    probes = 2  # questions to a client that another node claims,
    probe_again_s = 0.004  # the second so long after the first, or after 0.4 of the time that it has
    probe_give_up_s = 0.01  # a client that has not answered ARP by then is gone,
    probe_times = 3.0  # or so many times what its answer usually takes,
    probe_most_s = 0.15  # but no later than that;
    probe_least_s = 0.003  # or sooner: so many times the longest of its answers, if some are known
    measure_after_s = 1.1  # above regret_s; between questions to who came, to learn what its answer takes
    measures = 3
    regret_s = 1.0  # an answer that came so late still shows that a client was let go wrongly
    silent_per_s = 16.0  # CLAIMs that are believed because a client was silent
    silent_burst = 64.0
    asked_s = 1.0  # how long another's CLAIM waits for our own ROAM
    linger_s = 4.0  # the node-client address stays so that babel has the new one first
    send_on_s = 30.0  # routes of a client that left stay, for the same reason,
    sent_on_s = 36.0  # what comes for it is sent on,
    care_of_s = 60.0  # and who has it now expects that: for longer than it happens
    sendings_on_per_s = 8.0  # addresses
    sendings_on_burst = 256.0
    departed_s = 300.0  # how long we remember where a client went
    restored_again_s = 0.04  # between two questions to a client that a restart restored
    restored_give_up_s = 0.12  # then it is not here,
    restored_pace_s = 0.002  # or as much later for each of them: that many answers are to be read
    claim_all_at_s = (0, 0.1, 0.3)  # CLAIMs for one that answered, to whoever has it too
    restored_quiet_s = 0.6  # after that PLATs are asked: who has a client too answers first
    idle_s = 300.0  # then we ask whether it is still here
    idle_probe_s = 1.0
    idle_probes = 3
    unannounced_s = 20.0  # without its address, up to half as long again: babel tells all it knows every 16 s
    look_again_s = 3.0  # the same later, when babel has known for long who else has it
    announced_s = 60.0  # with it, up to twice as long and each time for longer, until we look again
    elsewhere_again_s = 2.5
    doubt_after_s = 20.0  # a newcomer came, up to twice that, where not all nodes could be asked,
    doubt_s = 0.15  # we claim it twice from where babel leads: before babel has told others
    elsewhere_patience_s = 10.0  # a client that sleeps answers ARP by then
    sweep_wait_s = 2.0  # after a node came back, up to twice that, all clients are asked
    sweep_pause_s = 60.0  # and no sooner again
    sweep_pace_s = 0.025  # between two clients
    away_margin_s = 30.0  # before a lease ends, we ask whether the client roams
    away_again_s = 2.0  # between two such questions
    unleased_s = 600  # lease of an address that no DHCP server of ours gave
    contest_at_s = (
        0,
        0.1,
        0.3,
        0.7,
    )  # questions for an address that another client is to have; then it is free
    contest_again_s = 10.0  # between two such contests, for who only uses it
    beside_per_s = 2.0  # addresses that a client uses beside its own, and is asked about
    beside_burst = 16.0
    refuse_pause_s = 1.0  # the least between two addresses of a client that the gate is told to refuse
    node_asks_per_s = 5.0  # CLAIMs that go to every clatnode
    node_asks_burst = 20.0
    claim_ttl = 8  # nodes that may pass a CLAIM on

    prepare_again_s = 60.0  # between two PREPARE to a partner
    prepare_anew_s = 1.0  # after a node came to the mesh: the way back may come later
    prepares_per_s = 1 / 30  # of one, after which it is told of all clients
    max_prepared = 1024  # of its clients

    seeks_per_s = 10.0  # of others, asked for on our bridge and passed on
    seeks_burst = 40.0
    seek_again_s = (0.5, 2.0)  # after the last copy: SEEK and the question that follows may both be lost

    # searches of our own: for an IPv4 address, and where its client is said to have gone
    seek_at_s = (0, 0.2, 0.6, 1.1)
    place_at_s = (0, 0.03, 0.08, 0.2, 0.5)
    seek_give_up_s = 1.5
    seek6_at_s = (0, 1.0, 2.5)  # for an IPv6 address, to which babel leads when its client is found
    seek6_give_up_s = 5.0
    check_route_s = 0.1  # between two looks whether it does
    seek_ttl = 32  # nodes that may pass a SEEK on
    missing_s = 3.0  # so long nobody has what was not found
    own_seeks_per_s = 2.0  # searches
    own_seeks_burst = 16.0
    client_seeks_per_s = 0.5  # of these, for one client
    client_seeks_burst = 8.0
    max_sought = 64
    max_askers = 16  # clients that wait for one address
    pair_at_s = (0, 0.1, 0.3)
    pair_give_up_s = 1.0
    pair_check_s = 30.0  # whether a pair is used, and its node still has the client
    pair_idle_s = 75.0  # then it goes
    max_pairs = 128

    max_lease_s = 86400
    max_clients = 4096
    max_claims = 512
    max_port_clients = 512  # at one port of the bridge
    max_port_newcomers = 128  # of these, that have not proven to be here
    stranger_asks_per_s = 64.0  # questions to those at one port for whom it has no room
    max_ports = 8192  # MACs whose port of the bridge is known
    max_departed = 4096
    max_granted = 4096
    max_roam_s = 3600  # of a mapping; who has the client renews it after half of that
    max_roams = ROAMS_MOST  # homes that a platnode remembers; the command line takes less on a small machine
    max_roams_of_node = 4096  # of these: of one clatnode, and mapped to one
    max_addresses = 32  # of IPv6, of a client
    addresses_per_s = 0.25  # new ones of a client,
    addresses_burst = 32.0  # and at once
    verify_again_s = 0.25  # between two questions for one that somebody else uses too,
    silent_again_s = 1.0  # or that the kernel has found silent
    pinned_s = 600.0  # how long a neighbour stays as it is, after somebody told the kernel otherwise
    verify_times = 3  # of these, then it is nobody's;
    silent_s = 300.0  # but for so long it is tried again when its client is seen,
    silent_retry_s = 20.0  # at most so often
    max_silent = 15  # of a client
    max_relayed = 512  # messages of which we know that they were here
    max_senders = 4096
    rate_per_s = 50.0  # datagrams from one address
    burst = 100.0
    subject_rate_per_s = 20.0  # above that: CLAIMs and the like for one client from one address
    subject_burst = 20.0

    def __init__(
        self,
        clat_range: bytes,
        plat_range: bytes,
        node_client_prefix: bytes,
        clat: bytes | None = None,
        plat: bytes | None = None,
        prefixes: tuple[tuple[bytes, int], ...] = (),
        random: "Callable[[int], bytes]" = os.urandom,
        **others: "Any",
    ) -> None:
        """Raises ValueError for prefixes that are none of a node's, TypeError for an option that there is not."""
        self.clat_range, self.plat_range, self.node_client_prefix = clat_range, plat_range, node_client_prefix
        self.clat, self.plat, self.prefixes, self.random = clat, plat, prefixes, random
        for name, value in others.items():
            if not hasattr(self, name):
                raise TypeError(f"{name} is no option")
            setattr(self, name, value)
        self._check()

    def _check(self) -> None:
        for name, length in (
            ("clat_range", RANGE_LENGTH),
            ("plat_range", RANGE_LENGTH),
            ("node_client_prefix", CLIENT_LENGTH),
        ):
            prefix = getattr(self, name)
            if len(prefix) != 16 or mask(prefix, length) != prefix:
                raise ValueError(f"{name} is not the first address of a /{length}: {prefix.hex()}")
        for prefix, around in ((self.clat, self.clat_range), (self.plat, self.plat_range)):
            if prefix is not None and (
                mask(prefix, NODE_LENGTH) != prefix or not contains(around, RANGE_LENGTH, prefix)
            ):
                raise ValueError(f"{prefix.hex()} is not a /96 in its range")
        for partner in self.partners:
            is_node = management_address(mask(partner, NODE_LENGTH)) == partner
            if not is_node or not contains(self.clat_range, RANGE_LENGTH, partner):
                raise ValueError(f"{format_ipv6(partner)} is no clatnode's address, as `status` shows it")
        if self.clat is None and self.plat is None and self.own is None:
            raise ValueError("a node needs a CLAT prefix, a PLAT prefix or an address")

    @property
    def has_clients(self) -> bool:
        return self.clat is not None or self.own is not None

    @property
    def address(self) -> bytes:
        """Our own address: sender and source of all that we send."""
        if self.own is not None:
            return self.own
        prefix = self.plat if self.clat is None else self.clat
        assert prefix is not None
        address: bytes = management_address(prefix)
        return address
