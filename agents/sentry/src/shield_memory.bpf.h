/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/*
 * Refuses who wants to read calls where they pass: memory, probes, copies that netfilter makes.
 *
 *   1. Nobody may trace the agent or a process of a cgroup in `protected`, read or write its
 *      memory, or copy its descriptors, but itself. To look at what it is (ps, lsof) is free.
 *   2. Nobody may open performance events or load programs that see packets or memory. Programs
 *      that only say what a cgroup may do are free: container runtimes and service managers live
 *      by them. So is whatever process 1 loads: it is the service manager, and loads its own.
 *   3. Nobody may listen to NFLOG or NFQUEUE. Whatever else nfnetlink does is free; of a packet
 *      with several messages each is looked at, and one with more than anybody sends is refused.
 *   4. Nobody but a protected process opens what `hidden` names in /proc: DIRECTORY/any/FILE.
 */
enum { MODE_ATTACH = 2 };
enum { BPF_LOADS = 5, INIT = 1 };
enum { NETFILTER = 12, HEAD_OCTETS = 16, BATCH_BEGIN = 16, MESSAGES = 64 };
enum { NFLOG_LISTENS = 4 << 8 | 1, NFQUEUE_LISTENS = 3 << 8 | 2 };
enum { PROC = 0x9fa0, NAME_OCTETS = 16, NAMES = 4 };

struct name {
	__u64 words[NAME_OCTETS / 8];
};

/* an entry whose file has no name is none */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NAMES);
	__type(key, __u32);
	__type(value, struct name[2]);
} hidden SEC(".maps");

static __always_inline bool is_agent(struct task_struct *task)
{
	__u32 pid = BPF_CORE_READ(task, tgid);
	__u64 *start = bpf_map_lookup_elem(&own, &pid);

	return start && *start == BPF_CORE_READ(task, group_leader, start_boottime) / TICK_NS;
}

static __always_inline bool is_protected(struct task_struct *task)
{
	__u64 cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);

	return bpf_map_lookup_elem(&protected, &cgroup) != 0;
}

static __always_inline bool is_itself(struct task_struct *task)
{
	return BPF_CORE_READ(task, tgid) == (int)(bpf_get_current_pid_tgid() >> 32);
}

HOOK(ptrace_access_check)
int BPF_PROG(ptrace_access_check, struct task_struct *child, unsigned int mode)
{
	if (!(mode & MODE_ATTACH) || is_itself(child) || !(is_agent(child) || is_protected(child)))
		return 0;
	return refuse(0, 0, BPF_CORE_READ(child, tgid), BY_PTRACE);
}

HOOK(perf_event_open)
int BPF_PROG(perf_event_open)
{
	return refuse(0, 0, 0, BY_PERF_EVENT);
}

/* rule 2 */
static __always_inline bool sees_nothing(__u32 type)
{
	return type == BPF_PROG_TYPE_CGROUP_DEVICE || type == BPF_PROG_TYPE_CGROUP_SYSCTL ||
	       type == BPF_PROG_TYPE_CGROUP_SOCK || type == BPF_PROG_TYPE_CGROUP_SOCK_ADDR ||
	       type == BPF_PROG_TYPE_CGROUP_SOCKOPT || type == BPF_PROG_TYPE_SK_LOOKUP;
}

HOOK(bpf)
int BPF_PROG(bpf, int command, const void *attributes)
{
	__u32 type = 0;

	if (command != BPF_LOADS || bpf_get_current_pid_tgid() >> 32 == INIT)
		return 0;
	bpf_probe_read_kernel(&type, sizeof(type), attributes);
	return sees_nothing(type) ? 0 : refuse(0, type, command, BY_BPF);
}

HOOK(netlink_send)
int BPF_PROG(netlink_send, struct sock *sock, struct sk_buff *packet)
{
	struct {
		__u32 octets;
		__u16 type;
	} head = {};

	if (BPF_CORE_READ(sock, sk_protocol) != NETFILTER)
		return 0;
	const unsigned char *at = BPF_CORE_READ(packet, data);
	__u32 left = BPF_CORE_READ(packet, len);

	for (int message = 0; message < MESSAGES; message++) {
		if (left < HEAD_OCTETS || bpf_probe_read_kernel(&head, sizeof(head), at))
			return 0;
		if (!message && head.type == BATCH_BEGIN)
			return 0; /* the kernel takes nothing but rules and sets in a batch */
		if (head.type == NFLOG_LISTENS || head.type == NFQUEUE_LISTENS)
			return refuse(0, 0, head.type >> 8, BY_NETLINK);
		__u32 step = (head.octets + 3) & ~3u;
		if (head.octets < HEAD_OCTETS || head.octets > left || step >= left)
			return 0; /* the kernel reads no further */
		at += step;
		left -= step;
	}
	return refuse(0, 0, 0, BY_NETLINK);
}

static __always_inline bool named(const struct name *wanted, struct dentry *entry)
{
	struct name is = {};

	bpf_probe_read_kernel_str(&is, sizeof(is), BPF_CORE_READ(entry, d_name.name));
	return is.words[0] == wanted->words[0] && is.words[1] == wanted->words[1];
}

HOOK(file_open)
int BPF_PROG(file_open, struct file *file)
{
	if (BPF_CORE_READ(file, f_inode, i_sb, s_magic) != PROC)
		return 0;
	struct dentry *entry = BPF_CORE_READ(file, f_path.dentry);
	struct dentry *folder = BPF_CORE_READ(entry, d_parent, d_parent);

#pragma unroll
	for (int each = 0; each < NAMES; each++) {
		__u32 place = each;
		struct name *names = bpf_map_lookup_elem(&hidden, &place);

		if (names && names[1].words[0] && named(&names[1], entry) && named(&names[0], folder))
			return is_protected(bpf_get_current_task_btf()) ? 0 : refuse(0, 0, 0, BY_LIST);
	}
	return 0;
}
