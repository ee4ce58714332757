/* SPDX-License-Identifier: ISC
 * The configuration: a line for each rule,
 *   tcp|udp ADDRESS FIRST-LAST TARGET TARGETPORT [idle=S] [limit=N] [proxy=v1|v2] [from=NETWORK]...
 * and # for comments. A mistake is said with its line, and then nothing of the file is used.
 */
#include "relay.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool parse_number(const char *text, unsigned long least, unsigned long most, unsigned long *out)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*out = strtoul(text, &end, 10);
	return !errno && !*end && *out >= least && *out <= most;
}

static bool parse_address(const char *text, union address *out)
{
	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &out->v4.sin_addr) == 1) {
		out->any.sa_family = AF_INET;
		return true;
	}
	if (inet_pton(AF_INET6, text, &out->v6.sin6_addr) == 1) {
		out->any.sa_family = AF_INET6;
		return true;
	}
	return false;
}

/* IPv4 as the mapped IPv6 address, so that one comparison does for both */
void map_address(const union address *address, uint8_t out[16])
{
	if (address->any.sa_family == AF_INET) {
		memset(out, 0, 10);
		out[10] = out[11] = 0xff;
		memcpy(out + 12, &address->v4.sin_addr, 4);
	} else {
		memcpy(out, &address->v6.sin6_addr, 16);
	}
}

static bool parse_network(char *text, struct network *out)
{
	union address address;
	unsigned long bits;
	char *slash = strchr(text, '/');
	unsigned base;

	if (!slash)
		return false;
	*slash = 0;
	if (!parse_address(text, &address))
		return false;
	base = address.any.sa_family == AF_INET ? 96 : 0;
	if (!parse_number(slash + 1, 0, 128 - base, &bits))
		return false;
	map_address(&address, out->address);
	out->bits = base + (unsigned)bits;
	return true;
}

static bool parse_ports(char *text, struct rule *rule)
{
	unsigned long first, last;
	char *dash = strchr(text, '-');

	if (dash)
		*dash = 0;
	if (!parse_number(text, 1, 65535, &first) || !parse_number(dash ? dash + 1 : text, first, 65535, &last))
		return false;
	set_port(&rule->listen, (uint16_t)first);
	rule->last_port = (uint16_t)last;
	return true;
}

static const char *parse_option(char *word, struct rule *rule)
{
	unsigned long number;

	if (!strncmp(word, "idle=", 5) && parse_number(word + 5, 1, 604800, &number))
		rule->idle_ms = (int64_t)number * 1000;
	else if (!strncmp(word, "limit=", 6) && parse_number(word + 6, 1, 1000000, &number))
		rule->limit = (unsigned)number;
	else if (!strcmp(word, "proxy=v1") || !strcmp(word, "proxy=v2"))
		rule->proxy = (unsigned)(word[7] - '0');
	else if (!strncmp(word, "from=", 5) && rule->networks < MAX_NETWORKS &&
		 parse_network(word + 5, &rule->from[rule->networks]))
		rule->networks++;
	else
		return "expected idle=SECONDS, limit=NUMBER, proxy=v1, proxy=v2 or from=NETWORK";
	return NULL;
}

/* Returns what was expected when the line is wrong, else NULL. */
static const char *parse_line(char *line, struct rule *rule)
{
	char *words[5], *rest = line, *word;
	unsigned long port;
	const char *wrong;

	for (int i = 0; i < 5; i++)
		if (!(words[i] = strsep(&rest, " ")) || !*words[i])
			return "expected protocol, address, ports, target and its port";
	if (strcmp(words[0], "tcp") && strcmp(words[0], "udp"))
		return "expected tcp or udp";
	rule->protocol = words[0][0] == 't' ? TCP : UDP;
	if (!parse_address(words[1], &rule->listen) || !parse_address(words[3], &rule->target))
		return "expected an IPv4 or IPv6 address";
	if (!parse_ports(words[2], rule))
		return "expected a port or a range FIRST-LAST";
	if (!parse_number(words[4], 1, 65535ul - (rule->last_port - port_of(&rule->listen)), &port))
		return "expected a port for the target, with room for the whole range";
	set_port(&rule->target, (uint16_t)port);
	while ((word = strsep(&rest, " ")))
		if (*word && (wrong = parse_option(word, rule)))
			return wrong;
	return rule->proxy && rule->protocol == UDP ? "the PROXY protocol is for tcp" : NULL;
}

static struct rule *rule_new(void)
{
	struct rule *rule = calloc(1, sizeof(*rule));

	if (rule) {
		rule->limit = 256;
		rule->idle_ms = 3600000;
		ring_init(&rule->active);
		ring_init(&rule->once);
	}
	return rule;
}

static void free_all(struct rule *rule)
{
	while (rule) {
		struct rule *next = rule->next;

		free(rule);
		rule = next;
	}
}

/* Who has become nobody may not find the file again, but can read on in the one that was open. */
static FILE *open_file(const char *path)
{
	static int kept = -1;
	FILE *file = fopen(path, "re");

	if (file && kept < 0)
		kept = fcntl(fileno(file), F_DUPFD_CLOEXEC, 0);
	if (!file && errno == EACCES && kept >= 0 && !lseek(kept, 0, SEEK_SET))
		file = fdopen(fcntl(kept, F_DUPFD_CLOEXEC, 0), "r");
	return file;
}

struct rule *config_read(const char *path, bool *ok)
{
	struct rule *first = NULL, **end = &first;
	FILE *file = open_file(path);
	const char *wrong = NULL;
	unsigned number = 0;
	char *line = NULL;
	size_t size = 0;

	*ok = false;
	if (!file) {
		say("%s cannot be read: %s", path, strerror(errno));
		return NULL;
	}
	while (!wrong && getline(&line, &size, file) > 0) {
		number++;
		line[strcspn(line, "#\r\n")] = 0;
		if (!line[strspn(line, " \t")])
			continue;
		if (!(*end = rule_new())) {
			wrong = "no memory";
			break;
		}
		wrong = parse_line(line, *end);
		end = &(*end)->next;
	}
	free(line);
	fclose(file);
	if (wrong) {
		say("%s:%u: %s", path, number, wrong);
		free_all(first);
		return NULL;
	}
	*ok = true;
	return first;
}

void rule_hold(struct rule *rule)
{
	rule->held++;
}

void rule_release(struct rule *rule)
{
	if (--rule->held)
		return;
	for (struct rule **at = &relay.rules; *at; at = &(*at)->next)
		if (*at == rule) {
			*at = rule->next;
			break;
		}
	free(rule);
}

bool rule_admits(const struct rule *rule, const union address *source)
{
	uint8_t address[16];

	if (!rule->networks)
		return true;
	map_address(source, address);
	for (unsigned i = 0; i < rule->networks; i++) {
		const struct network *network = &rule->from[i];
		unsigned bytes = network->bits / 8, rest = network->bits % 8;

		if (!memcmp(address, network->address, bytes) &&
		    (!rest || !((address[bytes] ^ network->address[bytes]) >> (8 - rest))))
			return true;
	}
	return false;
}

union address rule_target(const struct rule *rule, uint16_t port)
{
	union address target = rule->target;

	set_port(&target, (uint16_t)(port_of(&rule->target) + port - port_of(&rule->listen)));
	return target;
}
