# SPDX-License-Identifier: ISC
"""What the packages' pages and files say of keys and options, against what reads them."""

import re
import subprocess

import pytest
from gluon_node import LUA, NEEDS_LUA, ROOT, SHARED


@NEEDS_LUA
def test_each_feature_stands_for_packages_that_there_are():
    """Gluon's own gluon-client-bridge and gluon-radvd beside ours."""
    defined = (
        "feature = function(_, names) for _, each in ipairs(names) do print(each) end end "
        "when, _ = feature, function() return true end "
    )
    file = (ROOT / "features").read_text()
    done = subprocess.run([LUA, "-"], input=defined + "\n" + file, capture_output=True, text=True, check=True)
    there = {path.parent.name for path in ROOT.glob("package/*/Makefile")}
    assert set(done.stdout.split()) - {"gluon-client-bridge", "gluon-radvd"} <= there


@pytest.mark.parametrize("role", ["clat", "plat"])
def test_the_docs_name_every_key_that_is_checked(role):
    page = (ROOT / f"docs/package/gluon-464xlat-{role}.rst").read_text()
    for script in (
        f"gluon-464xlat-{role}/check_site.lua",
        "gluon-464xlat-common/luasrc/usr/lib/lua/gluon/xlat464_site.lua",
    ):
        for path in re.findall(r"\{(('\w+'(, )?)+)\}[,)]", (ROOT / "package" / script).read_text()):
            keys = re.findall(r"\w+", path[0])
            if keys[0] not in ("required", "auto", "wan"):
                assert ".".join(keys) in page


def entry(page: str, key: str) -> str:
    """What a page tells of a key of site.conf."""
    found = re.search(rf"^{re.escape(key)} \\: \w+\n((?:    .*\n)+)", page, re.M)
    assert found, f"{key} has no entry"
    return found[1]


def test_the_docs_name_the_defaults_that_the_upgrade_scripts_take():
    page = "".join((ROOT / f"docs/package/gluon-464xlat-{role}.rst").read_text() for role in ("clat", "plat"))
    scripts = [*ROOT.glob("package/*/luasrc/lib/gluon/upgrade/*"), SHARED / "gluon/xlat464.lua"]
    found = dict(re.findall(r"\bsite\.([\w.]+)\(([^(){}]+)\)", "".join(path.read_text() for path in scripts)))
    assert {"clat.margin", "plat.uplink", "roam_auth", "mesh_vpn.mtu"} <= set(found)
    for key, default in found.items():
        assert f"defaults to ``{default}``" in entry(page, key), key


def options_read() -> set[str]:
    """SECTION.OPTION of /etc/config/464xlat, as our scripts on a router read them."""
    found = set()
    library = ROOT / "files/464xlat/lib/464xlat"
    for file in (*ROOT.glob("files/*/etc/init.d/*"), library / "supervise.sh", library / "wan.sh"):
        text = re.sub(r"#.*", "", file.read_text())
        for section, option in re.findall(
            r"(?:config_get(?:_bool)? \w+|add_option|add_list|config_list_foreach) (\S+) (\w+)", text
        ):
            sections = ("clat", "plat") if "role" in section else (section,)
            found |= {f"{name}.{option}" for name in sections}
        for options in re.findall(r"for key in ([\w ]+); do\n\t+config_get value prefixd", text):
            found |= {f"prefixd.{option}" for option in options.split()}
        found |= {f"siit.{option}" for option in re.findall(r"^\tpass (\w+) ", text, re.M)}
    return found


def options_explained() -> set[str]:
    """SECTION.OPTION that /etc/config/464xlat as installed tells of."""
    explained, section = set(), ""
    for line in (ROOT / "files/464xlat/etc/config/464xlat").read_text().splitlines():
        if words := re.match(r"config \w+ '(\w+)'", line):
            section = words[1]
        elif words := re.match(r"\t#?(?:option|list) (\w+)", line):
            explained.add(f"{section}.{words[1]}")
    return explained


def test_the_configuration_file_explains_every_option_that_is_read_and_no_other():
    assert options_explained() == options_read()


def test_the_options_that_docs_set_are_there():
    said = {
        f"{section}.{option}"
        for page in ROOT.glob("docs/**/*.rst")
        for section, option in re.findall(r"\b464xlat\.(\w+)\.(\w+)", page.read_text())
    }
    assert {"node.clat_range", "plat.enabled"} <= said <= options_explained()
