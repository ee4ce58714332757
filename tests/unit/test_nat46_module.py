# SPDX-License-Identifier: ISC
"""The model of nat46 against nat46's own parser and printer, compiled for user space, where NAT46_SOURCE names them.

    NAT46_SOURCE=/path/to/nat46/modules pytest tests/unit/test_nat46_module.py

Some functions are not in nat46-core.c. The C library stands in for the kernel's number and address functions, and a few
lines for nat46_insert and nat46_remove, which belong to a network device.
"""

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from nat46_module import Module

SOURCE = os.environ.get("NAT46_SOURCE")
pytestmark = [
    pytest.mark.skipif(not SOURCE, reason="no source of nat46: NAT46_SOURCE=/path/nat46/modules names none"),
    pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc"),
]

BEFORE = r"""
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef uint8_t u8;
typedef uint32_t u32;
#define simple_strtol strtol
#define nat46debug(...)
typedef enum { NAT46_XLATE_NONE, NAT46_XLATE_MAP, NAT46_XLATE_MAP0, NAT46_XLATE_RFC6052 } nat46_xlate_style_t;
typedef struct {
	nat46_xlate_style_t style;
	struct in6_addr v6_pref;
	int v6_pref_len;
	u32 v4_pref;
	int v4_pref_len, ea_len, psid_offset;
} nat46_xlate_rule_t;
typedef struct { nat46_xlate_rule_t local, remote; } nat46_xlate_rulepair_t;
typedef struct { int debug, npairs; nat46_xlate_rulepair_t pairs[64]; } nat46_instance_t;
static int in6_pton(const char *text, int n, u8 *to, int end, const char **rest) {
	struct in6_addr read;
	return inet_pton(AF_INET6, text, &read) == 1 && memcpy(to, &read, 16);
}
static int in4_pton(const char *text, int n, u8 *to, int end, const char **rest) {
	struct in_addr read;
	return inet_pton(AF_INET, text, &read) == 1 && memcpy(to, &read, 4);
}
static char texts[4][64];
static char *text4(int i, void *from) { return (char *)inet_ntop(AF_INET, from, texts[i], 64); }
static char *text6(int i, void *from) { return (char *)inet_ntop(AF_INET6, from, texts[i], 64); }
"""
BEHIND = r"""
#define CUT 200
static nat46_instance_t device;
static int looks_like(nat46_instance_t *wanted, int i) {
	char one[CUT], other[CUT];
	int length = nat46_get_ipair_config(wanted, 0, one, CUT);
	return length == nat46_get_ipair_config(&device, i, other, CUT) && !strncmp(one, other, length);
}
static void cut_out(int i) {
	memmove(device.pairs + i, device.pairs + i + 1, sizeof(device.pairs[0]) * (--device.npairs - i));
}
static void change(char kind, char *words) {
	nat46_instance_t wanted = {.npairs = 1};
	if (kind == 'c') nat46_set_config(&device, words, 0);
	if (kind == 'i') {
		memmove(device.pairs + 1, device.pairs, sizeof(device.pairs[0]) * device.npairs++);
		memset(device.pairs, 0, sizeof(device.pairs[0]));
		nat46_set_ipair_config(&device, 0, words, 0);
	}
	if (kind == 'r' && nat46_set_ipair_config(&wanted, 0, words, 0) >= 0)
		for (int i = 0; i < device.npairs; i++)
			if (looks_like(&wanted, i)) { cut_out(i); break; }
}
int main(void) {
	char line[4096], shown[CUT];
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = 0;
		if (*line == 'n') device = (nat46_instance_t){.npairs = 1};
		change(*line, line + 2);
		for (int i = 0; i < device.npairs; i++) { nat46_get_ipair_config(&device, i, shown, CUT); puts(shown); }
		puts(".");
		fflush(stdout);
	}
	return 0;
}
"""
VALUES = {
    "v4": "10.0.0.0/8 192.0.2.1/32 0.0.0.0/0 203.100.113.129/32 10.0.0 10.1.2.3 1.2.3.4/99 x/7 10.0.0.0/-3 10.0.0.0/8x",
    "v6": "::/0 64:ff9b::/96 2001:db8:aaaa:bbbb:cccc:dddd:eeee:1111/128 2001:db8:aaaa:bbbb:cccc:dddd:eeee:2222/128 "
    "fddd:1337:1338:1234:5678:9abd::/96 nonsense 64:ff9b:: ::/200 z/5",
    "style": "NONE MAP MAP0 RFC6052 rfc6052 X",
    "ea-len": "0 1 16 99 7x -1 junk",
    "psid-offset": "0 6 junk",
    "foo": "1 bar",
}
NAMES = {"c": "config", "i": "insert", "r": "remove"}


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nat46")
    text = (Path(SOURCE) / "nat46-core.c").read_text()
    text = text[text.index("char *get_next_arg(") : text.index("int nat46_get_config(")]
    text = text.replace("%pI4/", "%s/").replace("%pI6c/", "%s/")
    for i, (side, family) in enumerate((side, family) for side in ("local", "remote") for family in "46"):
        text = text.replace(
            f"&apair->{side}.v{family}_pref,", f"text{family}({i}, &apair->{side}.v{family}_pref),", 2
        )
    (folder / "nat46.c").write_text(BEFORE + text + BEHIND)
    subprocess.run(["gcc", "-w", "-O1", "-o", "nat46", "nat46.c"], cwd=folder, check=True)
    process = subprocess.Popen([folder / "nat46"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield lambda line: ask(process, line)
    process.stdin.close()
    process.wait(60)


def ask(process, line):
    process.stdin.write(line + "\n")
    process.stdin.flush()
    return list(iter(lambda: process.stdout.readline().rstrip("\n"), "."))


def some_words(chance):
    words = []
    for _ in range(chance.randrange(6)):
        key = chance.choice(list(VALUES))
        if chance.random() < 0.1:
            words += ["debug", chance.choice(["0", "1", "10", "123"])]
        words.append(f"{chance.choice(['local', 'remote', 'other'])}.{key}")
        if chance.random() < 0.97:
            words.append(chance.choice(VALUES[key].split()))
    return " ".join(words)


@pytest.mark.parametrize("seed", range(4))
def test_the_model_does_what_the_source_does(real, seed):
    chance = random.Random(seed)
    for _ in range(300):
        module, used = Module(), []
        module.write(b"add d")
        real("n ")
        for _ in range(chance.randrange(1, 8)):
            kind = chance.choice("ciir")
            again = kind == "r" and used and chance.random() < 0.8
            words = chance.choice(used) if again else some_words(chance)
            used.append(words)
            module.write(f"{NAMES[kind]} d {words}".encode())
            shown = [
                line.split(" ", 2)[2] for line in module.read().splitlines() if line[:4] not in ("", "add ")
            ]
            assert shown == real(f"{kind} {words}"), (kind, words)
