// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/*
 * Selects the signalling of armed identities: a socket filter that passes a packet to or
 * from a SIP port, in either direction, if the message is about somebody in a map.
 *
 *   1. A message passes if it names an armed identity: in a sip:, sips: or tel: URI
 *      anywhere in it, or in a Call-ID (or i) header. Identities are in the map as keyed
 *      hashes with a deadline in nanoseconds of the boot clock.
 *   2. A message passes if its source or destination is an armed peer (address and port,
 *      or port 0 for any), with a deadline likewise.
 *   3. What cannot be decided passes as long as any identity or peer is armed
 *      (settings.undecided_until), and only then: fragments, messages longer than TEXT,
 *      a URI longer than LONGEST, and SIP over TCP if settings.tcp says so.
 *      It is counted, and user space decides it.
 *   4. A later fragment has no ports. It passes if its first fragment did, within
 *      FRAGMENT_LIFE of it. One that comes before its first fragment is lost.
 *
 * How an identity is written before it is hashed (agents/kernel/identity.py does the same):
 *
 *   URI, user and host  2, then the user up to the first of ; : or @ with percent-escapes
 *                       decoded, then @, then the host in lower case without port,
 *                       parameters, and one trailing dot. An IPv6 host, which has many
 *                       spellings, is one "["
 *   URI, telephone      1, then the digits. The user (or what stands in its place) must
 *                       consist of digits and the visual separators - . ( ) and space, with
 *                       one + before the first digit. Separators and + are dropped; where there
 *                       is no +, so is a leading 00
 *   Call-ID             3, then the value up to the next white space
 *
 * Each is cut after NAME octets. Hashes: SipHash-1-3 with a random key of 128 bits. A match
 * is over-inclusive by a collision or beyond NAME octets; user space matches exactly.
 *
 * All state of the search is in a per-CPU map, because the verifier does not follow map
 * values: the loops' states converge at once, on every kernel since 5.17.
 */
#include "wire.bpf.h"

char _license[] SEC("license") = "Dual BSD/GPL";

#define BUFFER 16384
#define MASK (BUFFER - 1)
#define LEAD 16 /* line ends before the message, so that looking back needs no care */
#define TEXT (BUFFER - 2 * LEAD)
#define STRIDE 64
#define NAME 255
#define DIGITS 31
#define LONGEST 1024
#define FRAGMENT_LIFE 30000000000ULL

#define EACH_OCTET(x) (0x0101010101010101ULL * (x))

enum { KIND_TELEPHONE = 1, KIND_USER_AT_HOST = 2, KIND_CALL_ID = 3 };
enum { IN_USER, IN_PARAMETERS, IN_HOST };
enum { TELEPHONE_OPEN, TELEPHONE_ENDED, TELEPHONE_NOT };
enum { SCANNED, MATCHED, UNDECIDED, BYTES, COUNTERS };

struct settings {
	__u64 key[2];
	__u64 undecided_until;
	__u32 tcp;
	__u32 pass_undecided;
};

struct datagram {
	struct address source;
	struct address destination;
	__u32 id;
	__u32 protocol;
};

struct search {
	__u8 text[BUFFER + STRIDE];
	__u8 name[NAME + 9];
	__u8 digits[DIGITS + 9];
	__u64 marks; /* colons not yet looked at in this stride: bit 8 * octet + word */
	__u64 key[2];
	__u64 now;
	__u32 stride;
	__u32 at;
	__u32 end;
	__u32 named;
	__u32 dialled;
	__u32 telephone;
	__u32 plus;
	__u32 phase;
	__u32 done;
	__u32 found;
	__u32 undecided;
};

struct walk {
	struct search *search;
};

MAP(interfaces, BPF_MAP_TYPE_HASH, __u32, __u32, 64);
MAP(sip_ports, BPF_MAP_TYPE_ARRAY, __u32, __u64, 1024); /* a bit for each port */
MAP(identities, BPF_MAP_TYPE_HASH, __u64, __u64, 65536);
MAP(peers, BPF_MAP_TYPE_HASH, struct endpoint, __u64, 1024);
MAP(fragments, BPF_MAP_TYPE_LRU_HASH, struct datagram, __u64, 4096);
MAP(settings_map, BPF_MAP_TYPE_ARRAY, __u32, struct settings, 1);
MAP(counters, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, __u64, COUNTERS);
MAP(searches, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct search, 1);

static __always_inline void count(__u32 which, __u64 by)
{
	__u64 *counter = bpf_map_lookup_elem(&counters, &which);
	if (counter)
		*counter += by;
}

/* --- the hash ------------------------------------------------------------------- */

#define ROTATE(x, by) ((x) << (by) | (x) >> (64 - (by)))
#define ROUND(v)                                                               \
	do {                                                                   \
		v[0] += v[1]; v[1] = ROTATE(v[1], 13); v[1] ^= v[0]; v[0] = ROTATE(v[0], 32); \
		v[2] += v[3]; v[3] = ROTATE(v[3], 16); v[3] ^= v[2];           \
		v[0] += v[3]; v[3] = ROTATE(v[3], 21); v[3] ^= v[0];           \
		v[2] += v[1]; v[1] = ROTATE(v[1], 17); v[1] ^= v[2]; v[2] = ROTATE(v[2], 32); \
	} while (0)

/* SipHash-1-3 of `length` octets, at most `most`, that have 8 octets of room behind them. */
static __always_inline __u64 hash(const __u64 *key, __u8 *from, __u32 length, __u32 most)
{
	__u64 v[4] = { key[0] ^ 0x736f6d6570736575ULL, key[1] ^ 0x646f72616e646f6dULL,
		       key[0] ^ 0x6c7967656e657261ULL, key[1] ^ 0x7465646279746573ULL };
	*(__u64 *)(from + (length & most)) = 0;
#pragma clang loop unroll(disable)
	for (__u32 at = 0; at <= most; at += 8) {
		__u64 word = *(__u64 *)(from + at);
		int last = at + 8 > length;
		if (last)
			word |= (__u64)length << 56;
		v[3] ^= word;
		ROUND(v);
		v[0] ^= word;
		if (last)
			break;
	}
	v[2] ^= 0xff;
	ROUND(v);
	ROUND(v);
	ROUND(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static __always_inline void look_up(struct search *s, __u64 identity)
{
	__u64 *deadline = bpf_map_lookup_elem(&identities, &identity);
	if (deadline && s->now < *deadline)
		s->found = 1;
}

static __noinline int test_name(struct search *s)
{
	if (!s)
		return 0;
	look_up(s, hash(s->key, s->name, s->named, NAME));
	return 0;
}

static __noinline int test_digits(struct search *s)
{
	if (!s)
		return 0;
	look_up(s, hash(s->key, s->digits, s->dialled, DIGITS));
	return 0;
}

/* --- a URI ---------------------------------------------------------------------- */

static __always_inline int hexadecimal(__u8 c)
{
	__u8 folded = c | 0x20;
	if (c >= '0' && c <= '9')
		return c - '0';
	return folded >= 'a' && folded <= 'f' ? folded - 'a' + 10 : -1;
}

static __always_inline void name_octet(struct search *s, __u8 c)
{
	if (s->named < NAME) {
		s->name[s->named & NAME] = c;
		s->named += 1;
	}
	if (s->named == NAME) {
		/* The rest cannot change the name; whether it goes on as a telephone number is open. */
		s->undecided |= s->telephone == TELEPHONE_OPEN;
		s->done = 1;
	}
}

static __always_inline void dial_octet(struct search *s, __u8 c)
{
	if (s->telephone != TELEPHONE_OPEN)
		return;
	if (c >= '0' && c <= '9') {
		if (s->dialled < DIGITS) {
			s->digits[s->dialled & DIGITS] = c;
			s->dialled += 1;
		} else {
			s->telephone = TELEPHONE_NOT;
		}
		if (s->dialled == 3 && !s->plus && s->digits[1] == '0' && s->digits[2] == '0')
			s->dialled = 1, s->plus = 1; /* 00 is another way to write + */
	} else if (c == '+' && !s->plus && s->dialled == 1) {
		s->plus = 1;
	} else if (c != '-' && c != '.' && c != '(' && c != ')' && c != ' ') {
		s->telephone = TELEPHONE_NOT;
	}
}

static __always_inline void end_digits(struct search *s)
{
	if (s->telephone == TELEPHONE_OPEN)
		s->telephone = TELEPHONE_ENDED;
}

static __always_inline void user_octet(struct search *s, __u8 c, int literal)
{
	if (!literal && c == '@') {
		end_digits(s);
		s->phase = IN_HOST;
	} else if (!literal && (c == ';' || c == ':')) {
		end_digits(s);
		s->phase = IN_PARAMETERS;
		return;
	} else if (!literal && (c == ',' || c == '?')) {
		end_digits(s); /* may be part of a user, but not of a number */
	} else {
		dial_octet(s, c);
	}
	name_octet(s, c);
}

static __always_inline void host_octet(struct search *s, __u8 c)
{
	__u8 folded = c >= 'A' && c <= 'Z' ? c | 0x20 : c;
	if (!((folded >= 'a' && folded <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
	      c == '[' || c >= 0x80)) {
		s->done = 1;
		return;
	}
	name_octet(s, folded);
	s->done |= c == '[';
}

/* One octet of a URI, or three where they are an escape. */
static long uri_octet(__u32 i, struct walk *walk)
{
	struct search *s = walk->search;
	__u32 at = s->at;
	__u8 c = s->text[at & MASK];
	int literal = 0;
	if (at >= s->end || c <= ' ' || c == '<' || c == '>' || c == '"') {
		s->done = 1;
		return 1;
	}
	if (c == '%' && s->phase == IN_USER && at + 2 < s->end) {
		int high = hexadecimal(s->text[(at + 1) & MASK]), low = hexadecimal(s->text[(at + 2) & MASK]);
		if (high >= 0 && low >= 0) {
			c = high << 4 | low;
			literal = 1;
			at += 2;
		}
	}
	s->at = at + 1;
	if (s->phase == IN_USER) {
		user_octet(s, c, literal);
	} else if (s->phase == IN_PARAMETERS) {
		if (c == '@') {
			s->phase = IN_HOST;
			name_octet(s, c);
		}
	} else {
		host_octet(s, c);
	}
	return s->done != 0;
}

static __always_inline void test_uri(struct walk *walk, __u32 from)
{
	struct search *s = walk->search;
	s->at = from;
	s->name[0] = KIND_USER_AT_HOST;
	s->digits[0] = KIND_TELEPHONE;
	s->named = s->dialled = 1;
	s->phase = IN_USER;
	s->telephone = TELEPHONE_OPEN;
	s->plus = s->done = 0;
	bpf_loop(LONGEST, uri_octet, walk, 0);
	if (!s->done)
		s->undecided = 1;
	else if (s->named < NAME)
		end_digits(s);
	if (s->telephone == TELEPHONE_ENDED && s->dialled > 1)
		test_digits(s);
	if (s->phase != IN_HOST && s->named < NAME)
		return;
	if (s->name[(s->named - 1) & NAME] == '.' && s->named < NAME)
		s->named -= 1;
	test_name(s);
}

/* --- a Call-ID ------------------------------------------------------------------ */

static long call_id_octet(__u32 i, struct walk *walk)
{
	struct search *s = walk->search;
	__u32 at = s->at;
	__u8 c = s->text[at & MASK];
	s->at = at + 1;
	if (at >= s->end || (c <= ' ' && s->named > 1)) {
		s->done = 1;
		return 1;
	}
	if (c > ' ') { /* white space and folds before the value are skipped */
		s->name[s->named & NAME] = c;
		s->named += 1;
		s->done = s->named == NAME;
	}
	return s->done != 0;
}

static __always_inline void test_call_id(struct walk *walk, __u32 from)
{
	struct search *s = walk->search;
	s->at = from;
	s->name[0] = KIND_CALL_ID;
	s->named = 1;
	s->done = 0;
	bpf_loop(LONGEST, call_id_octet, walk, 0);
	if (!s->done)
		s->undecided = 1;
	else if (s->named > 1)
		test_name(s);
}

/* --- the search for colons ------------------------------------------------------ */

/* The high bit of each octet that is a colon; exact, no carry between octets. */
static __always_inline __u64 colons(__u64 word)
{
	__u64 x = word ^ EACH_OCTET(':');
	return ~(((x & EACH_OCTET(0x7f)) + EACH_OCTET(0x7f)) | x | EACH_OCTET(0x7f));
}

/* The number of the lowest bit that is set. */
static __always_inline __u32 lowest(__u64 x)
{
	x = (x & -x) - 1;
	x -= x >> 1 & EACH_OCTET(0x55);
	x = (x & EACH_OCTET(0x33)) + (x >> 2 & EACH_OCTET(0x33));
	return ((x + (x >> 4)) & EACH_OCTET(0x0f)) * EACH_OCTET(1) >> 56;
}

static long blank_before(__u32 i, struct walk *walk)
{
	struct search *s = walk->search;
	__u8 c = s->text[(s->at - 1) & MASK];
	if (c != ' ' && c != '\t' && c != '\r' && c != '\n')
		return 1;
	s->at -= 1;
	return s->at <= LEAD;
}

/* Is the word before `end` a Call-ID header's name? The short one only at a line's start. */
static __always_inline int names_call_id(struct search *s, __u32 end)
{
	__u64 before = *(__u64 *)(s->text + ((end - 8) & MASK));
	/* the octets are, from the low end: ? C a l l - I D */
	if ((before >> 8 | 0x20200020202020ULL) == 0x64692d6c6c6163ULL)
		return 1;
	__u8 first = before >> 48;
	return (before >> 56 | 0x20) == 'i' && (first == '\n' || first == '\r');
}

static __noinline void look_at_colon(struct walk *walk, __u32 at)
{
	struct search *s = walk->search;
	__u32 before = *(__u32 *)(s->text + ((at - 4) & MASK)) | 0x20202020;
	if (before >> 8 == 0x706973 || before == 0x73706973 || before >> 8 == 0x6c6574) { /* sip sips tel */
		test_uri(walk, at + 1);
		return;
	}
	s->at = at;
	if (s->text[(at - 1) & MASK] <= ' ')
		bpf_loop(TEXT, blank_before, walk, 0);
	if (names_call_id(s, s->at))
		test_call_id(walk, at + 1);
}

static long next_colon(__u32 i, struct walk *walk)
{
	struct search *s = walk->search;
	if (!s->marks)
		return 1;
	__u32 bit = lowest(s->marks);
	__u32 at = s->stride + (bit & 7) * 8 + (bit >> 3);
	s->marks &= s->marks - 1;
	if (at >= s->end)
		return 0;
	look_at_colon(walk, at);
	return s->found != 0;
}

static long next_stride(__u32 i, struct walk *walk)
{
	struct search *s = walk->search;
	__u32 from = LEAD + i * STRIDE;
	__u64 *word = (__u64 *)(s->text + (from & MASK));
	if (from >= s->end)
		return 1;
	s->marks = colons(word[0]) >> 7 | colons(word[1]) >> 6 | colons(word[2]) >> 5 | colons(word[3]) >> 4 |
		   colons(word[4]) >> 3 | colons(word[5]) >> 2 | colons(word[6]) >> 1 | colons(word[7]);
	s->stride = from;
	if (s->marks)
		bpf_loop(STRIDE, next_colon, walk, 0);
	return s->found != 0;
}

/* --- the packet ----------------------------------------------------------------- */

static __always_inline int undecided(const struct settings *settings, __u64 now)
{
	count(UNDECIDED, 1);
	return settings->pass_undecided && now < settings->undecided_until;
}

/* Searches a message of `length` octets at `offset`; rule 1. */
static __always_inline int message_passes(struct __sk_buff *skb, const struct settings *settings, __u64 now,
					  __u32 offset, __u32 length)
{
	__u32 zero = 0;
	struct search *s = bpf_map_lookup_elem(&searches, &zero);
	struct walk walk = { .search = s };
	if (!s || length == 0)
		return 0;
	if (length > TEXT)
		return undecided(settings, now);
	if (bpf_skb_load_bytes(skb, offset, s->text + LEAD, length) < 0)
		return 0;
	*(__u64 *)s->text = *(__u64 *)(s->text + 8) = EACH_OCTET('\n');
	s->key[0] = settings->key[0];
	s->key[1] = settings->key[1];
	s->now = now;
	s->end = LEAD + length;
	s->found = s->undecided = 0;
	bpf_loop(BUFFER / STRIDE, next_stride, &walk, 0);
	count(SCANNED, 1);
	count(BYTES, length);
	if (s->found)
		return 1;
	return s->undecided ? undecided(settings, now) : 0;
}

static __always_inline int is_sip(__be16 port)
{
	__u32 number = bpf_ntohs(port), index = number >> 6;
	__u64 *bits = bpf_map_lookup_elem(&sip_ports, &index);
	return bits && (*bits >> (number & 63) & 1);
}

static __always_inline int is_peer(const struct address *address, __be16 port, __u64 now)
{
	struct endpoint key = { .address = *address, .port = port };
	__u64 *deadline = bpf_map_lookup_elem(&peers, &key);
	if (deadline && now < *deadline)
		return 1;
	key.port = 0;
	deadline = bpf_map_lookup_elem(&peers, &key);
	return deadline && now < *deadline;
}

static __always_inline int later_fragment_passes(const struct settings *settings, const struct datagram *id, __u64 now)
{
	__u64 *until = bpf_map_lookup_elem(&fragments, id);
	return until && now < *until && undecided(settings, now);
}

static __always_inline int passes(struct __sk_buff *skb, const struct settings *settings, __u64 now)
{
	struct packet packet;
	struct datagram id;
	struct udp ports;
	if (read_packet(skb, &packet) < 0 || (packet.protocol != PROTOCOL_UDP && packet.protocol != PROTOCOL_TCP))
		return 0;
	if (packet.protocol == PROTOCOL_TCP && !settings->tcp)
		return 0;
	id.source = packet.source;
	id.destination = packet.destination;
	id.id = packet.id;
	id.protocol = packet.protocol;
	if (packet.later_fragment)
		return later_fragment_passes(settings, &id, now);
	if (bpf_skb_load_bytes(skb, packet.transport, &ports, sizeof(ports)) < 0)
		return 0;
	if (!is_sip(ports.source) && !is_sip(ports.destination))
		return 0;
	if (packet.first_fragment) {
		__u64 until = now + FRAGMENT_LIFE;
		if (!undecided(settings, now))
			return 0;
		bpf_map_update_elem(&fragments, &id, &until, BPF_ANY);
		return 1;
	}
	if (is_peer(&packet.source, ports.source, now) || is_peer(&packet.destination, ports.destination, now))
		return 1;
	if (packet.protocol == PROTOCOL_TCP)
		return undecided(settings, now);
	__u32 payload = packet.transport + UDP_HEADER;
	return message_passes(skb, settings, now, payload, end_of(skb, packet.transport, &ports) - payload);
}

SEC("socket/signalling")
int signalling(struct __sk_buff *skb)
{
	__u32 zero = 0, interface = skb->ifindex;
	struct settings *settings = bpf_map_lookup_elem(&settings_map, &zero);
	if (!settings || !bpf_map_lookup_elem(&interfaces, &interface))
		return 0;
	if (!passes(skb, settings, bpf_ktime_get_boot_ns()))
		return 0;
	count(MATCHED, 1);
	return 0x40000;
}
