# SPDX-License-Identifier: ISC
"""Firewalls that people have, as far as packets are concerned: of providers' images, of what distributions bring, of
Docker, and by hand. Each is a script for a machine whose device to the internet is eth0.
"""

ORACLE = """
iptables-restore <<END
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p icmp -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -p udp --sport 123 -j ACCEPT
-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT
-A INPUT -j REJECT --reject-with icmp-host-prohibited
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
COMMIT
END
"""
LEGACY = ORACLE.replace("iptables-restore", "iptables-legacy-restore")
# the chains of a zone are many more, and empty
FIREWALLD = """
nft -f - <<END
table inet firewalld {
	chain filter_INPUT {
		type filter hook input priority filter + 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		iifname "lo" accept
		ct state invalid drop
		jump zones_in
		reject with icmpx admin-prohibited
	}
	chain zones_in { goto in_public; }
	chain in_public {
		jump in_public_allow
		meta l4proto { icmp, ipv6-icmp } accept
		reject with icmpx admin-prohibited
	}
	chain in_public_allow { tcp dport 22 accept; }
	chain filter_FORWARD {
		type filter hook forward priority filter + 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		iifname "lo" accept
		ct state invalid drop
		ip6 daddr { ::/96, 2002:c0a8::/32 } reject with icmpv6 addr-unreachable
		jump zones_fwd
		reject with icmpx admin-prohibited
	}
	chain zones_fwd { goto fwd_public; }
	chain fwd_public { jump fwd_public_allow; reject with icmpx admin-prohibited; }
	chain fwd_public_allow { }
}
END
"""
DOCKER = """
iptables -P FORWARD DROP
for chain in DOCKER DOCKER-USER DOCKER-ISOLATION-STAGE-1 DOCKER-ISOLATION-STAGE-2; do iptables -N "$chain"; done
iptables -A FORWARD -j DOCKER-USER
iptables -A FORWARD -j DOCKER-ISOLATION-STAGE-1
iptables -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A FORWARD -o docker0 -j DOCKER
iptables -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
iptables -A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
iptables -A DOCKER-ISOLATION-STAGE-1 -j RETURN
iptables -A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
iptables -A DOCKER-USER -j RETURN
"""
UFW = """
iptables -P INPUT DROP
iptables -P FORWARD DROP
for chain in before-input user-input after-input before-forward user-forward skip-to-policy not-local; do
	iptables -N "ufw-$chain"
done
for chain in before user after; do iptables -A INPUT -j "ufw-$chain-input"; done
for chain in before user; do iptables -A FORWARD -j "ufw-$chain-forward"; done
iptables -A ufw-before-input -i lo -j ACCEPT
iptables -A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A ufw-before-input -m conntrack --ctstate INVALID -j DROP
iptables -A ufw-before-input -j ufw-not-local
iptables -A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
iptables -A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN
iptables -A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
iptables -A ufw-not-local -j DROP
iptables -A ufw-user-input -p tcp --dport 22 -j ACCEPT
iptables -A ufw-after-input -p udp --dport 137 -j ufw-skip-to-policy
iptables -A ufw-skip-to-policy -j DROP
iptables -A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
"""
# written by hand: a chain that rejects, to which everything jumps in the end
BY_HAND = """
iptables -N no
iptables -A no -m limit --limit 2/sec -j LOG
iptables -A no -p tcp -j REJECT --reject-with tcp-reset
iptables -A no -j REJECT
iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -A INPUT ! -s 10.0.0.0/8 -p tcp -m multiport --dports 22,8000:8010 --syn -j ACCEPT
iptables -A INPUT -m conntrack --ctstate NEW -j no
iptables -A FORWARD -i eth1 -o eth0 -j ACCEPT
iptables -A FORWARD -m conntrack ! --ctstate NEW -j ACCEPT
iptables -A FORWARD -j no
iptables -A OUTPUT -o eth0 -p tcp --dport 8080 -j no
iptables -A OUTPUT -p udp -d 203.0.113.0/24 -m conntrack --ctstate NEW -j DROP
"""
NFT = """
nft -f - <<END
table inet filter {
	set open { type inet_service; flags interval; elements = { 22, 8000-8010 } }
	chain input {
		type filter hook input priority 0;
		iif lo accept
		ct state vmap { established : accept, related : accept, invalid : drop }
		tcp flags & (fin|syn|rst|ack) != syn ct state new drop
		tcp dport @open accept
		ip saddr { 10.0.0.0/8, 172.16.0.0/12 } udp dport 51820 accept
		limit rate over 1000/second drop
		counter reject
	}
	chain forward {
		type filter hook forward priority 0;
		ct state established,related accept
		iifname . oifname { "eth1" . "eth0" } accept
		meta l4proto { tcp, udp } th dport 8080 accept
		goto no
	}
	chain output {
		type filter hook output priority 0; policy drop;
		ct state established,related accept
		udp dport 51820 ip daddr 203.0.113.99 accept
		tcp dport { 22, 443 } accept
	}
	chain no { log prefix "no " reject with icmpx port-unreachable; }
}
END
"""
# lets all of it through in the end
OPEN = """
nft -f - <<END
table ip mine {
	chain forward {
		type filter hook forward priority 0; policy drop;
		iifname { "eth0", "eth1", "wg*" } accept
	}
	chain input {
		type filter hook input priority 0; policy drop;
		iifname vmap { "lo" : accept, "eth0" : jump outside, "wg0" : accept }
	}
	chain outside {
		ct state established accept
		ip saddr 203.0.113.200 drop
		tcp dport { 22, 443, 8001, 8080 } accept; udp dport 1-65535 accept;
	}
}
END
"""
# before and behind routing, where scrubbers and limits against floods are
EARLY_NFT = """
nft -f - <<END
table inet early {
	chain before {
		type filter hook prerouting priority raw; policy accept;
		iifname "eth0" tcp dport { 22, 443 } accept
		iifname "eth0" tcp sport { 22, 443, 8001, 8080 } accept
		iifname "eth0" udp sport != 40000 accept
		iifname "eth0" reject with icmpx admin-prohibited
	}
	chain behind {
		type filter hook postrouting priority srcnat + 10; policy accept;
		oifname "eth1" tcp dport 443 drop
		oifname "eth0" udp dport 5060 drop
	}
	chain route { type route hook output priority mangle; tcp dport 8001 drop; }
}
END
"""
EARLY_IPTABLES = """
iptables -t raw -A PREROUTING -i eth0 -p udp --dport 51820 -j DROP
iptables -t mangle -A PREROUTING -m conntrack --ctstate INVALID -j DROP
iptables -t mangle -A PREROUTING -i eth0 -p tcp --dport 8001 -m conntrack --ctstate NEW -j DROP
iptables -t mangle -A POSTROUTING -o eth0 -p tcp --dport 8080 -j DROP
iptables -t raw -A OUTPUT -p udp --dport 5060 -j DROP
"""
# by nft's hand in the table that iptables has, which does not list it
SHARED = """
nft -f - <<END
table ip filter {
	set block { type ipv4_addr; flags interval; elements = { 198.51.100.0-198.51.100.99, 192.0.2.0/24 } }
	map ports { type inet_service : verdict; elements = { 22 : accept, 443 : jump web } }
	chain web { limit rate 100/second burst 5 packets counter accept; }
	chain input {
		type filter hook input priority -10; policy accept;
		ip saddr @block drop
		iifname != "lo" ip daddr 203.0.113.7 tcp dport vmap @ports
		ct state { established, related } accept
		ct direction original udp dport 5000-6000 counter accept
		iifname "lo" accept
		counter drop
	}
}
END
iptables -A FORWARD -i eth1 -p tcp --dport 443 -j REJECT
"""
ALL = {
    "Oracle's image": ORACLE,
    "the same by the older program": LEGACY,
    "firewalld": FIREWALLD,
    "Docker": DOCKER,
    "ufw": UFW,
    "by hand, iptables": BY_HAND,
    "by hand, nft": NFT,
    "by hand, nft, beside iptables": SHARED,
    "early, nft": EARLY_NFT,
    "early, iptables": EARLY_IPTABLES,
    "an open one": OPEN,
}
FLUSH = """
nft flush ruleset
for program in iptables-legacy ip6tables-legacy; do
	"$program" -P INPUT ACCEPT; "$program" -P FORWARD ACCEPT; "$program" -F; "$program" -X
done 2>/dev/null
:
"""
