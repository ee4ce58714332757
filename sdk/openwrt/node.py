# SPDX-License-Identifier: ISC
"""A node's root from packages, over this machine's: unpack, configure by site.conf, mount, start.

unpack(files, root)             the packages' files, as an image has them
configure(root, site, mac)      runs the upgrade scripts in it, which write root/etc/config
share(root)                     what the owner of a line says in the wizard: this node is an exit
layers(root, folder)            the same as folders to lay over this machine's /usr and /etc
mount(layers, keep)             lines of sh that do that, for a mount namespace of its own
BOOT                            lines of sh that start the services that the packages have
"""

import io
import os
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

from sdk.debian.micropython import PROGRAM as OLDEST

HERE = Path(__file__).resolve().parent
LUA = "lua5.1"
# in the environment: a program in a folder that stays in sight; else it is the oldest, else PATH's
MICROPYTHON = "MICROPYTHON"
SHARE = """\
local uci = require('simple-uci').cursor()
uci:set('464xlat', 'plat', 'enabled', true)
uci:save('464xlat')
"""
NO_PROGRAMS = "os.execute = function() return 0 end"  # the services that a script switches are this machine's
# {layers}: the folder of layers(). A node may write to its /etc. /run, /var and /tmp are empty as after a boot, except
# the folder {keep}. This machine's babeld is hidden: a node has its own.
MOUNT = """\
mount -t overlay -o lowerdir={layers}/usr:/usr overlay /usr
mount -t overlay -o lowerdir={layers}/etc:/etc,upperdir={layers}/upper,workdir={layers}/work overlay /etc
mount -t tmpfs tmpfs /run
mkdir /run/keep
mount --bind {keep} /run/keep
mount -t tmpfs tmpfs /var
mount -t tmpfs tmpfs /tmp
mkdir -p {keep} /var/lib /var/lock
mount --move /run/keep {keep}
rmdir /run/keep
ln -s /run /var/run
rm -f /etc/init.d/babeld
"""
BOOT = """\
for script in /etc/init.d/*; do
	if head -n 1 "$script" | grep -qx '#!/bin/sh /etc/rc.common'; then "$script" enable; fi
done
for script in /etc/rc.d/S*; do "$script" boot; done
"""


def mount(layers: Path, keep: Path) -> str:
    """Return the lines of sh that lay a node's root over this machine's; keep is a folder that stays in sight."""
    return MOUNT.format(layers=shlex.quote(str(layers)), keep=shlex.quote(str(keep)))


def unpack(files: Iterable[Path], root: Path) -> None:
    """Unpack .ipk files into a root folder, and what stands in for OpenWrt's own scripts."""
    root.mkdir(parents=True, exist_ok=True)
    for file in files:
        with tarfile.open(file) as outer:
            inner = outer.extractfile("./data.tar.gz")
            assert inner is not None
            with tarfile.open(fileobj=io.BytesIO(inner.read())) as data:
                data.extraction_filter = lambda member, path: (
                    member
                )  # our own: Python 3.14 trusts none by itself
                data.extractall(root)
    shutil.copytree(HERE / "root", root, dirs_exist_ok=True)
    program = root / "usr/sbin/micropython"
    program.parent.mkdir(parents=True, exist_ok=True)
    if interpreter := os.environ.get(MICROPYTHON):
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(str(Path(interpreter).resolve()))} "$@"\n')
        program.chmod(0o755)
    elif OLDEST.exists():
        shutil.copy2(OLDEST, program)


def has_micropython() -> bool:
    """Whether a root's programs find their interpreter: unpack()'s, or this machine's."""
    return bool(os.environ.get(MICROPYTHON) or OLDEST.exists() or shutil.which("micropython"))


def configure(root: Path, site: str, mac: str, extra: dict[str, str] | None = None) -> None:
    """Run the upgrade scripts of a root in Gluon's order; site is site.conf's text, extra more environment.

    They write root/etc/config. Raises subprocess.CalledProcessError for one that fails: a bug of ours, for the site
    was checked before.
    """
    file = root / "tmp/site.lua"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"return {site}")
    (root / "etc/config").mkdir(parents=True, exist_ok=True)
    for name in ("firewall", "network"):
        (root / "etc/config" / name).touch()
    environment = {
        **lua_environment(root),
        "SITE_FILE": str(file),
        "PRIMARY_MAC": mac,
        **(extra or {}),
    }
    for script in sorted((root / "lib/gluon/upgrade").glob("*")):
        subprocess.run([LUA, "-e", NO_PROGRAMS, str(script)], env=environment, check=True)
    file.unlink()


def share(root: Path) -> None:
    """Note in a configured root that its owner shares the line, as Gluon's wizard notes it."""
    subprocess.run([LUA, "-e", SHARE], env=lua_environment(root), check=True)


def change(root: Path, section: str, option: str, *values: str, is_list: bool = False) -> None:
    """Change an option of 464xlat in a configured root, as its admin would."""
    quoted = ", ".join(f"'{value}'" for value in values)
    text = f"""local uci = require('simple-uci').cursor()
uci:set('464xlat', '{section}', '{option}', {f"{{ {quoted} }}" if is_list else quoted})
uci:save('464xlat')"""
    subprocess.run([LUA, "-e", text], env=lua_environment(root), check=True)


def lua_environment(root: Path) -> dict[str, str]:
    """The environment in which a root's Lua finds its modules, and UCI its files."""
    return {
        "PATH": os.environ["PATH"],
        "UCI_DIR": str(root / "etc/config"),
        "IPKG_INSTROOT": str(root),
        "LUA_PATH": f"{HERE}/lua/?.lua;{root}/usr/lib/lua/?.lua",
    }


def layers(root: Path, folder: Path) -> None:
    """Sort a root into folders for MOUNT: this machine's /lib and /sbin are in its /usr."""
    for sub in ("upper", "work", "usr/lib"):
        (folder / sub).mkdir(parents=True)
    shutil.copytree(root / "usr", folder / "usr", dirs_exist_ok=True)
    shutil.copytree(root / "lib", folder / "usr/lib", dirs_exist_ok=True)
    shutil.copytree(root / "etc", folder / "etc")
