# shellcheck shell=sh
# SPDX-License-Identifier: ISC
# `464xlat status --html`: a page for a web server that is there. It asks for nothing else, and has no client's address,
# as everybody may read it.

PAGE_PART=3800 # bytes of a part at most: the whole stays below 20 KB

# Text for a page: what could be markup, or is a control character, is none.
page_text() {
	LC_ALL=C tr -d '\000-\010\013-\037\177' | sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g; s/"/\&quot;/g' | head -c "$PAGE_PART"
}

page_part() { # TITLE; its text comes on stdin
	local text
	text=$(page_text)
	[ -z "$text" ] || printf '<h2>%s</h2>\n<pre>%s</pre>\n' "$1" "$text"
}

# Clients by where their IPv4 address is from, and what was counted; of `l3roamd_py status --json`.
page_clients() {
	tr -d ' \n' | tr '{' '\n' | awk '
	function text_of(key) { return match($0, "\"" key "\":\"[^\"]*") ? substr($0, RSTART + length(key) + 4, RLENGTH - length(key) - 4) : "" }
	function network(address, half, n, m, i, left, right, found) { # the first six groups, written out
		sub("/.*", "", address)
		split(address, half, "::")
		n = split(half[1], left, ":")
		m = split(half[2], right, ":")
		for (i = 1; i <= 6; i++)
			found = found ":" (i <= n ? left[i] : index(address, "::") && i > 8 - m ? right[i - 8 + m] : 0)
		return found
	}
	text_of("clat") { clat = network(text_of("clat")) }
	match($0, "\"translating\":[0-9]") { hosts = substr($0, RSTART + 14) + 0 }
	/"mac":.*"state":/ && text_of("state") != "absent" {
		if (!text_of("home")) without++
		else if (network(text_of("home")) == clat) home++
		else roamed++
	}
	/^"[a-z0-9_]*":[0-9]/ { counters = $0; sub("}.*", "", counters) }
	END {
		if (clat) printf "%6d with an address of this node\n%6d with an address of another node\n%6d without IPv4\n", home, roamed, without
		if (hosts) printf "%6d translate themselves\n", hosts
		n = split(counters, each, "[,:]")
		for (i = 1; i < n; i += 2) if (each[i + 1] > 0) {
			gsub("\"", "", each[i])
			gsub("_", " ", each[i])
			printf "%6d %s\n", each[i + 1], each[i]
		}
	}'
}

page() {
	local host rc=0 said
	export PATH="$PATH:/usr/sbin:/sbin" # cron's has neither
	host=$(uname -n | page_text)
	said=$(status clat plat) || rc=1
	cat <<-END
		<!DOCTYPE html>
		<html lang="en">
		<meta charset="utf-8">
		<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
		<meta name="viewport" content="width=device-width">
		<title>$host: IPv4 through the mesh</title>
		<style>
		body { font: 1em/1.5 sans-serif; color: #222; background: #fff; max-width: 70em; margin: 2em auto; padding: 0 1em }
		h2 { font-size: 1.1em; margin: 1.5em 0 .3em }
		pre { background: #f3f3f3; padding: .7em 1em; margin: 0; overflow: auto }
		</style>
		<h1>$host</h1>
		<p>IPv4 through the mesh, at $(date -u '+%Y-%m-%d %H:%M:%S') UTC</p>
	END
	printf '%s\n' "$said" | page_part Roles
	# other routers of the client network may be clients: a link-local address can hold a MAC
	prefixd --status 2>/dev/null | sed '/others advertise themselves/d' | page_part 'Exit in use'
	l3roamd_py status --json 2>/dev/null | page_clients | page_part 'Clients and roaming'
	$SIIT stat 2>/dev/null | page_part Translator
	return "$rc"
}
