// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/*
 * Kills who opens a socket that can hear content, at the entry of the system call. x86_64 only.
 *
 *   1. Who may and where it counts: the rules of rules.bpf.h. Packet sockets are judged at socket
 *      and at bind.
 *   2. 64-bit, 32-bit (int $0x80, socketcall) and x32 entries and io_uring are covered.
 *
 * A signal ends the process before it returns to user space; it does not stop the running call.
 * What survives it (a descriptor table shared with another process, arguments swapped while
 * they are read) is for the sweep to find: every event asks for one.
 */
#include "rules.bpf.h"

char _license[] SEC("license") = "Dual BSD/GPL";

#define KILL 9
#define COMPAT 2 /* TS_COMPAT of thread_info.status */
#define X32 0x40000000u

enum { SOCKET_64 = 41, BIND_64 = 49, SOCKETCALL_32 = 102, SOCKET_32 = 359, BIND_32 = 361 };
enum { CALL_SOCKET = 1, CALL_BIND = 2 };
enum { URING_SOCKET = 45, URING_BIND = 56 };

struct pt_regs {
	unsigned long bx, cx, dx, si, di;
} BY_NAME;

static __attribute__((noinline)) void act(__u32 family, __u32 type, __u32 protocol, enum way way, bool look)
{
	enum answer due = answer();

	if (due == PASS)
		return;
	if (look)
		tell(family, type, protocol, way, LOOK);
	else
		tell(family, type, protocol, way,
		     due == STOP && bpf_send_signal(KILL) == 0 ? KILLED : REPORTED);
}

static __always_inline void opens(__u32 family, __u32 type, __u32 protocol, enum way way)
{
	type &= TYPE_MASK;
	if (hears_content(&family, type, &protocol))
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
