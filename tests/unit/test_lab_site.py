# SPDX-License-Identifier: ISC
"""A site file is somebody else's Lua: real ones are read, wrong ones said in a sentence, hostile ones cut off."""

import shutil
import subprocess
import time
from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest

from sdk.lab.site import EXAMPLE, FILE_BYTES, SiteError, load_site

pytestmark = pytest.mark.skipif(shutil.which("lua5.1") is None, reason="no lua5.1: `make test` installs it")

# as communities write them: comments of both kinds, nested tables, trailing commas, quotes of all kinds
COMMUNITY = """
-- a domain file
--[[ prefix4 = '1.2.3.0/24',
     of old ]]
{
	domain_names = { ['ff-x'] = "Domäne X", },
	domain_seed = [[c44847de]],
	hide_domain = true; -- a semicolon separates as well
	prefix4 = "10.126.0.0/16", prefix6 = '2a06:8187:fbab:2::/64',
	clat_range = 'fd5d:5d16:b5dd::/48', plat_range = [[fd5d:5d16:b5de::/48]],
	['next_node'] = { ip4 = '10.126.0.1', ip6 = nil, mac = '16:41:95:40:F7:DC', name = { 'nextnode', }, },
	ntp_servers = {'ntp.example.net'},
	wifi24 = { channel = 5, ap = { ssid = 'a "mesh"\\n', mcast_rate = 12e3, }, mesh = { id = '16:41:95:40:F7:DC' }, },
	mesh_vpn = { enabled = true, mtu = 1280 + 94, fastd = { methods = {'null'}, groups = { a = { peers = {}, } } }, },
}
"""
FIELDS = {
    "clat_range": "'fddd:1:1::/48'",
    "plat_range": "'fddd:1:2::/48'",
    "prefix4": "'10.46.0.0/16'",
    "next_node": "{ ip4 = '10.46.0.1', mac = '16:41:95:40:f7:dc' }",
    "mesh_vpn": "{ mtu = 1374 }",
}


def lua(**changes):
    values = {**FIELDS, **changes}
    return "{" + "".join(f"{key} = {value},\n" for key, value in values.items() if value is not None) + "}"


@pytest.fixture
def site_file(tmp_path):
    def write(text):
        path = tmp_path / "site.conf"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_the_example_loads():
    site = load_site()
    assert site == load_site(EXAMPLE)
    assert site.mesh_mtu == 1374
    assert not site.pool.overlaps(site.prefix4)


def test_a_communitys_file_is_read_as_it_is(site_file):
    site = load_site(site_file(COMMUNITY))
    assert site.clat_range == IPv6Network("fd5d:5d16:b5dd::/48")
    assert site.plat_range == IPv6Network("fd5d:5d16:b5de::/48")
    assert site.prefix4 == IPv4Network("10.126.0.0/16")
    assert site.next_node_ip4 == IPv4Address("10.126.0.1")
    assert site.next_node_mac == bytes.fromhex("16419540f7dc")
    assert site.mesh_mtu == 1374


def test_the_well_known_local_prefix_may_be_a_range(site_file):
    assert load_site(site_file(lua(clat_range="'64:ff9b:1::/48'"))).clat_range == IPv6Network(
        "64:ff9b:1::/48"
    )


@pytest.mark.parametrize(
    ("next_node", "ip4", "mac"),
    [
        (None, "10.46.0.1", "16419540f7dc"),
        ("{}", "10.46.0.1", "16419540f7dc"),
        ("{ ip4 = '10.46.0.9' }", "10.46.0.9", "16419540f7dc"),
        ("{ mac = '02:00:00:00:00:01' }", "10.46.0.1", "020000000001"),
    ],
)
def test_what_gluon_lets_a_domain_leave_out_has_its_default(site_file, next_node, ip4, mac):
    site = load_site(site_file(lua(next_node=next_node)))
    assert (site.next_node_ip4, site.next_node_mac) == (IPv4Address(ip4), bytes.fromhex(mac))


def test_a_prefix4_with_host_bits_is_taken_as_gluon_takes_it(site_file):
    site = load_site(site_file(lua(prefix4="'10.111.111.0/18'", next_node=None)))
    assert site.prefix4 == IPv4Network("10.111.64.0/18")


def test_a_domain_without_vpn_has_the_least_mtu(site_file):
    assert load_site(site_file(lua(mesh_vpn=None))).mesh_mtu == 1280


@pytest.mark.parametrize(
    ("said", "prefix"), [(None, "fddd:1:2::/96"), ("'64:ff9b::/96'", "64:ff9b::/96"), ("false", None)]
)
def test_hosts_that_translate_themselves_have_the_first_prefix_of_the_platnodes_or_another(
    site_file, said, prefix
):
    assert load_site(site_file(lua(pref64=said))).pref64 == (prefix and IPv6Network(prefix))


@pytest.mark.parametrize(
    "prefix4", ["10.0.0.0/8", "10.23.0.0/16", "192.168.0.0/16", "172.16.0.0/12", "10.1.2.0/28"]
)
def test_a_pool_outside_the_clients_range_is_found(site_file, prefix4):
    node = prefix4.rpartition(".")[0] + ".1"
    site = load_site(
        site_file(lua(prefix4=f"'{prefix4}'", next_node=f"{{ ip4 = '{node}', mac = '02:00:00:00:00:01' }}"))
    )
    assert not site.pool.overlaps(site.prefix4)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (lua(clat_range=None), "clat_range is missing, expected a /48 like"),
        (lua(clat_range="3"), "clat_range is no text, expected a /48"),
        (lua(clat_range="'fddd:1:1::/64'"), "clat_range: "),
        (lua(clat_range="'fddd:1:1::1/48'"), "clat_range: "),
        (lua(clat_range="'hello'"), "clat_range: "),
        (lua(plat_range="'10.0.0.0/8'"), "plat_range: "),
        (
            lua(plat_range="'fddd:1:1::/48'"),
            "clat_range and plat_range are both fddd:1:1::/48, expected two different ones",
        ),
        (lua(pref64="true"), "pref64 is neither false nor a /96"),
        (lua(pref64="'auto'"), "pref64 is neither false nor a /96"),
        (lua(pref64="'fddd:1:2:0:0:1::/96'"), "is a node's, in plat_range"),
        (lua(pref64="'fd46:4646:4646::/96'"), "lies in fd46:4646:4646::/64, which is in use"),
        (lua(prefix4=None), "prefix4 is missing, expected the clients' IPv4 range"),
        (lua(prefix4="'10.46.0.0/33'"), "prefix4: "),
        (lua(prefix4="'127.0.0.0/8'"), "prefix4: the client range 127.0.0.0/8 overlaps"),
        (lua(prefix4="'198.51.100.0/24'"), "which is the lab's internet, expected another range"),
        (lua(prefix4="'10.46.0.0/30'"), "prefix4: 10.46.0.0/30 is a /30, expected a /8 to /28"),
        (lua(prefix4="'0.0.0.0/0'"), "is a /0, expected a /8 to /28"),
        (lua(next_node="'10.46.0.1'"), "next_node is no table, expected one with ip4 and mac"),
        (lua(next_node="{ ip4 = 3 }"), "next_node.ip4 is no text, expected an address in 10.46.0.0/16"),
        (lua(next_node="{ ip4 = '10.47.0.1', mac = '16:41:95:40:f7:dc' }"), "is no host address in prefix4"),
        (lua(next_node="{ ip4 = '10.46.0.0', mac = '16:41:95:40:f7:dc' }"), "is no host address in prefix4"),
        (lua(next_node="{ mac = {} }"), "next_node.mac: it is no text, expected a MAC like"),
        (lua(next_node="{ ip4 = '10.46.0.1', mac = '16:41' }"), "next_node.mac: "),
        (lua(next_node="{ ip4 = '10.46.0.1', mac = '33:33:00:00:00:01' }"), "next_node.mac: "),
        (lua(mesh_vpn="{ mtu = 1279 }"), "mesh_vpn.mtu is 1279, expected 1280 to 9000"),
        (lua(mesh_vpn="{ mtu = 1e300 }"), "mesh_vpn.mtu is 1e+300, expected 1280 to 9000"),
        (lua(mesh_vpn="{ mtu = 1374.5 }"), "mesh_vpn.mtu is no whole number"),
        (lua(mesh_vpn="{ mtu = 0/0 }"), "mesh_vpn.mtu is no whole number"),
        (lua(mesh_vpn="{ mtu = '1374' }"), "mesh_vpn.mtu is no whole number"),
        (lua(mesh_vpn="true"), "mesh_vpn.mtu is no whole number"),
        ("", "expected"),
        ("42", "it is a number, expected a table in braces"),
        ("{ prefix4 = ", "file:1: "),
        ("{} os.exit(0)", "file:1: "),
        (b"\x1bLua" + bytes(40), "compiled Lua, expected a table as text"),
        (b"{ clat_range = '\xff\xfe' }", "clat_range"),
        (bytes(100), "file:1: "),
    ],
)
def test_a_wrong_site_is_one_sentence_with_file_and_expectation(site_file, text, says):
    path = site_file(text)
    with pytest.raises(SiteError) as caught:
        load_site(path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}: ")
    assert says in sentence
    assert "\n" not in sentence


def test_a_pool_among_the_clients_is_refused(site_file):
    with pytest.raises(SiteError, match=r"the pool 10.46.1.0/30 overlaps the clients' prefix4 10.46.0.0/16"):
        load_site(site_file(lua()), IPv4Network("10.46.1.0/30"))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(SiteError, match=f"{path}: cannot read the site file"):
            load_site(path)


HOSTILE = {
    "a loop": "(function() while true do end end)()",
    "a loop in a coroutine": "(function() local t = {} for i = 1, 1e18 do t[1] = i end end)()",
    "a huge text": "{ prefix4 = (function() local s = 'x' while true do s = s .. s end end)() }",
    "a huge table": "(function() local t = {} while true do t[#t + 1] = {} end end)()",
    "a text's methods": "{ prefix4 = ('x'):rep(1e10) }",
    "a program": "{ prefix4 = os.execute('touch MARK') }",
    "a file": "{ prefix4 = io.open('MARK', 'w') }",
    "a module": "{ prefix4 = require('os').execute('touch MARK') }",
    "its environment": "{ prefix4 = getfenv(0).os.execute('touch MARK') }",
    "its metatable": "{ prefix4 = getmetatable('').__index.rep('x', 1e9) }",
    "a table in itself": "(function() local t = {} t.t = t return t end)()",
    "depth": "{" * 150 + "}" * 150,
    "many brackets": "(" * 5000,
    "a wide table": "(function() local t = {} t.a = t t.b = t t.c = t return t end)()",
    "shared tables": "(function() local t = {} for i = 1, 30 do t = { a = t, b = t } end return t end)()",
    "a pattern": "(function() while true do local x = 1 end end)()",
    "a calling metatable": "setmetatable({}, { __index = function() end })",
    "its own end": "{} , (function() while true do end end)()",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_site_ends_soon_in_one_sentence_and_does_nothing(site_file, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    begun = time.monotonic()
    with pytest.raises(SiteError) as caught:
        load_site(site_file(HOSTILE[name].replace("MARK", str(tmp_path / "mark"))))
    assert time.monotonic() - begun < 60
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert not (tmp_path / "mark").exists()


def test_bytecode_is_refused_before_lua_sees_it(site_file, tmp_path):
    source = "io.write(string.dump(loadstring('return {}')))"
    compiled = subprocess.run(["lua5.1", "-e", source], capture_output=True, check=True).stdout
    assert compiled.startswith(b"\x1bLua")
    for text in (compiled, b"\n" + compiled, b"#!lua\n" + compiled):
        with pytest.raises(SiteError):
            load_site(site_file(text))


def test_an_endless_file_is_not_read_to_its_end(site_file):
    with pytest.raises(SiteError, match="larger than"):
        load_site(site_file(b" " * (FILE_BYTES + 1)))
    with pytest.raises(SiteError, match="larger than"):
        load_site("/dev/zero")


def test_without_lua_the_sentence_says_what_to_install(site_file, monkeypatch):
    monkeypatch.setattr("sdk.lab.site.LUA", "lua-that-is-not-there")
    with pytest.raises(SiteError, match=r"apt-get install lua5\.1"):
        load_site(site_file(lua()))


def test_the_prefix_of_clients_at_their_nodes_is_the_domains_or_the_labs(site_file):
    assert load_site(site_file(lua())).node_client_prefix6 == IPv6Network("fd46:4646:4646:2::/64")
    own = load_site(site_file(lua(node_client_prefix6="'fec0::/64'")))
    assert own.node_client_prefix6 == IPv6Network("fec0::/64")


@pytest.mark.parametrize("prefix", ["'fec0::/60'", "'ff02::/64'", "'fec0::1/64'", "64", "'x'"])
def test_a_wrong_prefix_of_clients_at_their_nodes_is_one_sentence(site_file, prefix):
    with pytest.raises(SiteError, match="node_client_prefix6"):
        load_site(site_file(lua(node_client_prefix6=prefix)))
