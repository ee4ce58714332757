# SPDX-License-Identifier: ISC
"""What starts a program again when it dies: a shell of its own for each, which costs a megabyte.

It leaves the program's number in NAME.pid, for process, and goes on as long as NAME.keeper bears its own: before that
the program has not started yet, and whoever starts it wants to know. All of it is one process group.
"""

SHORT_S = 60  # who does not live so long waits twice as long as before, until that is as long too
SCRIPT = f"""\
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
	read -r keeper _ <"$name.keeper" && [ "$keeper" = $$ ]
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


def command(name: str, words: list[str]) -> list[str]:
    """The command that runs a program and keeps it running; `name` is the path that NAME.pid is made of."""
    return ["sh", "-c", SCRIPT, "reach-keeper", name, *words]
