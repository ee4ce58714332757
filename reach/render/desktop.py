# SPDX-License-Identifier: ISC
"""A switch for a client's desktop: a starter, and a script behind it that asks for the password through zenity.

The icon follows the state: the script writes the starter anew after each change, and a panel shows what it says.
"""

from reach.plan import Plan
from reach.render.commands import File, Place

SCRIPT = "/usr/local/bin/reach-toggle"
STARTER = "/usr/local/share/applications/reach.desktop"
UP, DOWN = "network-vpn", "network-vpn-disconnected"  # of every icon theme


def render(plan: Plan, place: Place) -> list[File]:
    return [File(STARTER, starter(plan), 0o644), File(SCRIPT, script(plan, place), 0o755)]


def starter(plan: Plan) -> str:
    return f"""\
# SPDX-License-Identifier: ISC
[Desktop Entry]
Type=Application
Name=reach {plan.end}
Comment=Switch the way home on or off
Exec={SCRIPT}
Icon={DOWN}
Terminal=false
Categories=Network;
"""


def script(plan: Plan, place: Place) -> str:
    description = place.folder / "reach.toml"
    return f"""\
#!/bin/sh
# SPDX-License-Identifier: ISC
# rendered by reach for {plan.end}
set -u

if [ -e /run/reach/{plan.end}.json ]; then
	command=down text='Switch reach off' icon={DOWN}
else
	command=up text='Switch reach on' icon={UP}
fi

while :; do
	password=$(zenity --password --title="$text") || exit 0
	[ -n "$password" ] && break
done

if ! said=$(printf '%s\\n' "$password" |
	sudo -k -S -p '' reach --file {description} "$command" {plan.end} 2>&1); then
	zenity --error --title=reach --no-markup --text="$said"
	exit 1
fi

# a starter of the user's own shows the state; the one for all users is not theirs to write
own=${{XDG_DATA_HOME:-$HOME/.local/share}}/applications
mkdir -p "$own"
sed "s/^Icon=.*/Icon=$icon/" {STARTER} >"$own/reach.desktop.new" && mv "$own/reach.desktop.new" "$own/reach.desktop"
"""
