// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/*
 * Refuses who wants a socket that can hear content, inside the kernel: EPERM, and nothing is made.
 * So it does with who wants to read what a media daemon has in memory (shield_memory.bpf.h), or to
 * be rid of all this (shield_pins.bpf.h).
 *
 * Built twice. Once as what the kernel's own security functions ask before they answer (fmod_ret;
 * it works whatever modules are in `lsm=`), once as a security module's hooks (lsm), which load
 * and never run where `lsm=` lacks bpf: what holds is known only once it was tried.
 *
 *   1. Who may and where it counts: the rules of rules.bpf.h.
 *   2. Below the system calls there is one way in: 32-bit calls, io_uring and threads come here.
 *   3. A kernel that does not have one of the hooks still gets the others (pack.py), so each
 *      stands alone. None reads a hook's last argument, the answer so far: that of
 *      perf_event_open moved between 6.1 and 6.12, and a hook is not asked once one has refused.
 */
#include "rules.bpf.h"

char _license[] SEC("license") = "Dual BSD/GPL";

#ifdef AS_LSM
#define HOOK(name) SEC("lsm/" #name)
#else
#define HOOK(name) SEC("fmod_ret/security_" #name)
#endif

#define EPERM 1

enum { OPTIONS_PACKET = 263, OPTIONS_XDP = 283 };

static __attribute__((noinline)) int refuse(__u32 family, __u32 type, __u32 protocol, enum way way)
{
	enum answer due = answer();

	if (due == PASS)
		return 0;
	tell(family, type, protocol, way, due == STOP ? DENIED : REPORTED);
	return due == STOP ? -EPERM : 0;
}

static __always_inline bool is_canary(void)
{
	return settings.canary && below(settings.canary);
}

/* `number` is what the socket is to hear from now on (as in the packet), 0: what it hears already */
static __always_inline int refuse_held(struct sock *sock, __u16 number, enum way way)
{
	__u32 family = BPF_CORE_READ(sock, __sk_common.skc_family);
	__u32 type = BPF_CORE_READ(sock, sk_type), protocol = BPF_CORE_READ(sock, sk_protocol);

	if (family == FAMILY_PACKET)
		protocol = number ? number : BPF_CORE_READ((struct packet_sock *)sock, num);
	return hears_content(&family, type, &protocol) ? refuse(family, type, protocol, way) : 0;
}

HOOK(socket_create)
int BPF_PROG(socket_create, int family, int type, int protocol, int by_kernel)
{
	__u32 asked = family, of = protocol;

	type &= TYPE_MASK;
	return !by_kernel && hears_content(&asked, type, &of) ? refuse(asked, type, of, BY_CALL) : 0;
}

HOOK(socket_bind)
int BPF_PROG(socket_bind, struct socket *socket, const void *address, int octets)
{
	struct {
		__u16 family;
		__u16 protocol;
	} to = {};
	struct sock *sock = socket->sk;

	if (!sock || BPF_CORE_READ(sock, __sk_common.skc_family) == FAMILY_INET ||
	    BPF_CORE_READ(sock, __sk_common.skc_family) == FAMILY_INET6)
		return 0; /* to an address only */
	if (octets >= (int)sizeof(to))
		bpf_probe_read_kernel(&to, sizeof(to), address);
	return refuse_held(sock, to.family == FAMILY_PACKET ? to.protocol : 0, BY_BIND);
}

HOOK(socket_setsockopt)
int BPF_PROG(socket_setsockopt, struct socket *socket, int level)
{
	struct sock *sock = socket->sk;

	return sock && (level == OPTIONS_PACKET || level == OPTIONS_XDP) ?
		       refuse_held(sock, 0, BY_SETSOCKOPT) : 0;
}

HOOK(file_receive)
int BPF_PROG(file_receive, struct file *file)
{
	struct socket *socket = bpf_sock_from_file(file);
	struct sock *sock = socket ? socket->sk : 0;

	return sock ? refuse_held(sock, 0, BY_RECEIVED) : 0;
}

#include "shield_memory.bpf.h"
#include "shield_pins.bpf.h"
