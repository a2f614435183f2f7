// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/*
 * Selects the media of armed calls. Two socket filters, each with its own flow map:
 *
 *   headers   returns at most the length of the headers, whatever its map says
 *   content   returns the whole packet
 *
 * A packet passes if and only if it
 *   1. comes in (never one the node sends: the same packet would be seen twice),
 *   2. on one of the configured interfaces,
 *   3. is UDP over IPv4 or IPv6 and not a later fragment,
 *   4. and its destination address and port are in the map with a deadline, in
 *      nanoseconds of the boot clock, that is still to come. The clock is read for
 *      every packet.
 *
 * What `headers` keeps behind the UDP header:
 *   RTP (version 2)          12 octets, 4 for each CSRC, and 4 of the extension's own
 *                            header. Not what the extension carries: the audio levels
 *                            of RFC 6464 are derived from the voice.
 *   RTCP, SR and RR          the first packet only: header, sender info, report blocks
 *   RTCP, other types        header and SSRC, 8 octets (no names, no APP data)
 *   anything else            nothing: STUN, DTLS, T.38, and RTP that does not fit
 * RTCP is told from RTP by its type, 192 to 223 (RFC 5761, 4).
 */
#include "wire.bpf.h"

char _license[] SEC("license") = "Dual BSD/GPL";

#define WHOLE 0x40000 /* more than any frame; the kernel takes the smaller */
#define LONGEST_HEADERS 1536 /* Ethernet to the last report block; never reached by real traffic */

enum { RTP_FIXED = 12, RTCP_FIXED = 8, SENDER_INFO = 20, REPORT_BLOCK = 24 };
enum { RTCP_FIRST = 192, RTCP_LAST = 223, RTCP_SR = 200, RTCP_RR = 201 };

struct flow {
	__u64 deadline; /* boot clock, nanoseconds */
	__u64 packets;
	__u64 bytes;
};

MAP(interfaces, BPF_MAP_TYPE_HASH, __u32, __u32, 64);
MAP(headers_flows, BPF_MAP_TYPE_HASH, struct endpoint, struct flow, 65536);
MAP(content_flows, BPF_MAP_TYPE_HASH, struct endpoint, struct flow, 65536);

/* Finds the live flow that a packet belongs to; rules 1 to 4. Null if there is none. */
static __always_inline struct flow *live_flow(struct __sk_buff *skb, void *flows, __u32 *transport,
					      struct udp *udp)
{
	struct packet packet;
	struct endpoint key;
	__u32 interface = skb->ifindex;
	if (skb->pkt_type == OUTGOING || !bpf_map_lookup_elem(&interfaces, &interface))
		return 0;
	if (read_packet(skb, &packet) < 0 || packet.protocol != PROTOCOL_UDP || packet.later_fragment)
		return 0;
	if (bpf_skb_load_bytes(skb, packet.transport, udp, sizeof(*udp)) < 0)
		return 0;
	key.address = packet.destination;
	key.port = udp->destination;
	struct flow *flow = bpf_map_lookup_elem(flows, &key);
	if (!flow || bpf_ktime_get_boot_ns() >= flow->deadline)
		return 0;
	__sync_fetch_and_add(&flow->packets, 1);
	__sync_fetch_and_add(&flow->bytes, skb->len);
	*transport = packet.transport;
	return flow;
}

/* The octets of an RTCP packet that may pass; what does not fit is cut to its fixed header. */
static __always_inline __u32 rtcp_headers(const __u8 *fixed, __u32 room)
{
	__u32 own = ((__u32)fixed[2] << 8 | fixed[3]) * 4 + 4;
	__u32 kept = RTCP_FIXED + (fixed[0] & 31) * REPORT_BLOCK;
	if (fixed[1] == RTCP_SR)
		kept += SENDER_INFO;
	else if (fixed[1] != RTCP_RR)
		return RTCP_FIXED;
	return kept <= own && kept <= room ? kept : RTCP_FIXED;
}

/* The octets behind the UDP header that may pass. */
static __always_inline __u32 media_headers(struct __sk_buff *skb, __u32 payload, __u32 end)
{
	__u8 fixed[RTCP_FIXED];
	__u32 room = end - payload;
	if (end < payload + RTCP_FIXED || bpf_skb_load_bytes(skb, payload, fixed, sizeof(fixed)) < 0)
		return 0;
	if (fixed[0] >> 6 != 2)
		return 0;
	if (fixed[1] >= RTCP_FIRST && fixed[1] <= RTCP_LAST)
		return rtcp_headers(fixed, room);
	__u32 kept = RTP_FIXED + (fixed[0] & 15) * 4 + (fixed[0] & 16 ? 4 : 0);
	return kept <= room ? kept : 0;
}

SEC("socket/headers")
int headers(struct __sk_buff *skb)
{
	__u32 transport;
	struct udp udp;
	if (!live_flow(skb, &headers_flows, &transport, &udp))
		return 0;
	__u32 payload = transport + UDP_HEADER;
	__u32 length = payload + media_headers(skb, payload, end_of(skb, transport, &udp));
	return length <= LONGEST_HEADERS ? length : ETHERNET;
}

SEC("socket/content")
int content(struct __sk_buff *skb)
{
	__u32 transport;
	struct udp udp;
	return live_flow(skb, &content_flows, &transport, &udp) ? WHOLE : 0;
}
