/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/*
 * What the sentry's programs read of the kernel's own structures: the members needed, by name.
 * Offsets are written in by the kernel when a program is loaded (CO-RE), so that one object
 * fits every kernel that has these members.
 */
#ifndef CALLGUARD_KERNEL_BPF_H
#define CALLGUARD_KERNEL_BPF_H

#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#define BY_NAME __attribute__((preserve_access_index))

typedef _Bool bool;
enum { false, true };

enum { FAMILY_INET = 2, FAMILY_INET6 = 10, FAMILY_PACKET = 17, FAMILY_XDP = 44 };
enum { TYPE_RAW = 3, TYPE_OLD_PACKET = 10, TYPE_MASK = 0xf };

typedef struct {
	unsigned int val;
} kuid_t;

struct thread_info {
	unsigned int status;
} BY_NAME;

struct kernfs_node {
	__u64 id;
} BY_NAME;

struct cgroup {
	struct kernfs_node *kn;
} BY_NAME;

struct css_set {
	struct cgroup *dfl_cgrp;
} BY_NAME;

struct cred {
	kuid_t euid;
} BY_NAME;

struct ns_common {
	unsigned int inum;
} BY_NAME;

struct net {
	struct ns_common ns;
} BY_NAME;

struct nsproxy {
	struct net *net_ns;
} BY_NAME;

struct task_struct {
	struct thread_info thread_info;
	int tgid;
	const struct cred *cred;
	struct css_set *cgroups;
	struct nsproxy *nsproxy;
	struct task_struct *group_leader;
	__u64 start_boottime;
	kuid_t loginuid;
	char comm[16];
} BY_NAME;

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	unsigned short skc_family;
	int skc_bound_dev_if;
	possible_net_t skc_net;
} BY_NAME;

struct sock {
	struct sock_common __sk_common;
	__u16 sk_type;
	__u16 sk_protocol;
} BY_NAME;

struct socket {
	struct sock *sk;
} BY_NAME;

struct packet_sock {
	struct sock sk;
	int ifindex;
	__u16 num;
} BY_NAME;

struct inode {
	unsigned long i_ino;
} BY_NAME;

struct file {
	struct inode *f_inode;
} BY_NAME;

#endif
