#!/bin/sh
# SPDX-License-Identifier: ISC
# What a reviewer should not have to look for: style, types, shell and Lua traps, a licence line in every file.
set -u

cd "$(dirname "$0")/.." || exit
failed=0

check() { # NAME COMMAND...
	printf 'lint: %s\n' "$1"
	shift
	"$@" || failed=1
}

# every shell program of ours by its first line, wherever it lives; and the library files, which have none
shell_files() {
	git ls-files -co --exclude-standard | while IFS= read -r file; do
		[ -f "$file" ] || continue
		case "${file##*/}" in
		*.sh) printf '%s\n' "$file" ;;
		*.*) ;;
		*) head -n 1 "$file" | grep -q '^#!/bin/sh' && printf '%s\n' "$file" ;;
		esac
	done
}

# every Lua file by its name, and Gluon's scripts by their first line
lua_files() {
	git ls-files -co --exclude-standard -- features '*.lua' 'package/*/luasrc/*' | sort -u | while IFS= read -r file; do
		[ -f "$file" ] || continue
		case "${file##*/}" in
		*.lua | features) printf '%s\n' "$file" ;;
		*) head -n 1 "$file" | grep -q '^#!/usr/bin/lua' && printf '%s\n' "$file" ;;
		esac
	done
}

# one at a time, so that no file at all is no error
check_shell() {
	local status=0
	for file in $(shell_files); do shellcheck -x "$file" || status=1; done
	return "$status"
}

check_lua() {
	local status=0 told
	for file in $(lua_files); do
		told=$(luacheck -q "$file") || { status=1 && printf '%s\n' "$told"; } # all is well is not worth a line
	done
	return "$status"
}

check_licences() {
	local status=0
	for file in $(git ls-files -co --exclude-standard); do
		[ -s "$file" ] || continue
		case "$file" in LICENSE | LICENSES/* | .gitignore | *.md | *.dev | *.json | requirements.* | *.pcap | *.png) continue ;; esac
		case "$(grep -m 1 'SPDX-License-Identifier: ' "$file")" in
		*': ISC' | *': GPL-2.0-only' | *': ISC '[*-]* | *': GPL-2.0-only '[*-]*) continue ;; # and the comment's end
		esac
		printf '%s: no SPDX-License-Identifier line that says ISC or GPL-2.0-only alone\n' "$file"
		status=1
	done
	return "$status"
}

check 'ruff' .venv/bin/python -m ruff check -q .
check 'ruff format' .venv/bin/python -m ruff format -q --check .
check 'mypy' .venv/bin/python -m mypy --no-error-summary
check 'MicroPython' .venv/bin/python -m sdk.micropython_lint
check 'shellcheck' check_shell
check 'luacheck' check_lua
check 'licences' check_licences
exit $failed
