# SPDX-License-Identifier: ISC
"""The lease token: a platnode's word that whoever shows it may move a client's home. No I/O, no clock.

The platnode gives a token to the node that leased an address, and keeps nothing of it. The token says until when it is
good, and which one of many it is. Its MAC says which home it is for; home itself is not in it.

offset  size  field
0       8     serial    milliseconds, grows with every token of a platnode; 0 = no token
8       4     expiry_s  seconds of the platnode's own clock, of no meaning to others
12      16    mac       the first 16 bytes of HMAC-SHA-256 over home (16), serial (8), expiry_s (4)

A mapping remembers the serial of the token that made it and accepts a greater one only. Each use is answered with
a fresh token, so that one that was overheard is worthless once it has been used.
"""

import struct

from runtime.record import record
from runtime.signing import is_equal, signer

LAYOUT = "!QI16s"
TOKEN_SIZE = struct.calcsize(LAYOUT)
SIGNED = "!16sQI"
MAC_SIZE = 16
SECRET_SIZE = 32


@record("serial expiry_s mac")
class Token:
    """See the module; the holder does not look inside."""

    serial: int
    expiry_s: int
    mac: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.serial < 1 << 64 or not 0 <= self.expiry_s < 1 << 32 or len(self.mac) != MAC_SIZE:
            raise ValueError(f"not a token: {self.serial}, {self.expiry_s}, {self.mac.hex()}")

    def encode(self) -> bytes:
        return struct.pack(LAYOUT, self.serial, self.expiry_s, self.mac)

    @classmethod
    def decode(cls, value: bytes) -> "Token":
        """Return the token in 28 bytes; ValueError for another size, any content will do."""
        if len(value) != TOKEN_SIZE:
            raise ValueError(f"a token of {len(value)} bytes, not {TOKEN_SIZE}")
        return cls(*struct.unpack(LAYOUT, value))


NO_TOKEN = Token(0, 0, bytes(MAC_SIZE))


class TokenIssuer:
    """Makes tokens under one secret, and tells its own from others."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_SIZE:
            raise ValueError(f"a secret of {len(secret)} bytes, not {SECRET_SIZE}")
        self.secret = secret
        self._hash = signer(secret)

    def make(self, home: bytes, serial: int, expiry_s: int) -> Token:
        return Token(serial, expiry_s, self._sign(home, serial, expiry_s))

    def is_ours(self, home: bytes, token: Token) -> bool:
        """Return whether we made this token for this home; takes as long for a wrong one as for a right one."""
        return is_equal(self._sign(home, token.serial, token.expiry_s), token.mac)

    def _sign(self, home: bytes, serial: int, expiry_s: int) -> bytes:
        return self._hash(struct.pack(SIGNED, home, serial, expiry_s))[:MAC_SIZE]
