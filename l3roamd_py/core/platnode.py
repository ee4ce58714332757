# SPDX-License-Identifier: ISC
"""Role C: the platnode. Gives tokens, takes ROAMs, keeps where each roamed home is. No I/O.

    what a ROAM says                                      answer
    plat is not ours                                      NOT_A_PLATNODE
    home or at outside clat_range, two IPv4 addresses     OUT_OF_RANGE
    the token is not ours, or not this home's             BAD_TOKEN
    it is over                                            EXPIRED
    the serial is below the mapping's                     STALE, with where the home is mapped
    the serial is the mapping's, `at` too                 a duplicate: the same answer again
    the serial is the mapping's, `at` is another          the same
    another than the node of `at` sent it, unexpected     NOT_PROVEN
    `at` is home, or no lease left                        unmap, OK
    nothing proves that the prefix of `at` is B's         NOT_PROVEN, with a proof for its owner
    as many as one node may have are mapped to B          FULL
    otherwise                                             map, OK with a fresh token

Answers go to the management address of the prefix that the message is about, never to where it came from. A node that
does not own the prefix gets none. Nor can it have mapped what comes from another's prefix. The proof that `at` is the
sender's is a token for the management address there, which only its owner hears. An entry without `at` is there for its
serial alone: a ROAM from before must not work again while its token is good.

Who had the client may send ROAM in B's place and without the proof, once, if B said so before by EXPECT, with the proof
and the nonce of its CLAIM. If not it may answer a CLAIM of long ago, from a node that wants nothing any more.

No node can fill the table. Each has room for so many homes, and its oldest give way. When all together are too many,
those of the node that has the most give way. A mapping holds for an hour at most, and its node renews it: else it ends.

A node may ask for a token for an address to which another home is mapped: it has that client and has forgotten so. It
gets the token for that home. Nothing is unmapped because of a request, which anybody can send in another's name.
"""

from l3roamd_py.core import wire
from l3roamd_py.core.actions import MapClient, Send, UnmapClient
from l3roamd_py.core.groups import NODE_BYTES, Groups
from l3roamd_py.core.mapping import Mapping
from l3roamd_py.core.node import Node, node_of
from l3roamd_py.core.timers import Timers
from l3roamd_py.core.token import NO_TOKEN, SECRET_SIZE, Token, TokenIssuer
from runtime.ordered import OldestFirst, oldest


class Entry:
    """at: where the home is mapped to, None if it is not. until_s: of the mapping; tokens_until_s: of its tokens."""

    __slots__ = ("at", "fresh_expiry_s", "fresh_serial", "serial", "tokens_until_s", "until_s")

    def __init__(self, at: bytes | None, serial: int, until_s: float, tokens_until_s: float) -> None:
        self.at, self.serial, self.until_s, self.tokens_until_s = at, serial, until_s, tokens_until_s
        self.fresh_serial = self.fresh_expiry_s = 0  # of the token in our answer


class Platnode:
    def __init__(self, node: Node, plat: bytes) -> None:
        self.node = node
        self.plat = plat
        self.issuer = TokenIssuer(node.options.random(SECRET_SIZE))
        self.serial = 0  # of the newest token
        self.entries: dict[bytes, Entry] = {}
        self.home_at: OldestFirst[bytes, bytes] = OldestFirst()  # `at`: the home that is mapped there
        self.groups = Groups()  # the homes of all entries
        self.places: OldestFirst[bytes, int] = OldestFirst()  # how many homes are mapped to a node
        # `at` that its node expects to be named by another one -> the nonce of that ROAM, until when
        self.expected: "OldestFirst[bytes, tuple[int, float]]" = OldestFirst()
        self.timers: Timers[bytes] = Timers()

    def on_token_request(self, header: wire.Header, request: wire.TokenRequest) -> None:
        node, lease = self.node, request.lease
        if not node.is_of_client(lease.home) and not node.is_node(lease.home):
            return node.count("token_requests_out_of_range")
        if lease.plat != self.plat:
            return self._grant(header, lease, wire.NOT_A_PLATNODE)
        node.count("tokens_made")
        return self._grant(header, lease, wire.OK)

    def _grant(self, header: wire.Header, lease: wire.Lease, reason: int) -> None:
        node = self.node
        lease_s = min(lease.lease_s, node.options.max_lease_s)
        home, at, token = lease.home, None, NO_TOKEN
        if reason == wire.OK:
            home = self.home_at.get(lease.home, lease.home)
            entry = self.entries.get(home)
            at = None if entry is None else entry.at
            token = self.issuer.make(home, self._next_serial(), int(node.now_s) + lease_s)
        answer = wire.Lease(home, lease.plat, lease_s, token)
        self._answer(lease.home, wire.TokenGrant(answer, header.nonce, reason, at))

    def on_expect(self, expect: wire.Expect, nonce: int) -> None:
        """A node says that it wants a client at `at`: who had the client sends ROAM, without waiting for that node."""
        node = self.node
        if not self._is_word_of(expect.at, expect.proof):
            return node.count("expects_not_proven")
        self.expected.pop(expect.at, None)
        if len(self.expected) >= node.options.max_expected:
            del self.expected[oldest(self.expected)]
        self.expected[expect.at] = nonce, node.now_s + node.options.expect_s
        return node.count("expects")

    def on_roam(self, header: wire.Header, roam: wire.Roam) -> None:
        node, lease, at = self.node, roam.lease, roam.at
        if not node.is_of_client(at):
            return node.count("roams_out_of_range")
        entry, expected = self.entries.get(lease.home), self.expected.get(at, (-1, 0.0))
        is_expected = expected[0] == header.nonce and expected[1] > node.now_s
        is_own = header.sender == node_of(at)
        reason = self._judge(roam, entry, is_expected, is_own)
        if reason != wire.OK:
            node.count("roams_" + wire.REASONS[reason].replace(" ", "_"))
            return self._refuse(header, roam, reason, entry)
        if expected[1] and (is_expected or is_own):
            del self.expected[at]
        if entry is not None and entry.fresh_serial and entry.serial == self._serial_of(lease):
            node.count("roams_repeated")
        else:
            entry = self._note(lease, at, entry)
        lease_s = self._lease_s(lease)
        fresh = self.issuer.make(lease.home, entry.fresh_serial, entry.fresh_expiry_s)
        granted = wire.Lease(lease.home, self.plat, lease_s, fresh)
        done = self._build(at, wire.RoamAck(granted, at, header.nonce, wire.OK))
        return self._carry_out(roam, entry, done)

    def _judge(self, roam: wire.Roam, entry: Entry | None, is_expected: bool, is_own: bool) -> int:
        """Return the reason for the answer; see the module's table. is_own: it is of the node that `at` is at."""
        node, lease, at, token = self.node, roam.lease, roam.at, roam.lease.token
        if lease.plat != self.plat:
            return wire.NOT_A_PLATNODE
        if not node.is_of_client(lease.home) or lease.home[12:] != at[12:]:
            return wire.OUT_OF_RANGE
        if not is_own and not is_expected:
            return wire.NOT_PROVEN
        if node.options.is_roam_auth_required:
            if not self.is_signed(lease):
                return wire.BAD_TOKEN
            if token.expiry_s <= node.now_s:
                return wire.EXPIRED
            if entry is not None and (
                token.serial < entry.serial
                or (token.serial == entry.serial and at != (entry.at or lease.home))
            ):
                return wire.STALE
            if not is_expected and not self._is_proven(roam, entry):
                return wire.NOT_PROVEN
        return wire.OK if self._make_room(lease.home, at, entry) else wire.FULL

    def _lease_s(self, lease: wire.Lease) -> int:
        """Return how long a mapping for this lease holds."""
        return min(lease.lease_s, self.node.options.max_roam_s)

    def _serial_of(self, lease: wire.Lease) -> int | None:
        """Return which one of our tokens a lease has; None where anybody may say any."""
        return lease.token.serial if self.node.options.is_roam_auth_required else None

    def is_signed(self, lease: wire.Lease) -> bool:
        """Return whether a lease has a token of ours, old or not."""
        return self.issuer.is_ours(lease.home, lease.token)

    def _is_proven(self, roam: wire.Roam, entry: Entry | None) -> bool:
        """Return whether the owner of `at` wants what this ROAM does there, if it does anything there."""
        if (
            roam.at == roam.lease.home
            or not roam.lease.lease_s
            or (entry is not None and entry.at == roam.at)
        ):
            return True
        return roam.proof is not None and self._is_word_of(roam.at, roam.proof)

    def _is_word_of(self, at: bytes, proof: Token) -> bool:
        """Return whether a proof says that its sender owns the prefix of `at`."""
        return proof.expiry_s > self.node.now_s and self.issuer.is_ours(node_of(at), proof)

    def prove(self, at: bytes) -> Token:
        """Return the proof that a prefix belongs to whoever hears us there."""
        expiry_s = int(self.node.now_s) + self.node.options.max_lease_s
        return self.issuer.make(node_of(at), self._next_serial(), expiry_s)

    def _make_room(self, home: bytes, at: bytes, entry: Entry | None) -> bool:
        """Return whether there is room for this home at this place; who has too many loses the oldest for it."""
        most = self.node.options.max_roams_of_node
        is_there = entry is not None and entry.at is not None and entry.at[:NODE_BYTES] == at[:NODE_BYTES]
        if at != home and not is_there and self.places.get(at[:NODE_BYTES], 0) >= most:
            return False
        if entry is not None:
            return True
        if self.groups.count(home) >= most:
            self._evict(self.groups.oldest_beside(home))
        elif len(self.entries) >= self.node.options.max_roams:
            self._evict(self.groups.oldest_of_largest())
        return True

    def _evict(self, home: bytes) -> None:
        at = self.entries[home].at
        if at is None:
            self.node.count("serials_forgotten")
        else:
            self.node.count("roams_evicted")
            self.node.do(UnmapClient(home, at))
        self._forget(home)

    def _note(self, lease: wire.Lease, at: bytes, old: Entry | None) -> Entry:
        """Remember a ROAM that is accepted. The mapping goes to the kernel, which forgets it by itself."""
        node = self.node
        lease_s = self._lease_s(lease)
        expiry_s = int(node.now_s) + lease_s + 1
        tokens_until_s = max(lease.token.expiry_s, expiry_s, old.tokens_until_s if old else 0)
        tokens_until_s = min(tokens_until_s, node.now_s + node.options.max_lease_s + 1)
        is_mapped = at != lease.home and lease_s > 0
        entry = Entry(
            old.at if old else None, self._serial_of(lease) or 0, node.now_s + lease_s, tokens_until_s
        )
        entry.fresh_serial, entry.fresh_expiry_s = self._next_serial(), expiry_s
        self.entries[lease.home] = entry
        self.timers.set(lease.home, entry.until_s if is_mapped else tokens_until_s)
        return entry

    def _carry_out(self, roam: wire.Roam, entry: Entry, done: Send) -> None:
        """Map or unmap. A duplicate does it again: that costs little, and mends what the kernel refused."""
        node, home, at, was = self.node, roam.lease.home, roam.at, entry.at
        lease_s = self._lease_s(roam.lease)
        if at != home and lease_s:
            self._displace(home, at)
            self._place(home, entry, at)
            node.do(MapClient(home, at, was, lease_s, entry.serial, done))
            return node.count("roams_mapped")
        if at == home:
            self._displace(home, at)
        self._place(home, entry, None)
        node.do(UnmapClient(home, was, done))  # a duplicate's answer waits for the first one's mapping too
        node.changes += 1
        return node.count("roams_home")

    def _refuse(self, header: wire.Header, roam: wire.Roam, reason: int, entry: Entry | None) -> None:
        lease, place = _without_token(roam.lease), None
        if reason == wire.NOT_PROVEN:
            lease = wire.Lease(lease.home, lease.plat, lease.lease_s, self.prove(roam.at))
        if reason == wire.STALE and entry is not None:
            place = entry.at or lease.home  # whose token is later
        self._answer(roam.at, wire.RoamAck(lease, roam.at, header.nonce, reason, place))

    def _answer(self, of: bytes, body: wire.Body) -> None:
        self.node.do(self._build(of, body))

    def _build(self, of: bytes, body: wire.Body) -> Send:
        node = self.node
        return Send(node_of(of), node.encode(body), node.address)

    def _next_serial(self) -> int:
        self.serial = max(self.serial + 1, int(self.node.now_s * 1000))
        return self.serial

    def expire(self) -> None:
        """Forget the mappings and serials that are over; the kernel has forgotten the mappings already."""
        node = self.node
        for home in self.timers.pop_due(node.now_s):
            entry = self.entries[home]
            self._place(home, entry, None)
            if entry.tokens_until_s > node.now_s:
                self.timers.set(home, entry.tokens_until_s)
            else:
                self._forget(home)

    def _place(self, home: bytes, entry: Entry, at: bytes | None) -> None:
        """Note where a home is mapped to now, None: nowhere."""
        if entry.at is not None:
            self._leave(home, entry.at)
        entry.at = at
        self.groups.put(home, at is not None)
        if at is not None:
            self.home_at[at] = home
            self.places[at[:NODE_BYTES]] = self.places.get(at[:NODE_BYTES], 0) + 1

    def _displace(self, home: bytes, at: bytes) -> None:
        """Whoever was where a home is mapped to now is not there any more: its node says so."""
        other = self.home_at.get(at, home)
        if other != home:
            entry = self.entries[other]
            self._place(other, entry, None)
            self.timers.set(other, entry.tokens_until_s)
            self.node.do(UnmapClient(other, at))

    def _leave(self, home: bytes, at: bytes) -> None:
        node = at[:NODE_BYTES]
        if self.home_at.get(at) == home:
            del self.home_at[at]
        left = self.places[node] - 1
        if left:
            self.places[node] = left
        else:
            del self.places[node]

    def _forget(self, home: bytes) -> None:
        entry = self.entries.pop(home, None)
        if entry is not None and entry.at is not None:
            self._leave(home, entry.at)
        self.groups.remove(home)
        self.timers.cancel(home)

    def mappings(self) -> list[Mapping]:
        """Return what is mapped, for a kernel that has lost it."""
        now_s = self.node.now_s
        return [
            Mapping(home, entry.at, None, max(1, int(entry.until_s - now_s)), entry.serial)
            for home, entry in self.entries.items()
            if entry.at is not None
        ]

    def restore_serial(self, home: bytes, serial: int, tokens_until_s: float) -> None:
        """Take over the serial of a home that is not mapped."""
        entry = self.entries[home] = Entry(None, serial, 0.0, tokens_until_s)
        self._place(home, entry, None)
        self.timers.set(home, tokens_until_s)

    def restore(self, mappings: list[Mapping]) -> None:
        """Take over what the kernel holds. When the tokens of these homes end nobody knows: as late as can be."""
        node = self.node
        for mapping in mappings[: node.options.max_roams]:
            until_s, tokens_until_s = node.now_s + mapping.lease_s, node.now_s + node.options.max_lease_s
            entry = self.entries[mapping.home] = Entry(
                None, mapping.serial, until_s, max(tokens_until_s, until_s)
            )
            self._place(mapping.home, entry, mapping.at)
            self.timers.set(mapping.home, until_s)
            self.serial = max(self.serial, mapping.serial)


def _without_token(lease: wire.Lease) -> wire.Lease:
    return wire.Lease(lease.home, lease.plat, lease.lease_s)
