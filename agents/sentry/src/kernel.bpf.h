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

struct mnt_namespace {
	struct ns_common ns;
} BY_NAME;

struct nsproxy {
	struct net *net_ns;
	struct mnt_namespace *mnt_ns;
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

struct super_block {
	unsigned int s_dev;
	unsigned long s_magic;
} BY_NAME;

struct inode {
	struct super_block *i_sb;
	unsigned long i_ino;
} BY_NAME;

struct qstr {
	const unsigned char *name;
} BY_NAME;

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
} BY_NAME;

struct vfsmount {
	struct dentry *mnt_root;
} BY_NAME;

struct mount {
	struct vfsmount mnt;
	struct mount *mnt_parent;
	int mnt_group_id;
} BY_NAME;

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
} BY_NAME;

struct file {
	struct path f_path;
	struct inode *f_inode;
	void *private_data;
} BY_NAME;

struct sk_buff {
	unsigned int len;
	unsigned char *data;
} BY_NAME;

struct bpf_map {
	__u32 id;
} BY_NAME;

#endif
