# SPDX-License-Identifier: ISC
"""The page of Gluon's config wizard that asks whether the line is shared.

It runs on our stand-in for gluon-web-model's classes. With GLUON_TREE=/path/to/gluon in the environment it runs on
Gluon's own. Then Gluon's dispatcher, templates and catalogues, compiled for this machine, render the whole wizard.
"""

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from gluon_node import GLUON, LUA, NEEDS_LUA, Router, changed

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "package/gluon-config-mode-464xlat-plat"
PAGE = PACKAGE / "luasrc/lib/gluon/config-mode/wizard/0310-464xlat-plat.lua"
STANDINS = ROOT / "tests/gluon"
SHARE, LIMIT = "xlat464_share", "xlat464_limit"
UP, DOWN = "xlat464_limit_up_kbit", "xlat464_limit_down_kbit"
pytestmark = NEEDS_LUA


class Owner(Router):
    """A node in config mode, and who sets it up."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        names = ("gluon-web-model", "gluon-web") if GLUON else ()
        places = [f"{GLUON}/package/{name}/luasrc/usr/lib/lua/?.lua" for name in names]
        self.wizard_path = ";".join([*places, f"{STANDINS}/lua/?.lua", self.environment["LUA_PATH"]])

    def run_page(self, *fields: str) -> str:
        stubs = "package.preload['gluon.web.template.parser'] = function() return {} end\n" + (
            "package.preload['gluon.util'] = function() return {} end"
        )
        done = subprocess.run(
            [LUA, "-e", f"{self.before}\n{stubs}", str(STANDINS / "wizard.lua"), str(PAGE), *fields],
            env={**self.environment, "LUA_PATH": self.wizard_path},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        self.commit()
        return done.stdout

    def asked(self) -> dict[str, str]:
        """What is filled in already, by field."""
        return dict(re.findall(r"^(\w+)\t[^\t]+\t(.*)$", self.run_page(), re.M))

    def send(self, *fields: str) -> str:
        return self.run_page("form=1", *fields).strip()

    def decided(self) -> tuple[str, str, str]:
        plat = self.section("464xlat", "plat")
        return plat["enabled"], plat["limit_up_kbit"], plat["limit_down_kbit"]


@pytest.fixture
def owner(tmp_path):
    owner = Owner(tmp_path)
    owner.upgrade()
    return owner


def test_nothing_is_shared_unless_the_owner_says_so_and_he_is_asked_for_a_limit(owner):
    assert owner.decided() == ("0", "0", "0")
    assert owner.asked() == {SHARE: "false", LIMIT: "true", DOWN: "nil", UP: "nil"}
    assert owner.send() == "valid"
    assert owner.decided() == ("0", "0", "0")


def test_what_the_owner_says_is_set_and_stays_whatever_comes_later(owner):
    assert owner.send(f"{SHARE}=1", f"{LIMIT}=1", f"{DOWN}=20", f"{UP}=2.5") == "valid"
    assert owner.decided() == ("1", "2500", "20000")
    owner.upgrade(changed("plat", {"enabled": False, "limit_up_kbit": 9000, "limit_down_kbit": 9000}))
    assert owner.decided() == ("1", "2500", "20000")
    assert owner.asked() == {SHARE: "true", LIMIT: "true", DOWN: "20", UP: "2.5"}
    assert owner.send(f"{SHARE}=1") == "valid"
    assert owner.decided() == ("1", "0", "0")
    assert owner.asked()[LIMIT] == "false"
    # what is not shown is not sent, and then not asked for
    owner.send(f"{SHARE}=1", f"{LIMIT}=1", f"{DOWN}=.5", f"{UP}=10000")
    assert owner.send() == "valid"
    assert owner.decided() == ("0", "10000000", "500")
    owner.upgrade(changed("plat.enabled", True))
    assert owner.decided() == ("0", "10000000", "500")


@pytest.mark.parametrize("value", ["", "0", "0.063", "10001", "-1", "8,5", "8 Mbit", "1e3", "'", "$(reboot)"])
@pytest.mark.parametrize("field", [UP, DOWN])
def test_a_bandwidth_that_is_none_is_refused_and_changes_nothing(owner, field, value):
    other = DOWN if field == UP else UP
    assert owner.send(f"{SHARE}=1", f"{LIMIT}=1", f"{other}=8", f"{field}={value}") == "invalid"
    assert owner.decided() == ("0", "0", "0")


def test_what_the_page_takes_is_what_the_exit_takes():
    least, most = re.search(r"range\(([\d.]+),(\d+)\)", PAGE.read_text()).groups()
    library = (ROOT / "files/464xlat/lib/464xlat/limit.sh").read_text()
    bounds = re.search(r"LIMIT_MIN_KBIT=(\d+)\nLIMIT_MAX_KBIT=(\d+)", library).groups()
    assert (str(round(float(least) * 1000)), f"{most}000") == bounds


def catalogue(name: str) -> dict[str, str]:
    """A .po or .pot file's texts, by their English."""
    text = re.sub(r'"\n"', "", (PACKAGE / "i18n" / name).read_text())
    return {key: value for key, value in re.findall(r'^msgid "(.*)"\nmsgstr "(.*)"$', text, re.M) if key}


def test_every_sentence_is_in_every_language(owner):
    sentence, *fields = owner.run_page().splitlines()
    texts = {sentence, *(line.split("\t")[1] for line in fields)}
    assert sentence.count(".") == 1, "one sentence"
    assert set(catalogue("gluon-config-mode-464xlat-plat.pot")) == texts
    for language in ("de", "fr"):
        translated = catalogue(f"{language}.po")
        assert set(translated) == texts
        assert all(translated.values())


# the folders of an image are this test's, and nothing that the wizard starts at its end is this machine's
CGI = """
local root = os.getenv('IMAGE')
local unistd = require 'posix.unistd'
unistd.fork = function() return 1 end
unistd.execp = nil
os.execute = function(command) io.stderr:write(command, '\\n') end
local posix_glob, load_file = require 'posix.glob', loadfile
local glob = posix_glob.glob
posix_glob.glob = function(path) return glob(path) end -- Debian's takes no flags
loadfile = function(path) return load_file((path:gsub('^/lib/', root .. '/lib/'))) end
package.preload['gluon.util'] = function()
	return {
		glob = function(path) return glob(root .. path) or {} end,
		readfile = function() return 'v1' end,
		contains = function() return false end,
	}
end
package.preload['gluon.site'] = function() return {} end
package.preload['pretty_hostname'] = function() return { get = function() return 'a-node' end } end
require 'gluon.web.cgi' {
	base_path = root .. '/lib/gluon/config-mode',
	layout_package = 'gluon-config-mode-theme',
	layout_template = 'theme/layout',
}
"""
WEB = ("gluon-web", "gluon-web-model", "gluon-config-mode-theme", "gluon-config-mode-core")


class Wizard(Owner):
    """The whole of Gluon's wizard, with our page as the only one."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.image = folder / "web"
        packages = [Path(GLUON) / "package" / name for name in WEB]
        for package in (*packages, PACKAGE):
            for part in ("files", "luasrc"):
                if (package / part).exists():
                    shutil.copytree(package / part, self.image, dirs_exist_ok=True)
        mode, web = self.image / "lib/gluon/config-mode", self.image / "lib/gluon/web"
        for name in ("error", "model"):
            (mode / "view" / name).symlink_to(web / "view" / name)
        shutil.copy(
            Path(GLUON) / "package/gluon-web-model/javascript/gluon-web-model.js", mode / "www/static"
        )
        source = folder / "source"
        shutil.copytree(Path(GLUON) / "package/gluon-web/src", source)
        headers = subprocess.check_output(["pkg-config", "--cflags", "lua5.1"], text=True).strip()
        subprocess.run(
            ["make", "-s", "-C", source, f"CPPFLAGS={headers}", "parser.so", "gluon-po2lmo"], check=True
        )
        library = self.image / "usr/lib/lua/gluon/web/template"
        library.mkdir(parents=True)
        shutil.copy(source / "parser.so", library)
        (mode / "i18n").mkdir()
        for package in (*packages, PACKAGE):
            for po in package.glob("i18n/*.po"):
                lmo = mode / "i18n" / f"{package.name}.{po.stem}.lmo"
                subprocess.run([source / "gluon-po2lmo", po, lmo], check=True)
        (self.config / "gluon-setup-mode").write_text("config setup_mode\n\toption configured '0'\n")

    def request(self, language: str, fields: dict[str, str] | None = None) -> str:
        """The page as a browser gets it, that has sent fields or nothing."""
        fields = fields or {}
        parts = [
            f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in fields.items()
        ]
        body = "".join(f"--edge\r\n{part}\r\n" for part in parts) + "--edge--\r\n"
        files = f"{self.image}/usr/lib/lua"
        done = subprocess.run(
            [LUA, "-e", f"{self.before}\n{CGI}"],
            input=body,
            env={
                **self.environment,
                "PATH": "/nowhere",
                "IMAGE": str(self.image),
                "LUA_PATH": f"{files}/?.lua;{STANDINS}/lua/?.lua;{self.environment['LUA_PATH']};;",
                "LUA_CPATH": f"{files}/?.so;{self.environment.get('LUA_CPATH', '')};;",
                "REQUEST_METHOD": "POST" if fields else "GET",
                "CONTENT_TYPE": "multipart/form-data; boundary=edge",
                "HTTP_HOST": "192.168.1.1",
                "HTTP_ORIGIN": "http://192.168.1.1",
                "CONTENT_LENGTH": str(len(body)),
                "SCRIPT_NAME": "/cgi-bin/config",
                "PATH_INFO": "/wizard",
                "HTTP_ACCEPT_LANGUAGE": language,
            },
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "Status: 200" in done.stdout, done.stdout
        assert "terminated with an exception" not in done.stdout, done.stdout
        self.commit()
        return done.stdout


@pytest.fixture
def wizard(tmp_path):
    if GLUON is None:
        pytest.skip("no Gluon: say GLUON_TREE=/path")
    lacks = [name for name in ("make", "cc", "pkg-config") if shutil.which(name) is None]
    if lacks or subprocess.run([LUA, "-e", "require 'posix.unistd'"], capture_output=True).returncode:
        pytest.skip("no posix for Lua, or no compiler: apt-get install lua-posix liblua5.1-0-dev pkg-config")
    wizard = Wizard(tmp_path)
    wizard.upgrade()
    return wizard


@pytest.mark.parametrize("language", ["en", "de", "fr"])
def test_gluons_wizard_shows_the_page_in_each_language(wizard, language):
    page = html.unescape(wizard.request(language))
    texts = catalogue("gluon-config-mode-464xlat-plat.pot")
    for text in texts if language == "en" else catalogue(f"{language}.po").values():
        assert text in page
    assert 'name="id.1.2.xlat464_share"' in page


def test_gluons_wizard_sets_what_is_sent_and_refuses_what_its_validator_refuses(wizard):
    prefix = "id.1.2."
    good = {
        "id.1": "1",
        f"{prefix}{SHARE}": "1",
        f"{prefix}{LIMIT}": "1",
        f"{prefix}{UP}": "2.5",
        f"{prefix}{DOWN}": "20",
    }
    page = wizard.request("en", {**good, f"{prefix}{UP}": "much"})
    assert page.count("gluon-value-error") == 1
    assert 'value="much"' in page
    assert wizard.decided() == ("0", "0", "0")
    page = wizard.request("en", good)
    assert "Your node's setup is now complete." in html.unescape(page)
    assert wizard.decided() == ("1", "2500", "20000")
