/* SPDX-License-Identifier: ISC
 * reach-relay [--status SOCKET] [--max-connections N] [--max-flows N] CONFIG
 *
 * SIGHUP reads CONFIG again: open connections go on, and a file with a mistake changes nothing. SIGUSR2 stops
 * listening and ends with the last connection. SIGTERM ends at once. The status socket says one line of JSON.
 */
#include "relay.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 256
#define TICK_MS 500       /* how late an idle connection may be ended */
#define OWN_DESCRIPTORS 64
#define DEFAULT_MAX 16384
#define USAGE "usage: reach-relay [--status SOCKET] [--max-connections N] [--max-flows N] CONFIG\n"

struct options {
	const char *config, *status;
	unsigned long max_connections, max_flows;
};

static int64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static unsigned count_listeners(void)
{
	unsigned count = 0;

	for (struct listener *each = relay.listeners; each; each = each->next)
		count++;
	return count;
}

static void lift_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* A connection takes two descriptors, a flow one; what the system allows and listeners leave is shared out. */
static void share_descriptors(const struct options *options)
{
	struct rlimit limit;
	unsigned long taken = OWN_DESCRIPTORS + count_listeners(), room;

	relay.max_connections = (unsigned)options->max_connections;
	relay.max_flows = (unsigned)options->max_flows;
	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	room = limit.rlim_cur > taken ? limit.rlim_cur - taken : 0;
	if (2 * options->max_connections + options->max_flows > room) {
		unsigned share = room >= 3 ? (unsigned)(room / 3) : 1;

		if (relay.max_connections > share)
			relay.max_connections = share;
		if (relay.max_flows > share)
			relay.max_flows = share;
		say("the limit on descriptors allows %u connections and %u flows", relay.max_connections, relay.max_flows);
	}
}

static int open_status(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(address.sun_path) || fd < 0)
		return -1;
	strcpy(address.sun_path, path);
	unlink(path);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 8)) {
		close(fd);
		return -1;
	}
	return fd;
}

static void tell_status(int listening)
{
	const struct counters *c = &relay.count;
	char text[1024];
	int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), length;

	if (fd < 0)
		return;
	length = snprintf(text, sizeof(text),
		"{\"listeners\": %u, \"connections\": %u, \"flows\": %u, \"kept_bytes\": %llu, \"accepted\": %llu, "
		"\"refused_from\": %llu, \"refused_limit\": %llu, \"refused_full\": %llu, \"connect_failed\": %llu, "
		"\"idle_ended\": %llu, \"reset\": %llu, \"flows_begun\": %llu, \"flows_evicted\": %llu, "
		"\"datagrams_in\": %llu, \"datagrams_out\": %llu, \"datagrams_dropped\": %llu, "
		"\"bytes_in\": %llu, \"bytes_out\": %llu}\n",
		count_listeners(), relay.connections, relay.flows, (unsigned long long)relay.kept_bytes,
		(unsigned long long)c->accepted, (unsigned long long)c->refused_from,
		(unsigned long long)c->refused_limit, (unsigned long long)c->refused_full,
		(unsigned long long)c->connect_failed, (unsigned long long)c->idle_ended, (unsigned long long)c->reset,
		(unsigned long long)c->flows, (unsigned long long)c->flows_evicted,
		(unsigned long long)c->datagrams_in, (unsigned long long)c->datagrams_out,
		(unsigned long long)c->datagrams_dropped, (unsigned long long)c->bytes_in,
		(unsigned long long)c->bytes_out);
	if (send(fd, text, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		say("nobody waits for the status");
	close(fd);
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* Returns false when it is time to end. */
static bool handle_signal(int fd, const struct options *options)
{
	struct signalfd_siginfo info;

	while (read(fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
			return false;
		if (info.ssi_signo == SIGUSR2) {
			relay.drains = true;
			listeners_close();
			say("draining, %u connections left", relay.connections);
		} else if (!relay.drains && listeners_load(options->config)) {
			share_descriptors(options);
			say("reloaded, %u listeners", count_listeners());
		} else {
			say("not reloaded, what was goes on");
		}
	}
	return true;
}

static bool dispatch(const struct epoll_event *event, const struct options *options)
{
	struct watch *watch = event->data.ptr;

	switch (watch->kind) {
	case ACCEPT:
		tcp_accept((struct listener *)watch);
		break;
	case DATAGRAM:
		udp_receive((struct listener *)watch);
		break;
	case SIDE:
		tcp_event((struct side *)watch, event->events);
		break;
	case FLOW:
		udp_answer(watch);
		break;
	case STATUS:
		tell_status(watch->fd);
		break;
	case SIGNAL:
		return handle_signal(watch->fd, options);
	}
	return true;
}

static void run(const struct options *options)
{
	struct epoll_event events[EVENTS];
	int64_t ticked_ms = 0;
	bool goes_on = true, has_more = false;

	while (goes_on && !(relay.drains && !relay.connections)) {
		int count = epoll_wait(relay.epoll, events, EVENTS, has_more ? 0 : TICK_MS);
		const struct epoll_event *signal = NULL;

		relay.now_ms = clock_ms();
		/* a signal may exchange the listeners that other events point to: it comes last */
		for (int i = 0; i < count; i++) {
			if (((struct watch *)events[i].data.ptr)->kind == SIGNAL)
				signal = &events[i];
			else
				dispatch(&events[i], options);
		}
		has_more = tcp_run_on();
		if (signal)
			goes_on = dispatch(signal, options);
		if (relay.now_ms - ticked_ms >= TICK_MS) {
			ticked_ms = relay.now_ms;
			tcp_expire();
			udp_expire();
			if (!relay.drains)
				listeners_pause(relay.connections >= relay.max_connections);
		}
		tcp_bury();
		udp_bury();
	}
}

static bool parse_options(int count, char **words, struct options *options)
{
	for (int i = 1; i < count; i++) {
		unsigned long *number = !strcmp(words[i], "--max-connections") ? &options->max_connections
				      : !strcmp(words[i], "--max-flows")       ? &options->max_flows
									       : NULL;

		if (number && i + 1 < count) {
			char *end;

			*number = strtoul(words[++i], &end, 10);
			if (*end || !*number || *number > 1000000)
				return false;
		} else if (!strcmp(words[i], "--status") && i + 1 < count) {
			options->status = words[++i];
		} else if (words[i][0] == '-' || options->config) {
			return false;
		} else {
			options->config = words[i];
		}
	}
	return options->config != NULL;
}

int main(int count, char **words)
{
	struct options options = { .max_connections = DEFAULT_MAX, .max_flows = DEFAULT_MAX };
	struct watch signals = { .kind = SIGNAL }, status = { .kind = STATUS };

	if (count == 2 && strcmp(words[1], "--version") == 0) {
		puts(VERSION);
		return 0;
	}
	if (count == 2 && strcmp(words[1], "--help") == 0) {
		fputs(USAGE, stdout);
		return 0;
	}
	if (!parse_options(count, words, &options)) {
		fputs(USAGE, stderr);
		return 2;
	}
	relay.now_ms = clock_ms();
	hash_seed();
	lift_limit();
	ring_init(&relay.connecting);
	ring_init(&relay.unanswered);
	signals.fd = open_signals();
	relay.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (relay.epoll < 0 || signals.fd < 0 || !watch_fd(&signals, EPOLLIN) || !udp_init((unsigned)options.max_flows)) {
		say("cannot start: %s", strerror(errno));
		return 1;
	}
	if (!listeners_load(options.config))
		return 1;
	share_descriptors(&options);
	if (options.status) {
		status.fd = open_status(options.status);
		if (status.fd < 0 || !watch_fd(&status, EPOLLIN)) {
			say("no status at %s: %s", options.status, strerror(errno));
			return 1;
		}
	}
	privileges_drop();
	say("ready, %u listeners", count_listeners());
	run(&options);
	if (options.status)
		unlink(options.status);
	listeners_close();
	udp_bury();
	return 0;
}
