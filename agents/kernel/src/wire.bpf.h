/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/*
 * What both filters share: how maps are declared and how a frame is taken apart.
 *
 * A map is declared as a plain `struct map_definition` in the section "maps"; the
 * loader (agents/kernel/elf.py) reads it from there, so that the objects need no BTF.
 */
#ifndef CALLGUARD_WIRE_BPF_H
#define CALLGUARD_WIRE_BPF_H

#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct map_definition {
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 flags;
};

#define MAP(name, kind, key, value, entries)                                   \
	struct map_definition name SEC("maps") = {                             \
		.type = (kind),                                                \
		.key_size = sizeof(key),                                       \
		.value_size = sizeof(value),                                   \
		.max_entries = (entries),                                      \
	}

#define ETHERNET 14
#define VLAN_TAGS 2
#define EXTENSIONS 8 /* IPv6 extension headers followed before the packet is given up */
#define UDP_HEADER 8

enum { TYPE_IPV4 = 0x0800, TYPE_IPV6 = 0x86dd, TYPE_8021Q = 0x8100, TYPE_8021AD = 0x88a8, TYPE_QINQ = 0x9100 };
enum { PROTOCOL_TCP = 6, PROTOCOL_UDP = 17 };
enum { NEXT_HOPS = 0, NEXT_ROUTING = 43, NEXT_FRAGMENT = 44, NEXT_AUTHENTICATION = 51, NEXT_DESTINATION = 60,
       NEXT_MOBILITY = 135, NEXT_HIP = 139, NEXT_SHIM6 = 140 };
enum { OUTGOING = 4 }; /* PACKET_OUTGOING of linux/if_packet.h */

/*
 * An address is 16 octets; IPv4 is written ::ffff:a.b.c.d (RFC 4291, 2.5.5.2). In halves, and
 * the port in eight octets, because the verifier of 6.1 lets nobody but root write to a part
 * of a place on the stack twice.
 */
struct address {
	__u64 half[2];
};

struct endpoint {
	struct address address;
	__u64 port; /* in network order, in the first two octets */
};

struct packet {
	struct address source;
	struct address destination;
	__u32 transport; /* offset of the UDP or TCP header, from the start of the frame */
	__u32 id;        /* identification, only meaningful in a fragment */
	__u8 protocol;
	__u8 first_fragment; /* offset 0 and more to come */
	__u8 later_fragment; /* offset not 0: no ports in it */
};

struct ipv4 {
	__u8 version_and_length;
	__u8 service;
	__be16 length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__u32 source;
	__u32 destination;
};

struct ipv6 {
	__u32 version_and_flow;
	__be16 length;
	__u8 next;
	__u8 hops;
	struct address source;
	struct address destination;
};

struct udp {
	__be16 source;
	__be16 destination;
	__be16 length;
	__be16 checksum;
};

static __always_inline void map_ipv4(struct address *to, __u32 from)
{
	to->half[0] = 0;
	to->half[1] = (__u64)from << 32 | bpf_htonl(0xffff);
}

static __always_inline int read_ipv4(struct __sk_buff *skb, __u32 at, struct packet *packet)
{
	struct ipv4 header;
	if (bpf_skb_load_bytes(skb, at, &header, sizeof(header)) < 0)
		return -1;
	__u32 words = header.version_and_length & 15;
	if (header.version_and_length >> 4 != 4 || words < 5)
		return -1;
	__u16 fragment = bpf_ntohs(header.fragment);
	packet->later_fragment = (fragment & 0x1fff) != 0;
	packet->first_fragment = (fragment & 0x3fff) == 0x2000;
	packet->id = header.id;
	packet->protocol = header.protocol;
	packet->transport = at + words * 4;
	map_ipv4(&packet->source, header.source);
	map_ipv4(&packet->destination, header.destination);
	return 0;
}

static __always_inline int read_ipv6(struct __sk_buff *skb, __u32 at, struct packet *packet)
{
	struct ipv6 header;
	if (bpf_skb_load_bytes(skb, at, &header, sizeof(header)) < 0)
		return -1;
	if ((bpf_ntohl(header.version_and_flow) >> 28) != 6)
		return -1;
	packet->source = header.source;
	packet->destination = header.destination;
	at += sizeof(header);
	__u8 next = header.next;
#pragma unroll
	for (int i = 0; i < EXTENSIONS; i++) {
		__u8 extension[8];
		if (next != NEXT_HOPS && next != NEXT_ROUTING && next != NEXT_FRAGMENT && next != NEXT_AUTHENTICATION &&
		    next != NEXT_DESTINATION && next != NEXT_MOBILITY && next != NEXT_HIP && next != NEXT_SHIM6)
			break;
		if (bpf_skb_load_bytes(skb, at, extension, sizeof(extension)) < 0)
			return -1;
		__u32 length = (extension[1] + 1) * 8;
		if (next == NEXT_AUTHENTICATION)
			length = (extension[1] + 2) * 4;
		if (next == NEXT_FRAGMENT) {
			__u16 offset = (__u16)extension[2] << 8 | extension[3];
			length = 8;
			packet->id = *(__u32 *)(extension + 4);
			packet->later_fragment = (offset & 0xfff8) != 0;
			packet->first_fragment = (offset & 0xfff9) == 1;
		}
		next = extension[0];
		at += length;
		if (packet->later_fragment)
			break; /* what follows is not a header */
	}
	packet->protocol = next;
	packet->transport = at;
	return 0;
}

/*
 * Takes a frame apart up to its transport header. A VLAN tag that the network card has
 * moved into the metadata is not in the frame any more and needs no care here.
 * Returns 0, or -1 for what is not IP or is cut short.
 */
static __always_inline int read_packet(struct __sk_buff *skb, struct packet *packet)
{
	__u32 at = ETHERNET;
	__be16 type;
	__builtin_memset(packet, 0, sizeof(*packet));
	if (bpf_skb_load_bytes(skb, at - 2, &type, sizeof(type)) < 0)
		return -1;
#pragma unroll
	for (int i = 0; i < VLAN_TAGS; i++) {
		if (type != bpf_htons(TYPE_8021Q) && type != bpf_htons(TYPE_8021AD) && type != bpf_htons(TYPE_QINQ))
			break;
		at += 4;
		if (bpf_skb_load_bytes(skb, at - 2, &type, sizeof(type)) < 0)
			return -1;
	}
	if (type == bpf_htons(TYPE_IPV4))
		return read_ipv4(skb, at, packet);
	if (type == bpf_htons(TYPE_IPV6))
		return read_ipv6(skb, at, packet);
	return -1;
}

/* The end of a UDP datagram's payload inside the frame; Ethernet padding lies behind it. */
static __always_inline __u32 end_of(struct __sk_buff *skb, __u32 transport, const struct udp *udp)
{
	__u32 length = bpf_ntohs(udp->length);
	__u32 end = transport + length;
	if (length == 0) /* a jumbogram, or several datagrams that the kernel joined */
		return skb->len;
	if (length < UDP_HEADER)
		return transport + UDP_HEADER;
	return end < skb->len ? end : skb->len;
}

#endif
