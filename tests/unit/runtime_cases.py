# SPDX-License-Identifier: ISC
"""Cases of what `runtime` has besides records, for both Pythons."""

from runtime.ordered import OldestFirst, oldest
from runtime.signing import is_equal, signer


def case_ordered_tells_its_oldest_key():
    table = OldestFirst()
    for key in (3, 1, 2):
        table[key] = key * 10
    table[3] = 33  # keeps its place
    assert (list(table), len(table), oldest(table), table[3]) == ([3, 1, 2], 3, 3, 33)
    assert (table.pop(3), table.pop(3, None), oldest(table)) == (33, None, 1)
    table[3] = 30
    assert (list(table), table.get(3), table.get(9), table.get(9, 0)) == ([1, 2, 3], 30, None, 0)
    del table[2]
    assert (list(table), 2 in table, 3 in table, bool(table)) == ([1, 3], False, True, True)


def case_ordered_refuses_what_is_not_there():
    table = OldestFirst()
    assert not table and list(table) == []
    for wrong in (
        lambda: oldest(table),
        lambda: table[1],
        lambda: table.pop(1),
        lambda: table.__delitem__(1),
    ):
        try:
            wrong()
        except KeyError:
            continue
        raise AssertionError("no KeyError")


def case_ordered_takes_the_same_time_for_many_keys():
    table = OldestFirst()
    for key in range(20000):
        table[key] = None
    for key in range(20000):
        assert oldest(table) == key
        del table[key]
    assert not table


def case_signing_is_hmac_sha256():
    """RFC 4231, test cases 1 to 3."""
    for key, message, expected in (
        (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    ):
        sign = signer(key)
        assert sign(message).hex() == expected
        assert sign(message).hex() == expected  # the key is not used up


def case_signing_compares():
    assert is_equal(b"ab", b"ab") and is_equal(b"", b"")
    assert not is_equal(b"ab", b"ac") and not is_equal(b"ab", b"a") and not is_equal(b"", b"a")
