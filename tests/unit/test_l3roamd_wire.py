# SPDX-License-Identifier: ISC
"""The roaming protocol's codec: the vectors of docs/protocol.md, and what nobody may send."""

import re
from pathlib import Path

import l3roamd_vectors as vectors
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3roamd_py.core import wire

PROTOCOL = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"


def read_vectors() -> dict[str, bytes]:
    """The block under "Test vectors": a name, then its bytes in indented lines."""
    block = re.search(r"## Test vectors.*?```\n(.*?)```", PROTOCOL.read_text(), re.DOTALL).group(1)
    found, name = {}, ""
    for line in block.splitlines():
        if not line.startswith(" "):
            name = line
        found[name] = found.get(name, "") + (line.strip() if line.startswith(" ") else "")
    return {name: bytes.fromhex(text) for name, text in found.items()}


DOCUMENTED = read_vectors()


def test_every_vector_is_documented_and_no_other():
    assert DOCUMENTED.keys() == vectors.VECTORS.keys()


@pytest.mark.parametrize("name", vectors.VECTORS)
def test_a_message_is_on_the_wire_as_documented_and_no_truncation_is_taken(name):
    header, body = vectors.VECTORS[name]
    payload = DOCUMENTED[name]
    assert wire.encode(header, body) == payload
    assert wire.decode(payload) == (header, body)
    # without its last TLVs an INFO, ROAM, ROAM_ACK or TOKEN is still one
    ends = {len(wire.encode(header, other)) for other in shorter(body)}
    for end in set(range(len(payload))) - ends:
        with pytest.raises(wire.DecodeError):
            wire.decode(payload[:end])


def shorter(body: wire.Body) -> list[wire.Body]:
    if isinstance(body, wire.Roam):
        return [wire.Roam(body.lease, body.at)]
    if isinstance(body, wire.RoamAck):
        return [wire.RoamAck(body.lease, body.at, body.nonce, body.reason)]
    if not isinstance(body, wire.Info):
        return []
    plain = wire.Info(body.mac, body.addresses, body.plat, body.lease_s)
    with_lease = wire.Info(body.mac, body.addresses, body.plat, body.lease_s, body.lease)
    with_nonce = wire.Info(body.mac, body.addresses, body.plat, body.lease_s, body.lease, body.claim_nonce)
    return [plain, with_lease, with_nonce]


HEAD = "00010100" + "01020304" + "fd" + "00" * 15
INFO_HEAD = HEAD.replace("00010100", "00010200")
MAC = "0008" + "02aabbccddee"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("", "header"),
        (HEAD[:-2], "header"),
        ("01" + HEAD[2:] + MAC, "version"),
        (HEAD.replace("00010100", "00010d00") + MAC, "type 13"),
        (HEAD, "missing"),
        (HEAD + "00", "TLV at 24"),
        (HEAD + "0000" + MAC, "ends at 24"),
        (HEAD + "0001" + MAC, "ends at 25"),
        (HEAD + MAC + "09", "TLV at 32"),
        (HEAD + "0009" + MAC[4:], "ends at 33"),
        (HEAD + MAC + MAC, "twice"),
        (HEAD + "0007" + "02aabbccdd", "5 bytes"),
        (HEAD + "0008" + "03aabbccddee", "one device"),
        (HEAD + "0008" + "00" * 6, "one device"),
        (INFO_HEAD + "0014" + "00" * 18, "missing"),
        (INFO_HEAD + "0107" + "02aabbccdd", "5 bytes"),
        (INFO_HEAD + "0109" + "02aabbccddee" + "00", "7 bytes"),
        (INFO_HEAD + "0013" + "00" * 17 + "0108" + "02aabbccddee", "17 bytes"),
        (INFO_HEAD + "0108" + "02aabbccddee" + "0505" + "00" * 3, "3 bytes"),
        (INFO_HEAD + "0108" + "02aabbccddee" + "0b11" + "00" * 15, "15 bytes"),
    ],
)
def test_what_is_not_of_the_protocol_is_refused(payload, reason):
    with pytest.raises(wire.DecodeError, match=reason):
        wire.decode(bytes.fromhex(payload))


def test_a_tlv_of_a_later_version_is_skipped():
    assert wire.decode(bytes.fromhex(HEAD + "c803ff" + MAC + "0902"))[1] == wire.Claim(vectors.CLIENT)


def test_an_info_without_plat_is_one_of_a_client_without_ipv4():
    assert wire.decode(bytes.fromhex(INFO_HEAD + "0108" + "02aabbccddee"))[1] == wire.Info(vectors.CLIENT)


def test_an_info_has_room_for_fifteen_addresses_and_its_lease_for_sixteen_bits():
    info = wire.Info(vectors.CLIENT, tuple(bytes([i]) * 16 for i in range(1, 40)), vectors.PLAT, 100_000)
    seen = wire.decode(wire.encode(vectors.by(vectors.NODE_A), info))[1]
    assert (len(seen.addresses), seen.lease_s) == (15, 0xFFFF)


def test_answers_are_as_long_as_the_document_on_security_says():
    def length(body: wire.Body) -> int:
        return len(wire.encode(vectors.by(vectors.NODE_A), body))

    lease, at = wire.Lease(vectors.HOME, vectors.PLAT, 600), vectors.AT
    answers = (
        (wire.Roam(lease, at), wire.RoamAck(lease, at, 1, wire.STALE, at)),
        (wire.TokenRequest(lease), wire.TokenGrant(lease, 1, wire.OK, at)),
    )
    assert max(length(answer) / length(question) for question, answer in answers) < 1.3
    info = wire.Info(vectors.CLIENT, (at,) * 40, vectors.PLAT, 600, lease, 1, vectors.PLAT)
    assert (length(wire.Claim(vectors.CLIENT)), length(info)) == (32, 382)


def test_a_message_is_passed_on_while_its_ttl_lasts():
    payload = wire.encode(vectors.by(vectors.NODE_B, 2), wire.Claim(vectors.CLIENT))
    onward = wire.pass_on(payload, 8)
    assert wire.decode(onward) == (vectors.by(vectors.NODE_B, 1), wire.Claim(vectors.CLIENT))
    assert wire.pass_on(onward, 8) is None
    assert wire.pass_on(b"\0\0" + payload[2:], 8) is None
    assert wire.pass_on(b"\0\xff" + payload[2:], 8)[1] == 7


@given(st.binary(max_size=400))
def test_no_bytes_raise_anything_else(payload):
    try:
        header, body = wire.decode(payload)
    except wire.DecodeError:
        return
    assert isinstance(header, wire.Header)
    assert wire.decode(wire.encode(header, body)) == (header, body)
