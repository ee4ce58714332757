# SPDX-License-Identifier: ISC
"""HMAC-SHA-256 (RFC 2104, FIPS 180-4), keyed once; and comparing in a time that tells nothing. No I/O."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import sha256 as sha256
    from hmac import compare_digest
else:  # CPython's own parts where it has them: hashlib and hmac bring OpenSSL along, which takes 4 MB of memory
    try:
        from _sha2 import sha256
    except ImportError:
        try:
            from _sha256 import sha256  # before 3.12
        except ImportError:
            from hashlib import sha256
    try:
        from _operator import _compare_digest as compare_digest
    except ImportError:
        compare_digest = None

BLOCK_BYTES = 64


def signer(key: bytes) -> "Callable[[bytes], bytes]":
    """Return the function that gives a message's 32 bytes under a key of at most 64 bytes."""
    if len(key) > BLOCK_BYTES:
        raise ValueError(f"a key of {len(key)} bytes, expected at most {BLOCK_BYTES}")
    padded = key + bytes(BLOCK_BYTES - len(key))
    inner, outer = (bytes([octet ^ pad for octet in padded]) for pad in (0x36, 0x5C))

    if hasattr(sha256(), "copy"):  # both keys are hashed once then, not for each message
        keyed, around = sha256(inner), sha256(outer)

        def sign(message: bytes) -> bytes:
            digest, result = keyed.copy(), around.copy()
            digest.update(message)
            result.update(digest.digest())
            return result.digest()

    else:

        def sign(message: bytes) -> bytes:
            return sha256(outer + sha256(inner + message).digest()).digest()

    return sign


def is_equal(found: bytes, expected: bytes) -> bool:
    """Compare bytes; it takes as long for wrong ones as for right ones of the same length."""
    if compare_digest is not None:
        return compare_digest(found, expected)
    difference = len(found) ^ len(expected)
    for i in range(min(len(found), len(expected))):
        difference |= found[i] ^ expected[i]
    return difference == 0
