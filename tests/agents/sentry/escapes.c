// SPDX-License-Identifier: Apache-2.0
/*
 * Tries to hear packets on the loopback interface, in many ways, against the sentry. For tests only.
 *
 *   escapes flood              sends datagrams of a voice packet's size to itself until it is ended
 *   escapes WAY KIND TIMES     tries so often, each time in a process of its own, and writes
 *                              "killed K refused R survived S packets P"; packets are those that a
 *                              child counted, or that stand in the memory that it shares with us
 *   escapes timed WAY KIND TIMES   tries so often, and hears whatever it can for as long as it lives, a
 *                              second at the most; writes a line for each: the microseconds from just
 *                              before the try to the last sign of life, and the packets counted
 *   escapes hold WAY KIND      tries once, writes the process id of who has the socket in the end,
 *                              and lets that one wait until our input ends
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { OP_SOCKET = 45, OP_BIND = 56, READ_MS = 20, LIVES_MS = 1000 };

static struct shared {
	volatile int refused, packets, opened;
	volatile pid_t holder;
	volatile uint64_t asked, alive;
	char heard[4096];
} *shared;
static int family = AF_PACKET, type = SOCK_RAW, protocol, hold, timed;
static int handed = -1; /* the end of a socket pair on which a descriptor comes */

static uint64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ull + now.tv_nsec / 1000000;
}

static uint64_t now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000ull + now.tv_nsec / 1000;
}

static void listen_on(int fd)
{
	uint64_t end = now_ms() + (timed ? LIVES_MS : READ_MS);

	shared->opened = 1;
	if (hold) {
		shared->holder = getpid();
		pause();
	}
	while (now_ms() < end) {
		shared->alive = now_us();
		if (recv(fd, shared->heard, sizeof(shared->heard), MSG_DONTWAIT) > 0)
			shared->packets++;
		if (timed)
			sched_yield();
	}
}

static int result(long fd)
{
	if (fd < 0)
		shared->refused = errno ? errno : EPERM;
	return fd;
}

static long entry_32(long number, long a, long b, long c)
{
	long answer;
	__asm__ volatile("int $0x80" : "=a"(answer) : "a"(number), "b"(a), "c"(b), "d"(c)
			 : "memory", "r8", "r9", "r10", "r11");
	if (answer < 0)
		errno = -answer;
	return answer < 0 ? -1 : answer;
}

static int *low_memory(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
}

static volatile int *swapped;

static void *swap(void *unused)
{
	for (;;) {
		swapped[0] = family;
		swapped[0] = AF_INET;
	}
	return unused;
}

/* socketcall reads its arguments from memory that another thread changes all the time */
static int socketcall_race(void)
{
	pthread_t thread;
	uint64_t end = now_ms() + 200;
	struct sockaddr_storage name;

	swapped = low_memory();
	swapped[1] = type;
	swapped[2] = protocol;
	pthread_create(&thread, NULL, swap, NULL);
	while (now_ms() < end) {
		int fd = entry_32(102, 1, (long)swapped, 0);
		socklen_t length = sizeof(name);

		if (fd >= 0 && !getsockname(fd, (void *)&name, &length) && name.ss_family == family)
			return fd;
		close(fd);
	}
	errno = ETIME;
	return -1;
}

struct ring {
	int fd;
	unsigned *tail, *flags, *array, *done_tail, *done_head;
	struct io_uring_sqe *entries;
	struct io_uring_cqe *done;
};

static int ring_open(struct ring *ring, unsigned flags)
{
	struct io_uring_params about = {.flags = flags, .sq_thread_idle = 2000};
	int mine = PROT_READ | PROT_WRITE;

	ring->fd = syscall(425, 4, &about);
	if (ring->fd < 0)
		return -1;
	char *queue = mmap(NULL, about.sq_off.array + about.sq_entries * 4, mine, MAP_SHARED | MAP_POPULATE,
			   ring->fd, IORING_OFF_SQ_RING);
	char *done = mmap(NULL, about.cq_off.cqes + about.cq_entries * 16, mine, MAP_SHARED | MAP_POPULATE,
			  ring->fd, IORING_OFF_CQ_RING);
	ring->entries = mmap(NULL, about.sq_entries * 64, mine, MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQES);
	ring->tail = (void *)(queue + about.sq_off.tail);
	ring->flags = (void *)(queue + about.sq_off.flags);
	ring->array = (void *)(queue + about.sq_off.array);
	ring->done_tail = (void *)(done + about.cq_off.tail);
	ring->done_head = (void *)(done + about.cq_off.head);
	ring->done = (void *)(done + about.cq_off.cqes);
	return 0;
}

static struct io_uring_sqe *ring_entry(struct ring *ring, unsigned at)
{
	memset(&ring->entries[at], 0, sizeof(ring->entries[at]));
	ring->array[at] = at;
	return &ring->entries[at];
}

static int ring_socket(unsigned setup, int flags, int linked)
{
	struct ring ring;
	int none[1] = {-1};

	if (ring_open(&ring, setup) < 0)
		return -1;
	struct io_uring_sqe *entry = ring_entry(&ring, 0);
	entry->opcode = OP_SOCKET;
	entry->fd = family;
	entry->off = type;
	entry->len = protocol;
	entry->flags = flags;
	if (linked) { /* socket and receive in one go, into memory that our parent shares */
		syscall(427, ring.fd, IORING_REGISTER_FILES, none, 1);
		entry->file_index = 1;
		entry->flags |= IOSQE_IO_LINK;
		entry = ring_entry(&ring, 1);
		entry->opcode = IORING_OP_RECV;
		entry->addr = (uint64_t)shared->heard;
		entry->len = 1024;
		entry->flags = IOSQE_FIXED_FILE;
	}
	__atomic_store_n(ring.tail, linked ? 2 : 1, __ATOMIC_RELEASE);
	if (setup & IORING_SETUP_SQPOLL) {
		uint64_t end = now_ms() + 1000;

		while (*(volatile unsigned *)ring.done_tail == 0 && now_ms() < end) {
			if (*(volatile unsigned *)ring.flags & IORING_SQ_NEED_WAKEUP)
				syscall(426, ring.fd, 0, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0);
			sched_yield();
		}
	} else
		syscall(426, ring.fd, linked ? 2 : 1, linked ? 2 : 1, IORING_ENTER_GETEVENTS, NULL, 0);
	errno = ring.done[0].res < 0 ? -ring.done[0].res : ETIME;
	return *(volatile unsigned *)ring.done_tail ? ring.done[0].res : -1;
}

static struct sockaddr_ll to = {.sll_family = AF_PACKET};

static int bound_by_ring(void)
{
	int fd = socket(AF_PACKET, SOCK_RAW, 0);
	struct ring ring;

	to.sll_protocol = htons(ETH_P_ALL);
	if (fd < 0 || ring_open(&ring, 0) < 0)
		return -1;
	struct io_uring_sqe *entry = ring_entry(&ring, 0);
	entry->opcode = OP_BIND;
	entry->fd = fd;
	entry->addr = (uint64_t)&to;
	entry->off = sizeof(to);
	__atomic_store_n(ring.tail, 1, __ATOMIC_RELEASE);
	syscall(426, ring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
	errno = -ring.done[0].res;
	return ring.done[0].res < 0 ? -1 : fd;
}

static int opened_then_bound(void)
{
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	to.sll_protocol = htons(ETH_P_ALL);
	if (fd >= 0 && bind(fd, (void *)&to, sizeof(to)) < 0)
		return -1;
	return fd;
}

static void *in_thread(void *unused)
{
	int fd = result(socket(family, type, protocol));

	if (fd >= 0)
		listen_on(fd);
	return unused;
}

static int in_clone(void *unused)
{
	in_thread(unused);
	_exit(0);
}

/* a process that is meant to die opens it, into a descriptor table that we share with it */
static int shared_table(void)
{
	int next = dup(0), kept = hold;
	char *stack = malloc(65536);

	close(next);
	hold = 0;
	int later = timed;

	timed = 0;
	waitpid(clone(in_clone, stack + 65536, CLONE_FILES | CLONE_VM | SIGCHLD, NULL), NULL, 0);
	hold = kept;
	timed = later;
	shared->packets = 0;
	return next;
}

/* the same, and then no descriptor is left: the kernel goes on to fill a ring that stays mapped */
static int shared_table_mapped(void)
{
	int fd = shared_table(), version = TPACKET_V2;
	struct tpacket_req size = {.tp_block_size = 4096, .tp_block_nr = 8, .tp_frame_size = 2048, .tp_frame_nr = 16};
	uint64_t end = now_ms() + (timed ? LIVES_MS : READ_MS);

	if (setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &size, sizeof(size)))
		return -1;
	char *ring = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	close(fd);
	for (unsigned at = 0; now_ms() < end; shared->alive = now_us()) {
		volatile struct tpacket2_hdr *head = (void *)(ring + 2048 * at);

		if (head->tp_status & TP_STATUS_USER) {
			shared->packets++;
			head->tp_status = TP_STATUS_KERNEL;
			at = (at + 1) % 16;
		} else
			sched_yield();
	}
	_exit(0);
}

/* a process that is meant to die opens it into a ring that we share, and never a descriptor of it */
static int shared_ring(void)
{
	struct ring ring;
	int none[1] = {-1};
	uint64_t end = now_ms() + (timed ? LIVES_MS : READ_MS);

	if (ring_open(&ring, 0) < 0 || syscall(427, ring.fd, IORING_REGISTER_FILES, none, 1) < 0)
		return -1;
	struct io_uring_sqe *entry = ring_entry(&ring, 0);
	entry->opcode = OP_SOCKET;
	entry->fd = family;
	entry->off = type;
	entry->len = protocol;
	entry->file_index = 1;
	__atomic_store_n(ring.tail, 1, __ATOMIC_RELEASE);
	pid_t child = fork();
	if (!child)
		_exit(syscall(426, ring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	waitpid(child, NULL, 0);
	for (unsigned at = 1; now_ms() < end; at++, shared->alive = now_us()) {
		entry = ring_entry(&ring, at % 4);
		entry->opcode = IORING_OP_RECV;
		entry->flags = IOSQE_FIXED_FILE;
		entry->addr = (uint64_t)shared->heard;
		entry->len = 1024;
		entry->msg_flags = MSG_DONTWAIT;
		__atomic_store_n(ring.tail, at + 1, __ATOMIC_RELEASE);
		syscall(426, ring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
		unsigned done = *ring.done_head;
		while (done != *(volatile unsigned *)ring.done_tail)
			if (ring.done[done++ % 8].res > 0 && at > 1)
				shared->packets++;
		__atomic_store_n(ring.done_head, done, __ATOMIC_RELEASE);
		sched_yield();
	}
	_exit(0);
}

static int received(void)
{
	char octet, control[CMSG_SPACE(sizeof(int))];
	struct iovec data = {&octet, 1};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control,
				 .msg_controllen = sizeof(control)};
	int fd;

	if (recvmsg(handed, &message, 0) < 0 || !CMSG_FIRSTHDR(&message))
		return -1;
	shared->asked = shared->alive = now_us();
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
	return fd;
}

static int opened(const char *way)
{
	pthread_t thread;

	if (!strcmp(way, "call"))
		return socket(family, type, protocol);
	if (!strcmp(way, "call_32"))
		return entry_32(359, family, type, protocol);
	if (!strcmp(way, "call_x32"))
		return syscall(0x40000000 | 41, family, type, protocol);
	if (!strcmp(way, "socketcall")) {
		int *arguments = low_memory();

		memcpy(arguments, (int[]){family, type, protocol}, 12);
		return entry_32(102, 1, (long)arguments, 0);
	}
	if (!strcmp(way, "socketcall_race"))
		return socketcall_race();
	if (!strcmp(way, "uring"))
		return ring_socket(0, 0, 0);
	if (!strcmp(way, "uring_async"))
		return ring_socket(0, IOSQE_ASYNC, 0);
	if (!strcmp(way, "uring_polled"))
		return ring_socket(IORING_SETUP_SQPOLL, 0, 0);
	if (!strcmp(way, "uring_linked"))
		return ring_socket(0, 0, 1);
	if (!strcmp(way, "uring_bind"))
		return bound_by_ring();
	if (!strcmp(way, "bind"))
		return opened_then_bound();
	if (!strcmp(way, "userns") && unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0)
		return socket(family, type, protocol);
	if (!strcmp(way, "netns") && unshare(CLONE_NEWNET) == 0)
		return socket(family, type, protocol);
	if (!strcmp(way, "shared_table"))
		return shared_table();
	if (!strcmp(way, "shared_table_mapped"))
		return shared_table_mapped();
	if (!strcmp(way, "shared_ring"))
		return shared_ring();
	if (!strcmp(way, "received"))
		return received();
	if (!strcmp(way, "thread")) {
		pthread_create(&thread, NULL, in_thread, NULL);
		pthread_join(thread, NULL);
		exit(0);
	}
	exit(64);
}

static void choose(const char *kind)
{
	protocol = htons(ETH_P_ALL);
	if (!strcmp(kind, "raw"))
		family = AF_INET, protocol = IPPROTO_UDP;
	else if (!strcmp(kind, "raw6"))
		family = AF_INET6, protocol = IPPROTO_UDP;
	else if (!strcmp(kind, "xdp"))
		family = AF_XDP, protocol = 0;
	else if (!strcmp(kind, "ip"))
		type = SOCK_DGRAM, protocol = htons(ETH_P_IP);
	else if (!strcmp(kind, "old"))
		family = AF_INET, type = SOCK_PACKET;
	else if (!strcmp(kind, "arp"))
		protocol = htons(ETH_P_ARP);
	else if (!strcmp(kind, "unbound"))
		protocol = 0;
	else if (!strcmp(kind, "icmp"))
		family = AF_INET, protocol = IPPROTO_ICMP;
	else if (!strcmp(kind, "vrrp"))
		family = AF_INET, protocol = 112;
	else if (!strcmp(kind, "send"))
		family = AF_INET, protocol = IPPROTO_RAW;
	else if (!strcmp(kind, "udp"))
		family = AF_INET, type = SOCK_DGRAM, protocol = 0;
	else if (strcmp(kind, "packet"))
		exit(64);
}

static void flood(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	char voice[172];

	memset(voice, 0xd5, sizeof(voice));
	for (;;) {
		sendto(fd, voice, sizeof(voice), 0, (void *)&to, sizeof(to));
		usleep(20);
	}
}

static pid_t try_once(const char *way)
{
	pid_t child;

	memset(shared, 0, sizeof(*shared));
	child = fork();
	if (!child) {
		shared->asked = shared->alive = now_us();
		int fd = result(opened(way));

		if (fd >= 0)
			listen_on(fd);
		_exit(0);
	}
	return child;
}

int main(int count, char **words)
{
	int killed = 0, refused = 0, survived = 0, packets = 0, status;

	if (count == 2 && !strcmp(words[1], "flood"))
		flood();
	timed = count == 5 && !strcmp(words[1], "timed");
	if (timed)
		words++, count--;
	if (count != 4)
		return 64;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	hold = !strcmp(words[1], "hold");
	choose(words[hold ? 3 : 2]);
	handed = getenv("HANDED") ? atoi(getenv("HANDED")) : -1;
	if (hold) {
		pid_t child = try_once(words[2]);
		char octet;

		for (int waited = 0; waited < 2000 && !shared->holder; waited++)
			usleep(1000);
		printf("%d\n", shared->holder);
		fflush(stdout);
		while (read(0, &octet, 1) > 0)
			;
		kill(child, SIGTERM);
		waitpid(child, NULL, 0);
		return 0;
	}
	for (int i = 0; i < atoi(words[3]); i++) {
		waitpid(try_once(words[1]), &status, 0);
		if (timed) {
			printf("%lld %d\n", (long long)(shared->alive - shared->asked), shared->packets);
			continue;
		}
		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
			killed++;
		else if (shared->refused)
			refused++;
		else
			survived += shared->opened;
		packets += shared->packets;
		for (unsigned at = 0; !shared->packets && at < sizeof(shared->heard); at++)
			if (shared->heard[at]) {
				packets++;
				break;
			}
	}
	if (timed)
		return 0;
	printf("killed %d refused %d survived %d packets %d\n", killed, refused, survived, packets);
	return 0;
}
