/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/*
 * What the sentry's programs have in common: who may, where it counts, and how it is told.
 *
 *   1. What is free is in the map `free_kinds`, filled from agents/core/judgement.py: of packet
 *      sockets by ethertype, of raw IP sockets by protocol.
 *   2. A process may do what it likes while it is in `own` with the moment of its start (the
 *      agent), or while its cgroup is in `allowed`, whose time has not come, and the agent has
 *      put its stamp into `heartbeat` within the last `stale_ns`. Times are boot-clock ns, but
 *      a process's start is in ticks, as proc(5) tells it.
 *   3. Below the cgroup `canary` everyone is stopped. Below the cgroup `scope` (0: everywhere) one
 *      is stopped if `enforcing` holds a 1, else reported. Outside nobody is seen. What is in
 *      `enforcing` may change at any time; the cgroups may not.
 */
#ifndef CALLGUARD_RULES_BPF_H
#define CALLGUARD_RULES_BPF_H

#include "kernel.bpf.h"

#define DEPTH 16 /* cgroups deeper than this below the root are not looked for */
#define TICK_NS 10000000 /* USER_HZ is 100 */
#define ALLOWANCES 1024
#define PROTECTED 256
#define EVENT_OCTETS (1 << 17)

/* agents/sentry/rogue.py has the meaning of each */
enum way { BY_CALL = 1, BY_CALL_32, BY_CALL_X32, BY_SOCKETCALL, BY_URING, BY_BIND, BY_PTRACE, BY_VM_READ,
	   BY_PROC_MEM, BY_PIDFD_GETFD, BY_PERF_EVENT, BY_BPF, BY_URING_SETUP, BY_NETLINK, BY_KILL, BY_UNPIN,
	   BY_MOUNT, BY_LIST, BY_SETSOCKOPT, BY_RECEIVED };
enum deed { REPORTED, KILLED, LOOK, DENIED };
enum answer { PASS, TELL, STOP };

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

/* cgroups whose processes nobody else may trace or read; the value says nothing */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PROTECTED);
	__type(key, __u64);
	__type(value, __u64);
} protected SEC(".maps");

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

static __always_inline bool enforces(void)
{
	__u32 first = 0;
	__u64 *set = bpf_map_lookup_elem(&enforcing, &first);

	return set && *set;
}

/* rule 3 */
static __always_inline enum answer answer(void)
{
	if (settings.canary && below(settings.canary))
		return STOP;
	if ((settings.scope && !below(settings.scope)) || allowance_holds())
		return PASS;
	return enforces() ? STOP : TELL;
}

static __attribute__((noinline)) void tell(__u32 family, __u32 type, __u32 protocol, enum way way, enum deed deed)
{
	__u32 first = 0;
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
	event->deed = deed;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	bpf_ringbuf_submit(event, 0);
}

/* rule 1; `number` is an ethertype in host order or a protocol */
static __always_inline bool is_free(__u32 family, __u32 number)
{
	__u32 kind = (family == FAMILY_PACKET ? 1u << 16 : 0) | (number & 0xffff);

	return bpf_map_lookup_elem(&free_kinds, &kind) != 0;
}

/* rule 1; `protocol` is as socket(2) takes it, and becomes what is told of it */
static __always_inline bool hears_content(__u32 *family, __u32 type, __u32 *protocol)
{
	if (*family == FAMILY_INET && type == TYPE_OLD_PACKET)
		*family = FAMILY_PACKET; /* packet(7): the obsolete spelling */
	if (*family == FAMILY_PACKET) {
		*protocol = __builtin_bswap16(*protocol);
		return !is_free(FAMILY_PACKET, *protocol);
	}
	if ((*family == FAMILY_INET || *family == FAMILY_INET6) && type == TYPE_RAW)
		return !is_free(FAMILY_INET, *protocol);
	return *family == FAMILY_XDP;
}

#endif
