/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/*
 * Refuses who wants to be rid of the agent or of its pins.
 *
 *   1. Nobody may send the agent a signal but itself and process 1, which is how it is stopped.
 *      To ask whether one may (signal 0) is free, but for a canary.
 *   2. Nobody may take a pin out of the folder, or move it or the folder.
 *   3. Nobody may mount anything on the way to the folder or unmount what is on it, where that is
 *      seen by the agent: in its mount namespace, or in another that hands its changes on to it
 *      (a mount of one of the same peer groups). What others do to their own copies is free.
 *   4. Nobody may open the programs' own maps to write. Once the agent's stamp is stale the next
 *      agent may.
 */
enum { PIN_FOLDER = 1, PIN_WAY, PIN_NAMESPACE, PIN_GROUP, PIN_MAP };
enum { PINS = 256, MODE_WRITES = 2 };
/* mount(2): what changes a mount that is there, and what moves one */
enum { MOUNT_CHANGES = 1 << 5 | 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20, MOUNT_MOVES = 1 << 13 };

struct pin {
	__u32 what;
	__u32 device;
	__u64 number;
};

/* agents/sentry/pins.py writes these */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINS);
	__type(key, struct pin);
	__type(value, __u32);
} pinned SEC(".maps");

static __always_inline bool is_pinned(__u32 what, __u32 device, __u64 number)
{
	struct pin pin = {what, device, number};

	return bpf_map_lookup_elem(&pinned, &pin) != 0;
}

static __always_inline bool inode_is(__u32 what, struct inode *inode)
{
	return inode && is_pinned(what, BPF_CORE_READ(inode, i_sb, s_dev), BPF_CORE_READ(inode, i_ino));
}

HOOK(task_kill)
int BPF_PROG(task_kill, struct task_struct *task, const void *about, int signal)
{
	if (!is_agent(task) || is_itself(task) || bpf_get_current_pid_tgid() >> 32 == INIT)
		return 0;
	return signal || is_canary() ? refuse(0, 0, signal, BY_KILL) : 0;
}

HOOK(inode_unlink)
int BPF_PROG(inode_unlink, struct inode *folder)
{
	return inode_is(PIN_FOLDER, folder) ? refuse(0, 0, 0, BY_UNPIN) : 0;
}

HOOK(inode_rename)
int BPF_PROG(inode_rename, struct inode *from, struct dentry *old, struct inode *to, struct dentry *new)
{
	if (!inode_is(PIN_FOLDER, from) && !inode_is(PIN_FOLDER, to) &&
	    !inode_is(PIN_FOLDER, BPF_CORE_READ(old, d_inode)) &&
	    !inode_is(PIN_FOLDER, BPF_CORE_READ(new, d_inode)))
		return 0;
	return refuse(0, 0, 0, BY_UNPIN);
}

/* rule 3 */
static __always_inline bool agent_sees(struct vfsmount *mounted)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mount *mount = (void *)mounted - bpf_core_field_offset(struct mount, mnt);
	int group = BPF_CORE_READ(mount, mnt_group_id), above = BPF_CORE_READ(mount, mnt_parent, mnt_group_id);

	return is_pinned(PIN_NAMESPACE, 0, BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum)) ||
	       (group && is_pinned(PIN_GROUP, 0, group)) || (above && is_pinned(PIN_GROUP, 0, above));
}

static __always_inline bool on_the_way(const struct path *path)
{
	return inode_is(PIN_WAY, BPF_CORE_READ(path, dentry, d_inode)) && agent_sees(BPF_CORE_READ(path, mnt));
}

HOOK(sb_mount)
int BPF_PROG(sb_mount, const char *source, const struct path *path, const char *type, unsigned long flags)
{
	if (flags & MOUNT_CHANGES)
		return 0;
	/* of what is moved this hook sees the name alone */
	bool moves = flags & MOUNT_MOVES && agent_sees(BPF_CORE_READ(path, mnt));

	return moves || on_the_way(path) ? refuse(0, 0, 0, BY_MOUNT) : 0;
}

HOOK(move_mount)
int BPF_PROG(move_mount, const struct path *from, const struct path *to)
{
	return on_the_way(from) || on_the_way(to) ? refuse(0, 0, 0, BY_MOUNT) : 0;
}

HOOK(sb_umount)
int BPF_PROG(sb_umount, struct vfsmount *mounted)
{
	if (!inode_is(PIN_WAY, BPF_CORE_READ(mounted, mnt_root, d_inode)) || !agent_sees(mounted))
		return 0;
	return refuse(0, 0, 0, BY_MOUNT);
}

/* rule 4 */
static __always_inline bool agent_lives(void)
{
	__u32 first = 0;
	__u64 *stamp = bpf_map_lookup_elem(&heartbeat, &first);

	return stamp && bpf_ktime_get_boot_ns() < *stamp + settings.stale_ns;
}

HOOK(bpf_map)
int BPF_PROG(bpf_map, struct bpf_map *map, unsigned int mode)
{
	if (!(mode & MODE_WRITES) || !is_pinned(PIN_MAP, 0, BPF_CORE_READ(map, id)) || !agent_lives())
		return 0;
	return refuse(0, 0, 0, BY_BPF);
}
