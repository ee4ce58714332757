# SPDX-License-Identifier: ISC
"""What `reach up` does about flows that began under other rules, as a script for machines without Python. Pure.

The decision is that of reach.flows, in awk over what `conntrack -L` prints. The script remembers the rules of its last
run, for those that are gone decide about flows as well. OpenWrt's firewall includes it: it must not end that shell.
"""

from reach import flows
from reach.firewall import NUMBERS, Firewall
from reach.plan import Plan
from reach.render.commands import File, Place

NOTHING = "-"
AWK = r"""
function power(n, result) { # of 2; busybox may have no ^
	for (result = 1; n > 0; n--) result *= 2
	return result
}
function number4(a, parts) {
	split(a, parts, ".")
	return ((parts[1] * 256 + parts[2]) * 256 + parts[3]) * 256 + parts[4]
}
function hex(text, i, sum) {
	for (i = 1; i <= length(text); i++) sum = sum * 16 + index("0123456789abcdef", substr(text, i, 1)) - 1
	return sum + 0
}
function groups6(a, out, halves, left, right, i, n, m) {
	n = split(a, halves, "::")
	m = split(halves[1], left, ":")
	for (i = 1; i <= 8; i++) out[i] = i <= m ? hex(left[i]) : 0
	if (n < 2) return
	m = split(halves[2], right, ":")
	for (i = 1; i <= m; i++) out[8 - m + i] = hex(right[i])
}
function is_in6(a, base, bits, one, other, i, step) {
	groups6(a, one)
	groups6(base, other)
	for (i = 1; i <= 8 && bits > 0; i++) {
		step = bits >= 16 ? 1 : power(16 - bits)
		if (int(one[i] / step) != int(other[i] / step)) return 0
		bits -= 16
	}
	return 1
}
function is_in(a, net, parts) {
	split(net, parts, "/")
	if ((a ~ /:/) != (net ~ /:/)) return 0
	if (a ~ /:/) return is_in6(a, parts[1], parts[2])
	return int(number4(a) / power(32 - parts[2])) == int(number4(parts[1]) / power(32 - parts[2]))
}
function is_in_any(a, list, nets, n, i) {
	n = split(list, nets, ",")
	for (i = 1; i <= n; i++) if (is_in(a, nets[i])) return 1
	return 0
}
function has_port(list, protocol, ranges, n, i, ends) { # of ranges, with a protocol before a slash, or without
	n = split(list, ranges, ",")
	for (i = 1; i <= n; i++) {
		if (protocol != "") {
			if (index(ranges[i], protocol "/") != 1) continue
			sub(/^[0-9]+\//, "", ranges[i])
		}
		split(ranges[i], ends, "-")
		if (port >= ends[1] + 0 && port <= ends[2] + 0) return 1
	}
	return 0
}
function target(when, i, f) { # where rules lead the flow; empty: nowhere else
	for (i = 1; i <= dnats[when]; i++) {
		split(dnat[when, i], f, " ")
		if (destination != f[2] || (f[1] != "-" && f[1] != protocol) || f[8] != (source in own)) continue
		if ((f[3] != "-" && !has_port(f[3], "")) || (f[4] != "-" && !is_in_any(source, f[4]))) continue
		if (f[7] != "-" && has_port(f[7], protocol)) return ""
		return f[5] " " (f[6] == "-" ? port : f[6])
	}
	return ""
}
function name_of(when, i, f, inside) { # the source that rules give it; any: one that this machine has; empty: its own
	for (i = 1; i <= snats[when]; i++) {
		split(snat[when, i], f, " ")
		if (f[3] == "-" && f[1] != "-" && is_in_any(destination, f[1])) inside = 1
	}
	for (i = 1; i <= snats[when]; i++) {
		split(snat[when, i], f, " ")
		if (f[3] == "-" ? inside : !is_in(answerer, f[3]) || (f[4] && led == "")) continue
		if (f[1] == "-" || is_in_any(source, f[1])) return f[2] == "-" ? "any" : f[2]
	}
	return ""
}
function is_misnamed(name, was) {
	if ((answerer in own) || (source in own)) return 0
	name = name_of("now")
	was = name_of("before")
	if (name != "") return answered == source || (name != "any" && name != answered)
	return was != "" && answered != source && (was == "any" || was == answered)
}
function is_stale(wanted) {
	led = answerer == destination && answering == port ? "" : answerer " " answering
	wanted = target("now")
	if (wanted != "" && led != wanted) return 1
	if (wanted == "" && led != "") return led == target("before")
	return is_misnamed()
}
$1 == "own" { own[$2] = 1; next }
$2 == "dnat" { dnat[$1, ++dnats[$1]] = substr($0, length($1 $2) + 3); next }
$2 == "snat" { snat[$1, ++snats[$1]] = substr($0, length($1 $2) + 3); next }
{
	seen_source = port = sport = answering = 0
	protocol = $2
	for (i = 3; i <= NF; i++) {
		split($i, pair, "=")
		if (pair[1] == "src") { if (seen_source++) answerer = pair[2]; else source = pair[2] }
		if (pair[1] == "dst") { if (seen_source > 1) answered = pair[2]; else destination = pair[2] }
		if (pair[1] == "sport") { if (seen_source > 1) answering = pair[2]; else sport = pair[2] }
		if (pair[1] == "dport" && seen_source < 2) port = pair[2]
	}
	if (seen_source > 1 && is_stale()) {
		words = "-f " (source ~ /:/ ? "ipv6" : "ipv4") " -p " ($1 == "unknown" ? $2 : $1)
		print words " -s " source " -d " destination (port ? " --sport " sport " --dport " port : "")
	}
}
"""
SCRIPT = """\
# SPDX-License-Identifier: ISC
# rendered by reach for {end}: ask anew about flows that began under other rules
# sh flows.sh [down]; needs conntrack
(
	last=/var/run/reach-flows
	if [ "${{1:-}}" = down ]; then rules=; else rules='{rules}'; fi
	if ! command -v conntrack >/dev/null; then
		echo 'reach: flows from before go on as they began: install conntrack' >&2
	else
		{{
			ip -o addr show 2>/dev/null | sed -n 's/.* inet6\\{{0,1\\}} \\([^ /]*\\).*/own \\1/p'
			if [ -f "$last" ]; then sed 's/^/before /' "$last"; fi
			printf '%s' "$rules" | sed 's/^/now /'
			for family in ipv4 ipv6; do conntrack -L -f "$family"; done
		}} 2>/dev/null | awk '{awk}' | while read -r words; do
			# shellcheck disable=SC2086 # words
			conntrack -D $words >/dev/null 2>&1
		done
	fi
	if [ -n "$rules" ]; then printf '%s' "$rules" >"$last"; else rm -f "$last"; fi
	:
)
"""


def joined(words: list[str]) -> str:
    return ",".join(words) or NOTHING


def dnat_line(rule: flows.Rule) -> str:
    ranges = [f"{first}-{last}" for first, last in rule["ports"]]
    excepted = [f"{NUMBERS[protocol]}/{first}-{last}" for protocol, first, last in rule["excepted"]]
    protocol = NUMBERS[rule["protocol"]] if rule["protocol"] else NOTHING
    words = [protocol, rule["destination"], joined(ranges), joined(rule["source"]), rule["to"]]
    words += [rule["to_port"] or NOTHING, joined(excepted), int(rule["own"])]
    return f"dnat {' '.join(map(str, words))}"


def snat_line(rule: flows.Rule) -> str:
    to = rule.get("destination", NOTHING)
    to += "" if "/" in to or to == NOTHING else "/128" if ":" in to else "/32"
    return f"snat {joined(rule['source'])} {rule['to'] or NOTHING} {to} {int(rule.get('published', False))}"


def rules_text(rules: flows.Rules) -> str:
    lines = [*map(dnat_line, rules.dnats), *map(snat_line, rules.snats)]
    return "".join(f"{line}\n" for line in lines)


def has_flows(firewall: Firewall) -> bool:
    return bool(firewall.dnats or firewall.snats)


def files(plan: Plan, place: Place) -> list[File]:
    """The script, where a plan has rules that decide about flows."""
    if not has_flows(plan.firewall):
        return []
    rules = flows.Rules(
        list(map(flows.rule, plan.firewall.dnats)), list(map(flows.snat_rule, plan.firewall.snats))
    )
    text = SCRIPT.format(end=plan.end, rules=rules_text(rules), awk=AWK)
    return [File(place.flows, text)]
