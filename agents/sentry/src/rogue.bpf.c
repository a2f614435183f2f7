// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/*
 * Kills who opens a socket that can hear content, at the entry of the system call. x86_64 only.
 *
 *   1. What is free is in the map `free_kinds`, filled from agents/core/judgement.py: of packet
 *      sockets by ethertype (at socket and at bind), of raw IP sockets by protocol.
 *   2. A process may open what it likes while it is in `own` with the moment of its start (the
 *      agent), or while its cgroup is in `allowed`, whose time has not come, and the agent has
 *      put its stamp into `heartbeat` within the last `stale_ns`. Times are boot-clock ns, but
 *      a process's start is in ticks, as proc(5) tells it.
 *   3. Below the cgroup `canary` everyone is killed. Below the cgroup `scope` (0: everywhere) one
 *      is killed if `enforcing` holds a 1, else reported. Outside nobody is seen. What is in
 *      `enforcing` may change at any time; the cgroups may not.
 *   4. 64-bit, 32-bit (int $0x80, socketcall) and x32 entries and io_uring are covered.
 *
 * A signal ends the process before it returns to user space; it does not stop the running call.
 * What survives it (a descriptor table shared with another process, arguments swapped while
 * they are read) is for the sweep to find: every event asks for one.
 */
#include "kernel.bpf.h"

char _license[] SEC("license") = "Dual BSD/GPL";

#define KILL 9
#define DEPTH 16 /* cgroups deeper than this below the root are not looked for */
#define COMPAT 2 /* TS_COMPAT of thread_info.status */
#define X32 0x40000000u
#define TICK_NS 10000000 /* USER_HZ is 100 */
#define ALLOWANCES 1024
#define EVENT_OCTETS (1 << 17)

enum { SOCKET_64 = 41, BIND_64 = 49, SOCKETCALL_32 = 102, SOCKET_32 = 359, BIND_32 = 361 };
enum { CALL_SOCKET = 1, CALL_BIND = 2 };
enum { URING_SOCKET = 45, URING_BIND = 56 };
enum way { BY_CALL = 1, BY_CALL_32, BY_CALL_X32, BY_SOCKETCALL, BY_URING, BY_BIND };
enum deed { REPORTED, KILLED, LOOK };

struct pt_regs {
	unsigned long bx, cx, dx, si, di;
} BY_NAME;

/* agents/sentry/rogue.py writes these */
const volatile struct {
	__u64 scope;
	__u64 canary;
	__u64 stale_ns;
} settings = {};

/* agents/sentry/rogue.py reads these: 72 octets */
struct event {
	__u64 at;
	__u64 start;
	__u64 cgroup;
	__u32 pid;
	__u32 uid;
	__u32 login;
	__u32 netns;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u16 way;
	__u16 deed;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, EVENT_OCTETS);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 512);
	__type(key, __u32);
	__type(value, __u32);
} free_kinds SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} own SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ALLOWANCES);
	__type(key, __u64);
	__type(value, __u64);
} allowed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} heartbeat SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} enforcing SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

static __always_inline bool below(__u64 wanted)
{
#pragma unroll
	for (int level = 0; level < DEPTH; level++)
		if (bpf_get_current_ancestor_cgroup_id(level) == wanted)
			return true;
	return false;
}

/* rule 2 */
static __always_inline bool allowance_holds(void)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32, first = 0;
	__u64 cgroup = bpf_get_current_cgroup_id(), now = bpf_ktime_get_boot_ns();
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 *start = bpf_map_lookup_elem(&own, &pid);

	if (start && *start == BPF_CORE_READ(task, group_leader, start_boottime) / TICK_NS)
		return true;
	__u64 *until = bpf_map_lookup_elem(&allowed, &cgroup);
	__u64 *stamp = bpf_map_lookup_elem(&heartbeat, &first);
	return until && stamp && now < *until && now < *stamp + settings.stale_ns;
}

/* rule 3 */
static __always_inline bool enforces(void)
{
	__u32 first = 0;
	__u64 *set = bpf_map_lookup_elem(&enforcing, &first);

	return set && *set;
}

static __attribute__((noinline)) void act(__u32 family, __u32 type, __u32 protocol, enum way way, bool look)
{
	bool canary = settings.canary && below(settings.canary);
	__u32 first = 0;

	if (!canary && ((settings.scope && !below(settings.scope)) || allowance_holds()))
		return;
	bool killed = !look && (canary || enforces()) && bpf_send_signal(KILL) == 0;
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		__u64 *count = bpf_map_lookup_elem(&lost, &first);

		if (count)
			__sync_fetch_and_add(count, 1);
		return;
	}
	struct task_struct *task = bpf_get_current_task_btf();

	event->at = bpf_ktime_get_boot_ns();
	event->start = BPF_CORE_READ(task, group_leader, start_boottime) / TICK_NS;
	event->cgroup = bpf_get_current_cgroup_id();
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->uid = BPF_CORE_READ(task, cred, euid.val);
	event->login = bpf_core_field_exists(task->loginuid) ? BPF_CORE_READ(task, loginuid.val) : -1u;
	event->netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	event->family = family;
	event->type = type;
	event->protocol = protocol;
	event->way = way;
	event->deed = look ? LOOK : killed ? KILLED : REPORTED;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	bpf_ringbuf_submit(event, 0);
}

/* rule 1; `number` is an ethertype in host order or a protocol */
static __always_inline bool is_free(__u32 family, __u32 number)
{
	__u32 kind = (family == FAMILY_PACKET ? 1u << 16 : 0) | (number & 0xffff);

	return bpf_map_lookup_elem(&free_kinds, &kind) != 0;
}

static __always_inline void opens(__u32 family, __u32 type, __u32 protocol, enum way way)
{
	type &= TYPE_MASK;
	if (family == FAMILY_INET && type == TYPE_OLD_PACKET)
		family = FAMILY_PACKET; /* packet(7): the obsolete spelling */
	if (family == FAMILY_XDP)
		act(family, type, protocol, way, false);
	else if (family == FAMILY_PACKET) {
		protocol = __builtin_bswap16(protocol);
		if (!is_free(FAMILY_PACKET, protocol))
			act(family, type, protocol, way, false);
	} else if ((family == FAMILY_INET || family == FAMILY_INET6) && type == TYPE_RAW &&
		   !is_free(FAMILY_INET, protocol))
		act(family, type, protocol, way, false);
}

static __always_inline void binds(const void *address)
{
	struct {
		__u16 family;
		__u16 protocol;
	} to = {};

	if (bpf_probe_read_user(&to, sizeof(to), address) || to.family != FAMILY_PACKET)
		return;
	to.protocol = __builtin_bswap16(to.protocol);
	if (!is_free(FAMILY_PACKET, to.protocol))
		act(FAMILY_PACKET, 0, to.protocol, BY_BIND, false);
}

static __always_inline void socketcall(__u32 call, const void *arguments)
{
	__u32 given[3] = {};

	if (bpf_probe_read_user(given, sizeof(given), arguments))
		return;
	if (call == CALL_SOCKET)
		opens(given[0], given[1], given[2], BY_SOCKETCALL);
	else if (call == CALL_BIND)
		binds((void *)(unsigned long)given[1]);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(entered, struct pt_regs *registers, long number)
{
	bool x32 = number & X32;
	__u32 call = (__u32)number & ~X32;

	if (call != SOCKET_64 && call != BIND_64 && call != SOCKETCALL_32 && call != SOCKET_32 &&
	    call != BIND_32)
		return 0;
	struct task_struct *task = bpf_get_current_task_btf();

	if (!x32 && (task->thread_info.status & COMPAT)) {
		if (call == SOCKET_32)
			opens(registers->bx, registers->cx, registers->dx, BY_CALL_32);
		else if (call == BIND_32)
			binds((void *)(unsigned long)(__u32)registers->cx);
		else if (call == SOCKETCALL_32)
			socketcall(registers->bx, (void *)(unsigned long)(__u32)registers->cx);
	} else if (call == SOCKET_64)
		opens(registers->di, registers->si, registers->dx, x32 ? BY_CALL_X32 : BY_CALL);
	else if (call == BIND_64)
		binds((void *)registers->si);
	return 0;
}

#ifdef WITH_URING
struct io_cmd_data {
	__u8 data[56];
} BY_NAME;

struct io_kiocb {
	__u8 opcode;
	struct io_cmd_data cmd;
} BY_NAME;

struct io_socket {
	int domain;
	int type;
	int protocol;
} BY_NAME;

SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(submitted, struct io_kiocb *request)
{
	struct io_socket *asked = (void *)&request->cmd;

	if (request->opcode == URING_SOCKET)
		opens(BPF_CORE_READ(asked, domain), BPF_CORE_READ(asked, type), BPF_CORE_READ(asked, protocol),
		      BY_URING);
	else if (request->opcode == URING_BIND)
		act(0, 0, 0, BY_URING, true); /* to what is not in reach here */
	return 0;
}
#endif
