# SPDX-License-Identifier: ISC
"""The lease token: the platnode knows its own, for one home, and nobody else can make one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3roamd_py.core.token import NO_TOKEN, TOKEN_SIZE, Token, TokenIssuer

SECRET, HOME, OTHER = bytes(range(32)), b"\xfd" * 16, b"\xfe" * 16


def test_a_token_survives_the_wire():
    token = TokenIssuer(SECRET).make(HOME, 1 << 40, 0xFFFFFFFF)
    assert len(token.encode()) == TOKEN_SIZE == 28
    assert Token.decode(token.encode()) == token
    for size in (0, 27, 29):
        with pytest.raises(ValueError, match="bytes"):
            Token.decode(bytes(size))


@given(st.integers(0, 28 * 8 - 1))
def test_no_bit_of_it_can_be_changed(bit):
    issuer = TokenIssuer(SECRET)
    token = issuer.make(HOME, 77, 99)
    assert issuer.is_ours(HOME, token)
    forged = bytearray(token.encode())
    forged[bit // 8] ^= 1 << bit % 8
    assert not issuer.is_ours(HOME, Token.decode(bytes(forged)))


def test_it_is_good_for_one_home_under_one_secret():
    token = TokenIssuer(SECRET).make(HOME, 77, 99)
    assert not TokenIssuer(SECRET).is_ours(OTHER, token)
    assert not TokenIssuer(bytes(32)).is_ours(HOME, token)
    assert not TokenIssuer(SECRET).is_ours(HOME, NO_TOKEN)


def test_a_secret_has_its_full_size():
    with pytest.raises(ValueError, match="secret"):
        TokenIssuer(b"short")
