/* SPDX-License-Identifier: ISC */
/* The lab's wires: links with delay, jitter, loss, reordering and a rate, where the kernel has no netem.
 *
 * One process for all wires of a lab. A wire is two TAP devices in two network namespaces, and for each direction
 * a queue between them. Segmentation offloads stay off, so that the kernel hands over frames of the link's MTU and
 * loss or reordering hit what would be on the air, not super-packets of 64 KB.
 *
 * Usage: wire SEED < commands
 *   wire NAME PID_A DEVICE_A PID_B DEVICE_B DELAY_US JITTER_US LOSS_PPM REORDER_PPM RATE_BIT_S
 *       make DEVICE_A in the network namespace of process PID_A, DEVICE_B in that of PID_B, and join them;
 *       RATE_BIT_S 0 is as fast as it goes. The devices are down and have the kernel's MAC and MTU: the caller sets them.
 *   cut NAME    drop every frame from now on, without loss of carrier: how a radio link dies
 *   heal NAME   carry frames again
 * Each command is answered by a line, `ok` or `error: SENTENCE`. End of input ends the program and its devices.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
	FRAME_MAX = 9000 + 18,         /* bytes; the largest MTU a link may have, Ethernet header and a VLAN tag */
	NAME_MAX_BYTES = 64,
	WIRES_MAX = 1024,
	QUEUED_MAX = 20000,            /* frames under way in one direction; 100 ms at 2.4 Gbit/s */
	BATCH = 64,                    /* frames read from one device before the others get their turn */
	COMMAND_MAX = 1024,            /* bytes */
};
static const uint64_t BACKLOG_NS = 200000000;     /* a rate's queue: what would wait longer than this is dropped */
static const uint64_t OVERTAKEN_MIN_NS = 2000000; /* a frame to be overtaken waits at least this much longer */

struct impairments {
	uint64_t delay_ns, jitter_ns, rate_bit_s;
	uint32_t loss_ppm, reorder_ppm;
};

struct direction {
	int in, out;            /* TAP file descriptors */
	struct wire *wire;
	uint64_t last_release_ns; /* jitter must not reorder: no ordinary frame leaves before the one ahead of it */
	uint64_t line_free_ns;  /* when the rate lets the next frame start */
	uint32_t queued;        /* frames */
};

struct wire {
	char name[NAME_MAX_BYTES];
	struct impairments impairments;
	bool is_cut;
	struct direction directions[2];
};

struct frame {
	uint64_t release_ns, order;
	struct direction *direction;
	uint32_t len;
	uint8_t bytes[];
};

static struct wire *wires[WIRES_MAX];
static size_t wire_count;
static struct frame **heap; /* a binary heap, the frame to release next first */
static size_t heap_len, heap_cap;
static uint64_t random_state, frame_order;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* splitmix64: small, seedable, and good enough to decide which frame is lost */
static uint64_t next_random(void)
{
	uint64_t z = (random_state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static bool happens(uint32_t ppm)
{
	return ppm && next_random() % 1000000 < ppm;
}

static bool leaves_before(const struct frame *a, const struct frame *b)
{
	return a->release_ns != b->release_ns ? a->release_ns < b->release_ns : a->order < b->order;
}

static bool heap_push(struct frame *frame)
{
	size_t i = heap_len;

	if (heap_len == heap_cap) {
		size_t cap = heap_cap ? 2 * heap_cap : 1024;
		struct frame **grown = realloc(heap, cap * sizeof(*heap));

		if (!grown)
			return false;
		heap = grown;
		heap_cap = cap;
	}
	heap_len++;
	for (; i && leaves_before(frame, heap[(i - 1) / 2]); i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = frame;
	return true;
}

static struct frame *heap_pop(void)
{
	struct frame *first = heap[0], *last = heap[--heap_len];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < heap_len) {
		if (child + 1 < heap_len && leaves_before(heap[child + 1], heap[child]))
			child++;
		if (!leaves_before(heap[child], last))
			break;
		heap[i] = heap[child];
		i = child;
	}
	if (heap_len)
		heap[i] = last;
	return first;
}

static void carry(struct direction *d, const uint8_t *bytes, uint32_t len, uint64_t now)
{
	const struct impairments *w = &d->wire->impairments;
	uint64_t release = now;
	struct frame *frame;

	if (d->wire->is_cut || happens(w->loss_ppm) || d->queued >= QUEUED_MAX)
		return;
	if (w->rate_bit_s) {
		uint64_t start = d->line_free_ns > now ? d->line_free_ns : now;

		if (start - now > BACKLOG_NS)
			return;
		release = d->line_free_ns = start + (uint64_t)len * 8 * 1000000000u / w->rate_bit_s;
	}
	release += w->delay_ns;
	if (w->jitter_ns)
		release = release - w->jitter_ns + next_random() % (2 * w->jitter_ns + 1);
	if (happens(w->reorder_ppm)) {
		release += w->delay_ns > OVERTAKEN_MIN_NS ? w->delay_ns : OVERTAKEN_MIN_NS;
	} else {
		if (release < d->last_release_ns)
			release = d->last_release_ns;
		d->last_release_ns = release;
	}
	frame = malloc(sizeof(*frame) + len);
	if (!frame)
		return;
	frame->release_ns = release;
	frame->order = frame_order++;
	frame->direction = d;
	frame->len = len;
	memcpy(frame->bytes, bytes, len);
	if (heap_push(frame))
		d->queued++;
	else
		free(frame);
}

static void release_due(uint64_t now)
{
	while (heap_len && heap[0]->release_ns <= now) {
		struct frame *frame = heap_pop();
		struct direction *d = frame->direction;

		d->queued--;
		/* a device that is down, or whose namespace is gone, loses the frame */
		if (!d->wire->is_cut && write(d->out, frame->bytes, frame->len) < 0)
			errno = 0;
		free(frame);
	}
}

/* Make one TAP in the network namespace of process pid; return its descriptor or -1 with errno. */
static int open_tap(int pid, const char *device)
{
	static int home = -1;
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	char path[64];
	int space, fd = -1, saved;

	if (home < 0 && (home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	if ((space = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		return -1;
	if (setns(space, CLONE_NEWNET) == 0) {
		memcpy(request.ifr_name, device, strlen(device) + 1);
		fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
		if (fd >= 0 && ioctl(fd, TUNSETIFF, &request) < 0) {
			saved = errno;
			close(fd);
			errno = saved;
			fd = -1;
		}
		saved = errno;
		if (setns(home, CLONE_NEWNET) < 0)
			abort(); /* nothing that follows would be where it should */
		errno = saved;
	}
	saved = errno;
	close(space);
	errno = saved;
	return fd;
}

static struct wire *find_wire(const char *name)
{
	for (size_t i = 0; i < wire_count; i++)
		if (!strcmp(wires[i]->name, name))
			return wires[i];
	return NULL;
}

static void forget_frames(struct wire *wire)
{
	size_t kept = 0, old = heap_len;
	struct frame **frames = heap;

	/* a subset of a heap's array in order is no heap: push the rest again */
	heap_len = 0;
	for (size_t i = 0; i < old; i++) {
		struct frame *frame = frames[i];

		if (frame->direction->wire == wire) {
			free(frame);
		} else {
			heap_push(frame); /* never grows: kept <= i */
			kept++;
		}
	}
	heap_len = kept;
}

static void drop_wire(int loop, struct wire *wire)
{
	forget_frames(wire);
	for (int i = 0; i < 2; i++) {
		epoll_ctl(loop, EPOLL_CTL_DEL, wire->directions[i].in, NULL);
		close(wire->directions[i].in);
	}
	for (size_t i = 0; i < wire_count; i++)
		if (wires[i] == wire)
			wires[i] = wires[--wire_count];
	free(wire);
}

static const char *make_wire(int loop, char *words)
{
	static char sentence[256];
	char name[NAME_MAX_BYTES], device[2][IFNAMSIZ];
	int pid[2], tap[2];
	uint64_t delay_us, jitter_us, rate;
	struct wire *wire;
	uint32_t loss, reorder;

	if (sscanf(words, "%63s %d %15s %d %15s %" SCNu64 " %" SCNu64 " %" SCNu32 " %" SCNu32 " %" SCNu64, name, &pid[0],
		   device[0], &pid[1], device[1], &delay_us, &jitter_us, &loss, &reorder, &rate) != 10)
		return "a wire takes NAME PID DEVICE PID DEVICE DELAY_US JITTER_US LOSS_PPM REORDER_PPM RATE_BIT_S";
	if (jitter_us > delay_us || delay_us > 60000000)
		return "the delay is at most 60 s and the jitter at most the delay";
	if (find_wire(name))
		drop_wire(loop, find_wire(name)); /* a node that was powered off comes back with new devices */
	if (wire_count == WIRES_MAX)
		return "that is one wire too many";
	for (int i = 0; i < 2; i++) {
		tap[i] = open_tap(pid[i], device[i]);
		if (tap[i] < 0) {
			snprintf(sentence, sizeof(sentence), "no TAP %s in the namespace of process %d: %s", device[i], pid[i],
				 strerror(errno));
			if (i)
				close(tap[0]);
			return sentence;
		}
	}
	wire = calloc(1, sizeof(*wire));
	if (!wire)
		return "out of memory";
	memcpy(wire->name, name, sizeof(name));
	wire->impairments = (struct impairments){delay_us * 1000, jitter_us * 1000, rate, loss, reorder};
	for (int i = 0; i < 2; i++) {
		struct direction *d = &wire->directions[i];
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = d};

		*d = (struct direction){.in = tap[i], .out = tap[!i], .wire = wire};
		if (epoll_ctl(loop, EPOLL_CTL_ADD, tap[i], &event) < 0)
			abort();
	}
	wires[wire_count++] = wire;
	return NULL;
}

static const char *obey(int loop, char *line)
{
	struct wire *wire;

	if (!strncmp(line, "wire ", 5))
		return make_wire(loop, line + 5);
	if (!strncmp(line, "cut ", 4) || !strncmp(line, "heal ", 5)) {
		wire = find_wire(strchr(line, ' ') + 1);
		if (!wire)
			return "there is no wire of that name";
		wire->is_cut = line[0] == 'c';
		return NULL;
	}
	return "a command is wire, cut or heal";
}

/* Read commands; return false at the end of input. */
static bool read_commands(int loop)
{
	static char buffer[COMMAND_MAX];
	static size_t len;
	ssize_t got = read(STDIN_FILENO, buffer + len, sizeof(buffer) - len);
	char *end;

	if (got <= 0)
		return got < 0 && (errno == EINTR || errno == EAGAIN);
	len += (size_t)got;
	while ((end = memchr(buffer, '\n', len))) {
		const char *error;
		size_t used = (size_t)(end - buffer) + 1;

		*end = 0;
		error = obey(loop, buffer);
		printf(error ? "error: %s\n" : "ok\n", error);
		fflush(stdout);
		len -= used;
		memmove(buffer, end + 1, len);
	}
	return len < sizeof(buffer);
}

static void read_frames(int loop, struct direction *d, uint64_t now)
{
	static uint8_t bytes[FRAME_MAX];

	for (int i = 0; i < BATCH; i++) {
		ssize_t len = read(d->in, bytes, sizeof(bytes));

		if (len < 0 && errno == EAGAIN)
			return;
		if (len <= 0) {
			/* the node is gone, and its end of the wire with it: nothing more will come */
			epoll_ctl(loop, EPOLL_CTL_DEL, d->in, NULL);
			return;
		}
		carry(d, bytes, (uint32_t)len, now);
	}
}

int main(int argc, char **argv)
{
	struct epoll_event events[64], event = {.events = EPOLLIN};
	int loop = epoll_create1(EPOLL_CLOEXEC);
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);

	if (argc != 2 || loop < 0 || timer < 0) {
		fprintf(stderr, "usage: wire SEED < commands\n");
		return 2;
	}
	random_state = strtoull(argv[1], NULL, 10);
	/* a link does not wait for a CPU: frames that leave late would have more than the configured delay */
	(void)setpriority(PRIO_PROCESS, 0, -20);
	event.data.ptr = NULL; /* standard input */
	if (epoll_ctl(loop, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0) {
		perror("wire: standard input");
		return 1;
	}
	event.data.ptr = &timer;
	epoll_ctl(loop, EPOLL_CTL_ADD, timer, &event);
	for (;;) {
		int n = epoll_wait(loop, events, 64, -1);
		uint64_t now = now_ns(), expired;
		bool commands = false;

		for (int i = 0; i < n; i++) {
			if (!events[i].data.ptr)
				commands = true; /* last: a command may free the directions that other events point to */
			else if (events[i].data.ptr == &timer)
				(void)!read(timer, &expired, sizeof(expired));
			else
				read_frames(loop, events[i].data.ptr, now);
		}
		if (commands && !read_commands(loop))
			return 0;
		release_due(now_ns());
		if (heap_len) {
			struct itimerspec next = {.it_value = {(time_t)(heap[0]->release_ns / 1000000000u),
							       (long)(heap[0]->release_ns % 1000000000u)}};

			timerfd_settime(timer, TFD_TIMER_ABSTIME, &next, NULL);
		}
	}
}
