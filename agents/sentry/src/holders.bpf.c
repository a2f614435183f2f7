// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/*
 * Lists who holds which packet, AF_XDP and raw IP sockets: one row for each descriptor of each
 * process, in every network namespace.
 *
 *   1. Threads with descriptor tables of their own have rows of their own; those that share
 *      their process's table are passed over by the kernel.
 *   2. Nothing is judged here: what may be held is said in agents/core/judgement.py.
 */
#include "kernel.bpf.h"

#define TICK_NS 10000000 /* USER_HZ is 100 */

char _license[] SEC("license") = "Dual BSD/GPL";

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} BY_NAME;

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
} BY_NAME;

/* agents/sentry/descriptors.py reads these: 72 octets */
struct row {
	__u64 inode;
	__u64 cgroup;
	__u64 start; /* of the process, in ticks as proc(5) tells it */
	__u32 pid;
	__u32 uid;
	__u32 netns;
	__u32 ifindex;
	__u16 family;
	__u16 type;
	__u16 protocol;
	__u16 ethertype; /* host order */
	char comm[16];
};

static bool may_hear(__u16 family, __u16 type)
{
	return family == FAMILY_PACKET || family == FAMILY_XDP ||
	       ((family == FAMILY_INET || family == FAMILY_INET6) && type == TYPE_RAW);
}

SEC("iter/task_file")
int holders(struct bpf_iter__task_file *context)
{
	struct task_struct *task = context->task;
	struct file *file = context->file;
	struct row row = {};

	if (!task || !file)
		return 0;
	struct socket *opened = bpf_sock_from_file(file);
	if (!opened)
		return 0;
	struct sock *sk = opened->sk;
	if (!sk)
		return 0;
	row.family = sk->__sk_common.skc_family;
	row.type = sk->sk_type;
	if (!may_hear(row.family, row.type))
		return 0;
	row.protocol = sk->sk_protocol;
	row.pid = task->tgid;
	row.uid = BPF_CORE_READ(task, cred, euid.val);
	row.cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	row.start = BPF_CORE_READ(task, group_leader, start_boottime) / TICK_NS;
	row.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	row.inode = BPF_CORE_READ(file, f_inode, i_ino);
	row.ifindex = sk->__sk_common.skc_bound_dev_if;
	if (row.family == FAMILY_PACKET) {
		struct packet_sock *packet = (void *)sk;

		row.ifindex = BPF_CORE_READ(packet, ifindex);
		row.ethertype = __builtin_bswap16(BPF_CORE_READ(packet, num));
	}
	bpf_probe_read_kernel(row.comm, sizeof(row.comm), task->comm);
	bpf_seq_write(context->meta->seq, &row, sizeof(row));
	return 0;
}
