# SPDX-License-Identifier: ISC
"""`464xlat status --html`: what it shows, and that nothing which a node or a daemon says is markup.

The daemons are stand-ins that say what the real ones cannot be brought to say; tests/lab has the real ones.
"""

import json
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from xlat464.address import format_ipv6
from xlat464.node import node_prefix

ROOT = Path(__file__).resolve().parents[2]
SHELLS = (["dash"], ["busybox", "ash"])
RANGE = bytes.fromhex("fddd13371337") + bytes(10)
HOSTILE = "</pre></title><script src=//example.net/x></script><img onerror=alert(1)>&lt;\"'\x00\x1b[2J"
MACS = ("123456789abc", "020000000001", "020000000000", "020000000a00")
KINDS = ("with an address of this node", "with an address of another node", "without IPv4")


class Reader(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


def home(mac, ipv4=bytes((10, 46, 32, 1))):
    return format_ipv6(node_prefix(RANGE, bytes.fromhex(mac))[:12] + ipv4)


def client(number, state="served", home=None):
    return {
        "mac": f"02:00:00:00:00:{number:02x}",
        "behind": None,
        "state": state,
        "addresses": ["fd46::1"],
        "home": home,
    }


def status(mac, clients, **more):
    clat = format_ipv6(node_prefix(RANGE, bytes.fromhex(mac)))
    departed = [{"mac": "02:00:00:00:00:77", "place": "fddd::1", "left_s": 3}]
    return {"address": clat, "clat": clat, "clients": clients, "departed": departed, **more}


@pytest.fixture(params=SHELLS, ids=lambda words: words[-1])
def page(request, tmp_path):
    def of(host="a", prefixd="", roaming=None):
        said = {
            "uname": host,
            "prefixd": prefixd,
            "l3roamd_py": json.dumps(roaming) if roaming else "",
            "siit": "",
        }
        for name, text in said.items():
            (tmp_path / f"{name}.text").write_text(text)
            (tmp_path / name).write_text(f"#!/bin/sh\ncat {tmp_path}/{name}.text\n")
            if name == "prefixd":
                (tmp_path / name).write_text(
                    f'#!/bin/sh\ncat {tmp_path}/{name}.text; echo "looked in $PATH"\n'
                )
            (tmp_path / name).chmod(0o755)
        environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "XLAT464_RUN": str(tmp_path / "run")}
        words = [*request.param, ROOT / "files/464xlat/usr/sbin/464xlat", "status", "--html"]
        done = subprocess.run(words, env=environ, capture_output=True, check=True)
        assert done.stderr == b""
        assert len(done.stdout) <= 20_000
        return done.stdout.decode(errors="replace")

    return of


def counted(text):
    lines = "".join(Reader(text).texts).splitlines()
    return {kind: int(line.split()[0]) for line in lines for kind in KINDS if line.endswith(kind)}


@pytest.mark.parametrize("mac", MACS)
def test_the_page_counts_clients_by_where_their_address_is_from_and_names_none(page, mac):
    other = home("1234567800ab")
    clients = [
        client(1, home=home(mac)),
        client(2, home=other),
        client(3),
        client(4, "absent", home(mac)),
        client(5),
    ]
    roaming = status(
        mac, [*clients, client(6, home=home(mac))], counters={"roams": 12, "gate_dropped": 0}, translating=4
    )
    text = page(roaming=roaming)
    assert counted(text) == dict(zip(KINDS, (2, 1, 2), strict=True))
    assert "12 roams<" in text
    assert "4 translate themselves" in text
    assert "dropped" not in text
    assert "02:00" not in text  # whoever reads the page is not told who is here
    assert "fd46::1" not in text


def test_an_exit_has_no_clients(page):
    roaming = {
        "clat": None,
        "plat": "fddd::",
        "clients": [],
        "counters": {"roams": 1},
        "roams": [{"home": "fddd::1"}],
    }
    text = page(roaming=roaming)
    assert counted(text) == {}
    assert "1 roams" in text


def test_nothing_that_is_said_becomes_markup(page):
    roaming = status(MACS[0], [client(1, home=HOSTILE)], counters={HOSTILE: 1, "roams": 1})
    plain, text = page(prefixd="why", roaming=status(MACS[0], [])), page(HOSTILE, f"why {HOSTILE}", roaming)
    assert [tag for tag in Reader(text).tags if tag not in Reader(plain).tags] == []
    assert HOSTILE.replace("\x00\x1b", "") in "".join(Reader(text).texts)
    assert not {"\x00", "\x1b"} & set(text)


def test_the_page_stays_small_and_whole_whatever_is_said(page):
    flood = ("<&\"'>" * 20 + "\n") * 2000
    roaming = status(MACS[0], [client(n % 256) for n in range(2000)], counters={"roams": 2000})
    text = page(flood, flood, roaming)
    assert counted(text)["without IPv4"] == 2000
    assert "2000 roams" in text


def test_a_node_without_daemons_has_a_page_and_no_other_site_is_asked(page):
    text = page()
    assert "this line is not shared" in text
    assert [tag for tag, _ in Reader(text).tags].count("pre") == 2
    for _, attributes in Reader(text).tags:
        assert not {"src", "href", "onload", "action"} & set(attributes)
    assert "default-src 'none'" in text


def test_programs_are_found_from_cron_too_whose_path_lacks_sbin(page):
    assert ":/usr/bin:/bin:/usr/sbin:/sbin" in page()


def test_other_routers_are_not_named_as_they_may_be_clients(page):
    others = "          others advertise themselves as routers too: fe80::ff:fe00:1, fe80::2"
    text = page(prefixd=f"hosts     told PREF64\n{others}\nCLAT      there\n")
    assert "told PREF64" in text
    assert "CLAT      there" in text
    assert "fe80" not in text
