# SPDX-License-Identifier: ISC
"""What starts a program again when it dies: a shell of its own for each, which costs a megabyte.

It leaves the program's number in NAME.pid, for process, and goes on as long as NAME.supervisor bears its own: before
that the program has not started yet, and whoever starts it wants to know. All of it is one process group.
"""

from pathlib import Path

SHORT_S = 60  # who does not live so long waits twice as long as before, until that is as long too
SCRIPT = f"""\
#!/bin/sh
# SPDX-License-Identifier: ISC
# supervisor.sh NAME PROGRAM [WORD]...
name=$1
shift
pause=1
note() {{ # in the words of /proc/PID/stat: the 20th behind the name is when it was started
	read -r line <"/proc/$program/stat"
	# shellcheck disable=SC2086 # words
	set -- ${{line##*) }}
	echo "$program ${{20}}" >"$name.pid.new"
	mv "$name.pid.new" "$name.pid"
}}
is_wanted() {{
	read -r supervisor _ <"$name.supervisor" && [ "$supervisor" = $$ ]
}} 2>/dev/null
while :; do
	begun=$(date +%s)
	"$@" &
	program=$!
	note
	wait "$program"
	status=$?
	is_wanted || exit "$status"
	[ $(($(date +%s) - begun)) -lt {SHORT_S} ] || pause=1
	echo "reach: ${{name##*/}} ended with $status, and begins again in $pause s" >&2
	sleep "$pause"
	is_wanted || exit 0
	pause=$((pause * 2))
	[ "$pause" -le {SHORT_S} ] || pause={SHORT_S}
done
"""


def command(folder: Path, name: str, words: list[str]) -> list[str]:
    """The command that runs a program and keeps it running. Its script is in the folder: lists of processes show it."""
    path = folder / "supervisor.sh"
    new = path.with_suffix(".new")
    new.write_text(SCRIPT)
    new.replace(path)  # those that run read on in the old one
    return ["sh", str(path), str(folder / name), *words]
