// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/*
 * Lists who holds which packet, AF_XDP and raw IP sockets: one row for each descriptor of each
 * process, in every network namespace.
 *
 *   1. Threads with descriptor tables of their own have rows of their own; those that share
 *      their process's table are passed over by the kernel.
 *   2. A descriptor of an io_uring stands for every socket that is registered with the ring. As
 *      many are told as the kernel's buffer has room for; the others are found with those that no
 *      descriptor stands for (agents/sentry/hidden.py).
 *   3. A second program lists the sockets whose rings are mapped, whatever became of descriptors.
 *   4. Nothing is judged here: what may be held is said in agents/core/judgement.py.
 */
#include "kernel.bpf.h"

#define TICK_NS 10000000 /* USER_HZ is 100 */
#define SOCKETS 0x534f434b /* SOCKFS_MAGIC */
#define ANONYMOUS 0x09041934 /* ANON_INODE_FS_MAGIC */
#define RING_NAME "[io_uring]"
#define MOST_REGISTERED (1 << 20) /* IORING_MAX_FIXED_FILES */
#define MOST_TOLD 256 /* rows of 72 octets, and the buffer has 32 KiB for one descriptor */
#define FLAGS 7ul /* the low bits of a registered file's pointer are flags */

char _license[] SEC("license") = "Dual BSD/GPL";

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} BY_NAME;

struct bpf_iter__task_vma {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	struct vm_area_struct *vma;
} BY_NAME;

struct vm_area_struct {
	struct file *vm_file;
} BY_NAME;

struct io_rsrc_node {
	unsigned long file_ptr;
} BY_NAME;

struct io_rsrc_data {
	unsigned int nr;
	struct io_rsrc_node **nodes;
} BY_NAME;

struct io_file_table {
	struct io_rsrc_data data;
} BY_NAME;

struct io_ring_ctx {
	struct io_file_table file_table;
} BY_NAME;

/* until 6.12 */
struct io_fixed_file {
	unsigned long file_ptr;
} BY_NAME;

struct io_file_table___before {
	struct io_fixed_file *files;
} BY_NAME;

struct io_ring_ctx___before {
	struct io_file_table___before file_table;
	unsigned int nr_user_files;
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

static bool is_socket(struct file *file)
{
	return BPF_CORE_READ(file, f_inode, i_sb, s_magic) == SOCKETS;
}

static struct sock *hearing(struct file *file)
{
	struct socket *opened = BPF_CORE_READ(file, private_data);
	struct sock *sk = BPF_CORE_READ(opened, sk);

	if (sk && may_hear(BPF_CORE_READ(sk, __sk_common.skc_family), BPF_CORE_READ(sk, sk_type)))
		return sk;
	return 0;
}

static __attribute__((noinline)) void tell(struct bpf_iter_meta *meta, struct task_struct *task, struct file *file)
{
	struct sock *sk = hearing(file);
	struct row row = {};

	if (!sk)
		return;
	row.family = BPF_CORE_READ(sk, __sk_common.skc_family);
	row.type = BPF_CORE_READ(sk, sk_type);
	row.protocol = BPF_CORE_READ(sk, sk_protocol);
	row.pid = task->tgid;
	row.uid = BPF_CORE_READ(task, cred, euid.val);
	row.cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	row.start = BPF_CORE_READ(task, group_leader, start_boottime) / TICK_NS;
	row.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	row.inode = BPF_CORE_READ(file, f_inode, i_ino);
	row.ifindex = BPF_CORE_READ(sk, __sk_common.skc_bound_dev_if);
	if (row.family == FAMILY_PACKET) {
		struct packet_sock *packet = (void *)sk;

		row.ifindex = BPF_CORE_READ(packet, ifindex);
		row.ethertype = __builtin_bswap16(BPF_CORE_READ(packet, num));
	}
	bpf_probe_read_kernel(row.comm, sizeof(row.comm), task->comm);
	bpf_seq_write(meta->seq, &row, sizeof(row));
}

/* rule 2 */
struct registered {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	void *table;
	__u32 told;
	bool nodes;
};

static long look(__u32 at, struct registered *registered)
{
	unsigned long pointer = 0;

	if (registered->nodes) {
		struct io_rsrc_node **nodes = registered->table, *node = 0;

		bpf_probe_read_kernel(&node, sizeof(node), nodes + at);
		if (!node)
			return 0;
		pointer = BPF_CORE_READ(node, file_ptr);
	} else {
		struct io_fixed_file *files = registered->table;

		bpf_probe_read_kernel(&pointer, sizeof(pointer), files + at);
	}
	struct file *file = (void *)(pointer & ~FLAGS);

	if (!file || !is_socket(file) || !hearing(file))
		return 0;
	tell(registered->meta, registered->task, file);
	return ++registered->told >= MOST_TOLD;
}

static bool is_named_ring(struct file *file)
{
	char name[sizeof(RING_NAME)] = {};

	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(file, f_path.dentry, d_name.name));
	for (unsigned at = 0; at < sizeof(name); at++)
		if (name[at] != RING_NAME[at])
			return false;
	return true;
}

static __attribute__((noinline)) void tell_registered(struct bpf_iter_meta *meta, struct task_struct *task,
						      struct file *file)
{
	struct io_ring_ctx *ring = BPF_CORE_READ(file, private_data);
	struct io_ring_ctx___before *before = (void *)ring;
	struct registered registered = {.meta = meta, .task = task};
	__u32 count;

	if (bpf_core_field_exists(ring->file_table.data)) {
		registered.nodes = true;
		registered.table = BPF_CORE_READ(ring, file_table.data.nodes);
		count = BPF_CORE_READ(ring, file_table.data.nr);
	} else {
		registered.table = BPF_CORE_READ(before, file_table.files);
		count = BPF_CORE_READ(before, nr_user_files);
	}
	if (registered.table)
		bpf_loop(count < MOST_REGISTERED ? count : MOST_REGISTERED, look, &registered, 0);
}

SEC("iter/task_file")
int holders(struct bpf_iter__task_file *context)
{
	struct task_struct *task = context->task;
	struct file *file = context->file;

	if (!task || !file)
		return 0;
	/* read in place, not copied: most descriptors are neither, and there may be many */
	unsigned long kind = file->f_inode->i_sb->s_magic;

	if (kind == SOCKETS)
		tell(context->meta, task, file);
	else if (kind == ANONYMOUS && is_named_ring(file))
		tell_registered(context->meta, task, file);
	return 0;
}

/* rule 3 */
SEC("iter/task_vma")
int mapped(struct bpf_iter__task_vma *context)
{
	struct task_struct *task = context->task;
	struct vm_area_struct *vma = context->vma;

	if (!task || !vma)
		return 0;
	struct file *file = vma->vm_file;

	if (file && file->f_inode->i_sb->s_magic == SOCKETS)
		tell(context->meta, task, file);
	return 0;
}
