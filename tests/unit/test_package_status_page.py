# SPDX-License-Identifier: ISC
"""Gluon's status page with what this feed brings to it: the section, the columns of neighbours and their source.

It runs on our stand-ins (tests/gluon). With GLUON_TREE=/path/to/gluon and GLUON_PACKAGES=/path/to/packages in the
environment it runs under Gluon's own gluon-web, templates and libraries. Parts in C are compiled for this machine,
which needs `apt-get install liblua5.1-0-dev lua-posix libjson-c-dev`.
"""

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from gluon_node import GLUON, GLUON_PACKAGES, LUA, NEEDS_LUA, ROOT, STANDINS, lua

PAGE = "lib/gluon/status-page"
HOSTILE = "<script>alert(1)</script>\"'&"
REAL = GLUON is not None and GLUON_PACKAGES is not None
pytestmark = NEEDS_LUA

NODEINFO = {
    "hostname": "a node",
    "network": {"mac": "12:34:56:78:9a:bc", "addresses": ["fd46:4646:4646:1:1034:56ff:fe78:9abc"]},
    "hardware": {"model": "a model", "nproc": 1},
    "software": {"firmware": {"release": "1", "base": "gluon", "target": "x86", "subtarget": "64"}},
    "system": {"site_code": "ffxx"},
}
EXIT = {
    "is_clat": True,
    "is_plat": False,
    "plat": "fddd:1338:1338:1234:5678:9abc::/96",
    "why": "lowest metric of 3",
    "metric": 352,
    "plats": 3,
    "clients": {"total": 7, "home": 4, "roamed": 2, "without_ipv4": 1, "translating": 3},
    "roaming": {"roams": 5, "departures": 6},
    "drops": {"clat": {"device": 8, "too-long": 9}},
}
NO_EXIT = {"is_clat": True, "is_plat": False, "why": "no PLAT has a route", "plats": 0, "drops": {}}


class Reader(HTMLParser):
    """A page as its elements, in order, and its texts; fails for what is not closed as it was opened."""

    VOID = ("meta", "link", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.shown: dict[str, str] = {}  # data-statistics -> text
        self.texts: list[str] = []
        self._key = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._key = dict(attrs).get("data-statistics", "")
        if self._key:
            self.shown[self._key] = ""
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self._key = ""

    def handle_data(self, data):
        self.texts.append(data.strip())
        if self._key:
            self.shown[self._key] += data


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """Gluon's libraries in C as this machine can load them, and its programs that a build runs; LUA_CPATH's folder."""
    folder = tmp_path_factory.mktemp("lua")
    if REAL:
        web, jsonc = Path(GLUON) / "package/gluon-web/src", Path(GLUON_PACKAGES) / "libs/lua-jsonc/src"
        (folder / "gluon/web/template").mkdir(parents=True)
        lines = [
            f"-shared -fPIC -o {folder}/gluon/web/template/parser.so {web}/template_*.c",
            f"-shared -fPIC -o {folder}/jsonc.so {jsonc}/lua-jsonc.c -ljson-c",
            f"-o {folder}/po2lmo {web}/gluon-po2lmo.c {web}/template_lmo.c",
        ]
        for line in lines:
            subprocess.run(
                ["sh", "-c", f"cc -D_GNU_SOURCE -std=gnu99 -w -I/usr/include/lua5.1 {line}"], check=True
            )
    return folder


@pytest.fixture
def page(tmp_path, libraries):
    """A function that serves the page with what respondd tells of nodeinfo and statistics, as one text."""
    for package in ("common", "babel"):
        for part in ("files", "luasrc"):
            source = ROOT / f"package/gluon-464xlat-{package}" / part / "lib/gluon/status-page"
            if source.exists():
                shutil.copytree(source, tmp_path / PAGE, dirs_exist_ok=True)
    if REAL:
        for part in ("files", "luasrc"):
            source = Path(GLUON) / "package/gluon-status-page" / part / PAGE
            shutil.copytree(source, tmp_path / PAGE, dirs_exist_ok=True)
        shutil.copytree(
            Path(GLUON) / "package/gluon-web/files/lib/gluon/web/view",
            tmp_path / PAGE / "view",
            dirs_exist_ok=True,
        )
        (tmp_path / PAGE / "i18n").mkdir()
        po = ROOT / "package/gluon-464xlat-common/i18n/de.po"
        lmo = tmp_path / PAGE / "i18n/gluon-464xlat-common.de.lmo"
        subprocess.run([libraries / "po2lmo", po, lmo], check=True)
        (tmp_path / PAGE / "i18n/gluon-web.de.lmo").write_bytes(lmo.read_bytes())
    else:
        shutil.copytree(STANDINS / "page", tmp_path / PAGE, dirs_exist_ok=True)
    device = tmp_path / "sys/class/net/mesh0/address"
    device.parent.mkdir(parents=True)
    device.write_text("02:00:00:00:00:01\n")

    def serve(nodeinfo=NODEINFO, statistics=EXIT, language="en"):
        told = {"nodeinfo": nodeinfo, "statistics": {"uptime": 1, "xlat464": statistics}}
        if statistics is None:
            del told["statistics"]["xlat464"]
        write_respondd(tmp_path / "bin", {name: text(value) for name, value in told.items()})
        done = subprocess.run(
            [LUA, STANDINS / "status-page.lua", tmp_path],
            env={
                **environment(libraries),
                "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
                "HOSTNAME": nodeinfo["hostname"],
                "SERVER_ADDR": "fd46:4646:4646:1:1034:56ff:fe78:9abc",
                "HTTP_ACCEPT_LANGUAGE": language,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert not done.stdout.startswith("Status: 5"), done.stdout
        return done.stdout.split("\n\n", 1)[1]

    return serve


def text(value) -> str:
    return json.dumps(value) if REAL else lua(value)


def environment(libraries: Path) -> dict[str, str]:
    folders = [STANDINS]
    if REAL:
        folders += [
            Path(GLUON) / f"package/{name}/luasrc/usr/lib/lua" for name in ("gluon-web", "gluon-core")
        ]
    else:
        folders.append(STANDINS / "lua")
    return {
        "LUA_PATH": ";".join(f"{folder}/?.lua" for folder in folders) + ";;",
        "LUA_CPATH": f"{libraries}/?.so;;",
    }


def write_respondd(folder: Path, answers: dict[str, str]) -> None:
    """Put a gluon-neighbour-info there that tells just these."""
    folder.mkdir(exist_ok=True)
    for name, answer in answers.items():
        (folder / name).write_text(f"{answer}\n")
    program = folder / "gluon-neighbour-info"
    program.write_text(f'#!/bin/sh\nfor last in "$@"; do :; done\ncat {folder}/$last\n')
    program.chmod(0o755)


def test_the_page_has_a_section_with_the_exit_the_reason_the_clients_and_their_roams(page):
    read = Reader(page())
    places = [(attributes.get("class") or "").split()[:1] or [tag] for tag, attributes in read.tags]
    order = [name for (name,) in places if name in ("dl", "xlat464", "frame")]
    assert order[:4] == ["frame", "dl", "xlat464", "frame"]  # in the first frame, below its list
    assert order.count("xlat464") == 1
    ours = {key: value for key, value in read.shown.items() if key.startswith("xlat464/")}
    assert ours == {
        "xlat464/plat": "fddd:1338:1338:1234:5678:9abc::/96",
        "xlat464/why": "lowest metric of 3",
        "xlat464/metric": "352",
        "xlat464/plats": "3",
        "xlat464/clients/total": "7",
        "xlat464/clients/home": "4",
        "xlat464/clients/roamed": "2",
        "xlat464/clients/without_ipv4": "1",
        "xlat464/clients/translating": "3",
        "xlat464/roaming/roams": "5",
        "xlat464/roaming/departures": "6",
        "xlat464/drops/clat/device": "8",
        "xlat464/drops/clat/too-long": "9",
    }
    assert "fd46:4646:4646:1:1034:56ff:fe78:9abc" in read.texts
    provider = [
        attributes["data-mesh-provider"] for _, attributes in read.tags if "data-mesh-provider" in attributes
    ]
    assert provider == ["/cgi-bin/dyn/neighbours-babel"]
    keys = [
        attributes["data-key"] for tag, attributes in read.tags if tag == "th" and "data-key" in attributes
    ]
    assert keys == ["cost", "rxcost", "txcost", "reach"]


def test_without_an_exit_the_section_says_so_and_why(page):
    read = Reader(page(statistics=NO_EXIT))
    assert (read.shown["xlat464/plat"], read.shown["xlat464/why"]) == ("", "no PLAT has a route")
    none = [
        attributes["data-none"]
        for _, attributes in read.tags
        if attributes.get("data-statistics") == "xlat464/plat"
    ]
    assert none == ["none"]
    assert "xlat464/clients/total" not in read.shown


def test_a_node_whose_daemons_do_not_answer_has_a_page(page):
    assert "This node does not tell." in Reader(page(statistics=None)).texts
    assert "This node gives its clients no IPv4." in Reader(page(statistics={"is_clat": False})).texts


def test_what_others_say_is_text_and_never_markup(page):
    nodeinfo = {**NODEINFO, "hostname": HOSTILE}
    said = page(
        nodeinfo,
        {
            **EXIT,
            "plat": HOSTILE,
            "why": HOSTILE,
            "metric": HOSTILE,
            "plats": {"a": 1},
            "drops": {HOSTILE: {HOSTILE: 1}, "b": 2},
        },
    )
    said = re.sub(r"(?s)^.*?</header>", "", said)  # Gluon's own heading has the name as it is
    assert "<script>alert" not in said
    assert "&#60;script&#62;alert" in said


@pytest.mark.skipif(not REAL, reason="no Gluon: say GLUON_TREE=/path GLUON_PACKAGES=/path")
def test_the_section_is_there_in_german(page):
    assert {"Genutzter Ausgang", "Grund", "Ohne IPv4"} <= set(Reader(page(language="de")).texts)


def test_every_text_of_the_section_has_its_german(page):
    view = (ROOT / "package/gluon-464xlat-common/files" / PAGE / "view/xlat464.html").read_text()
    said = set(re.findall(r"<%:(.*?)%>", view)) | set(re.findall(r"translate\('(.*?)'\)", view))
    po = (ROOT / "package/gluon-464xlat-common/i18n/de.po").read_text()
    assert said == set(re.findall(r'^msgid "(.+)"$', po, re.M))


def test_neighbours_are_told_by_mac_where_there_is_one(tmp_path, libraries):
    link = {"rxcost": 96, "txcost": 256, "cost": 120, "reachability": 0xF0FF, "ifname": "mesh0"}
    told = {
        "babel": {
            "mesh0": {
                "ll-addr": "fe80::1",
                "neighbours": {"fe80::ff:fe00:2": {**link, "mac": "02:00:00:00:00:02"}, "fe80::7": link},
            },
            "mesh1": {"ll-addr": "fe80::1", "neighbours": {}},
        }
    }
    body = f"data: {text(told)}\n\ndata: {text({})}\n\nevent: eot\ndata: null\n"
    write_respondd(tmp_path, {"neighbours": body})
    provider = ROOT / "package/gluon-464xlat-babel/luasrc" / PAGE / "providers/neighbours-babel"
    done = subprocess.run(
        [LUA, provider],
        env={**environment(libraries), "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    head, *events = done.stdout.split("\n\n")
    assert head == "Content-type: text/event-stream"
    shown = {"rxcost": 96, "txcost": 256, "cost": 120, "reach": 75, "ifname": "mesh0"}
    assert [json.loads(event.removeprefix("data: ")) for event in events if event] == [
        {"02:00:00:00:00:02": shown, "fe80::7": shown},
        {},
    ]
