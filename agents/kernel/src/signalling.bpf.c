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
 *      messages made so that they take more than STEPS, and SIP over TCP if settings.tcp
 *      says so. It is counted, and user space decides it.
 *   4. A later fragment has no ports. It passes if its first fragment did, within
 *      FRAGMENT_LIFE of it. One that comes before its first fragment is lost.
 *
 * How an identity is written before it is hashed (agents/kernel/identity.py does the same):
 *
 *   URI, user and host  2, then the user up to the first of ; : (also escaped) or @ with
 *                       percent-escapes decoded, then @, then the host in lower case without
 *                       port, parameters, and one trailing dot. A host in brackets, which has
 *                       many spellings, is one "["
 *   URI, telephone      1, then the digits. The user (or what stands in its place) must
 *                       consist, up to the first , or ?, of digits, the visual separators
 *                       - . ( ) and white space, with one + before the first digit. Separators
 *                       and + are dropped; where there is no +, so is a leading 00
 *   URI, local number   4, then the same digits, where there is no + and parameters follow, one
 *                       of which may be the phone-context that the number belongs to
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
#define DIGITS 288
#define NUMBER 31
#define NAMES 512
#define STEPS 16384
#define FRAGMENT_LIFE 30000000000ULL

#define EACH_OCTET(x) (0x0101010101010101ULL * (x))

enum { KIND_TELEPHONE = 1, KIND_USER_AT_HOST = 2, KIND_CALL_ID = 3, KIND_LOCAL_NUMBER = 4 };
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
	__u8 name[NAMES + 8]; /* the name, and from DIGITS on the digits; each with 8 octets of room */
	struct packet packet;
	struct datagram datagram;
	__u64 marks; /* colons not yet looked at in this stride: bit 8 * octet + word */
	__u64 key[2];
	__u64 v[4];
	__u64 now;
	__u32 hashed;
	__u32 hash_end;
	__u32 stride;
	__u32 steps; /* left for this message */
	__u32 at;
	__u32 end;
	__u32 phase;
	__u32 named;
	__u32 cut;
	__u32 parameters;
	__u32 user_end;
	__u32 dialled;
	__u32 dial_at;
	__u32 telephone;
	__u32 plus;
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

static long hash_word(__u32 i, struct walk *walk)
{
	struct search *s = walk->search;
	__u64 word = *(__u64 *)(s->name + (s->hashed & (NAMES - 8)));
	__u64 v[4] = { s->v[0], s->v[1], s->v[2], s->v[3] ^ word };
	ROUND(v);
	s->v[0] = v[0] ^ word;
	s->v[1] = v[1];
	s->v[2] = v[2];
	s->v[3] = v[3];
	s->hashed += 8;
	return s->hashed > s->hash_end;
}

/*
 * SipHash-1-3 of `length` octets of s->name from `from`, a multiple of 8, on. Its last word is
 * the octets left over, zeros, and the length in the highest octet.
 */
static __always_inline __u64 hash(struct walk *walk, __u32 from, __u32 length)
{
	struct search *s = walk->search;
	__u32 end = from + length, last = end & ~7U;
	*(__u64 *)(s->name + (end & (NAMES - 1))) = 0;
	s->name[(last + 7) & (NAMES - 1)] = length;
	s->v[0] = s->key[0] ^ 0x736f6d6570736575ULL;
	s->v[1] = s->key[1] ^ 0x646f72616e646f6dULL;
	s->v[2] = s->key[0] ^ 0x6c7967656e657261ULL;
	s->v[3] = s->key[1] ^ 0x7465646279746573ULL;
	s->hashed = from;
	s->hash_end = last;
	bpf_loop(NAMES / 8, hash_word, walk, 0);
	__u64 v[4] = { s->v[0], s->v[1], s->v[2] ^ 0xff, s->v[3] };
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

static __noinline int test_name(struct walk *walk, __u32 from, __u32 length)
{
	look_up(walk->search, hash(walk, from, length));
	return 0;
}

/* --- eight octets at once -------------------------------------------------------- */

/* The high bit of each octet of `low`, which has none set, that is at least `least`. */
#define AT_LEAST(low, least) ((low) + EACH_OCTET(0x80 - (least)))
#define HIGH EACH_OCTET(0x80)

/* Of each octet the high bit where it stands for itself in a user: - . / digits, @ < letters. */
static __always_inline __u64 plain_in_user(__u64 word)
{
	__u64 low = word & ~HIGH;
	return AT_LEAST(low, '-') & (~AT_LEAST(low, ':') | AT_LEAST(low, 'A')) & ~word & HIGH;
}

static __always_inline __u64 capitals(__u64 word)
{
	__u64 low = word & ~HIGH;
	return AT_LEAST(low, 'A') & ~AT_LEAST(low, 'Z' + 1) & ~word & HIGH;
}

/* The same for a host: - . digits and letters. */
static __always_inline __u64 plain_in_host(__u64 word)
{
	__u64 low = word & ~HIGH;
	__u64 marks = AT_LEAST(low, '-') & ~AT_LEAST(low, '.' + 1);
	__u64 digits = AT_LEAST(low, '0') & ~AT_LEAST(low, '9' + 1);
	__u64 letters = AT_LEAST(low, 'a') & ~AT_LEAST(low, 'z' + 1);
	return ((marks | digits | letters) & ~word & HIGH) | capitals(word);
}

static __always_inline __u64 plain_in_number(__u64 word)
{
	__u64 low = word & ~HIGH;
	return AT_LEAST(low, '0') & ~AT_LEAST(low, '9' + 1) & ~word & HIGH;
}

static __always_inline __u64 plain_in_call_id(__u64 word)
{
	return (AT_LEAST(word & ~HIGH, ' ' + 1) | word) & HIGH;
}

/* How many octets are plain before the first that is not. */
static __always_inline __u32 run_of(__u64 plain)
{
	__u64 others = (plain ^ HIGH) >> 7;
	return others ? (((others & -others) - 1) & EACH_OCTET(1)) * EACH_OCTET(1) >> 56 : 8;
}

static __always_inline __u64 next_octets(const struct search *s)
{
	return *(__u64 *)(s->text + (s->at & MASK));
}

/* Adds the first octets of a word to the name; what lies behind them is written over later. */
static __always_inline void name_octets(struct search *s, __u64 word, __u32 octets)
{
	*(__u64 *)(s->name + (s->named & NAME)) = word;
	s->named += octets;
	if (s->named >= NAME) {
		s->named = NAME;
		s->cut = s->done = 1;
	}
}

/* Every loop over a message takes from one store of steps: no message costs more, however made. */
static __always_inline int out_of_steps(struct search *s)
{
	if (s->steps == 0) {
		s->undecided = s->done = 1;
		return 1;
	}
	s->steps -= 1;
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

/* An octet of a user that is not plain: an escape, an end, or one of the rarer marks. */
static __always_inline void user_octet(struct search *s, __u8 c)
{
	if (c == '@') {
		s->user_end = s->named;
		s->phase = IN_HOST;
	} else if (c == '%' && s->at + 1 < s->end) {
		int high = hexadecimal(s->text[s->at & MASK]), low = hexadecimal(s->text[(s->at + 1) & MASK]);
		if (high >= 0 && low >= 0) {
			s->at += 2;
			c = high << 4 | low;
		}
	}
	if (c == ';' || c == ':') {
		s->user_end = s->named;
		s->parameters = 1;
		s->phase = IN_PARAMETERS;
		return;
	}
	name_octets(s, c, 1);
}

static __always_inline void host_octet(struct search *s, __u8 c)
{
	int first = s->name[(s->named - 1) & NAME] == '@';
	if ((c == '[' || c == ']') && first) {
		name_octets(s, '[', 1);
		s->done = 1;
	} else if (c == '_' || c >= 0x80) {
		name_octets(s, c, 1);
	} else if (c > ' ' || !first) {
		s->done = 1;
	}
}

/*
 * Does a URI go on behind white space? In a number, for people write it so; among parameters,
 * on the same line or its continuation; and before the host. User space is as patient.
 */
static __always_inline int goes_on(const struct search *s, __u8 c)
{
	__u8 next = s->text[(s->at + 1) & MASK];
	if (c == 0 || s->at + 1 >= s->end)
		return 0;
	if (s->phase == IN_USER)
		return next < 'A' && s->name[1] < 'A';
	if (s->phase == IN_HOST)
		return s->name[(s->named - 1) & NAME] == '@';
	return (c != '\r' && c != '\n') || next == ' ' || next == '\t' || (c == '\r' && next == '\n');
}

/* The octet at which a run ended. */
static __always_inline void uri_octet(struct search *s)
{
	__u8 c = s->text[s->at & MASK];
	if (s->at >= s->end || c == '<' || c == '>' || c == '"' || (c <= ' ' && !goes_on(s, c))) {
		s->done = 1;
		return;
	}
	s->at += 1;
	if (s->phase == IN_USER) {
		user_octet(s, c);
	} else if (s->phase == IN_HOST) {
		host_octet(s, c);
	} else if (c == '@') {
		s->phase = IN_HOST;
		name_octets(s, c, 1);
	}
}

/* A run of plain octets, and the one that ends it. */
static long uri_step(__u32 i, struct walk *walk)
{
	struct search *s = walk->search;
	__u64 word = next_octets(s);
	__u32 run;
	if (out_of_steps(s))
		return 1;
	if (s->phase == IN_HOST) {
		run = run_of(plain_in_host(word));
		name_octets(s, word | capitals(word) >> 2, run);
	} else {
		run = run_of(plain_in_user(word));
		if (s->phase == IN_USER)
			name_octets(s, word, run);
	}
	s->at += run;
	if (s->done)
		return 1;
	if (run < 8)
		uri_octet(s);
	return s->done != 0;
}

/* --- the telephone number in a user ------------------------------------------------ */

static __always_inline void dial_mark(struct search *s, __u8 c)
{
	if (c == '+' && !s->plus && s->dialled == 1)
		s->plus = 1;
	else if (c == ',' || c == '?')
		s->telephone = TELEPHONE_ENDED;
	else if (c != '-' && c != '.' && c != '(' && c != ')' && c > ' ')
		s->telephone = TELEPHONE_NOT;
}

static __always_inline void dial_digits(struct search *s, __u64 word, __u32 digits)
{
	if (s->dialled + digits > NUMBER) {
		s->telephone = TELEPHONE_NOT;
		return;
	}
	*(__u64 *)(s->name + DIGITS + (s->dialled & NUMBER)) = word;
	s->dialled += digits;
	if (s->dialled == 3 && !s->plus && s->name[DIGITS + 1] == '0' && s->name[DIGITS + 2] == '0') {
		s->dialled = 1; /* 00 is another way to write + */
		s->plus = 1;
	}
}

static long dial_step(__u32 i, struct walk *walk)
{
	struct search *s = walk->search;
	__u32 at = s->dial_at, left = s->user_end - at;
	__u64 word = *(__u64 *)(s->name + (at & NAME));
	__u32 run = run_of(plain_in_number(word));
	if (at >= s->user_end) {
		if (s->telephone == TELEPHONE_OPEN)
			s->telephone = TELEPHONE_ENDED;
		return 1;
	}
	if (out_of_steps(s))
		return 1;
	if (run > left)
		run = left;
	if (run > 1 && !s->plus && s->dialled < 3)
		run = 1; /* one by one until it is known whether they are a 00 */
	if (run) {
		dial_digits(s, word, run);
		s->dial_at = at + run;
	} else {
		dial_mark(s, word);
		s->dial_at = at + 1;
	}
	return s->telephone != TELEPHONE_OPEN;
}

static __always_inline void test_telephone(struct walk *walk)
{
	struct search *s = walk->search;
	__u8 first = s->name[1];
	if (first >= 'A' || s->user_end < 2)
		return;
	s->name[DIGITS] = KIND_TELEPHONE;
	s->dialled = s->dial_at = 1;
	s->telephone = TELEPHONE_OPEN;
	s->plus = 0;
	bpf_loop(NAMES, dial_step, walk, 0);
	if (s->telephone == TELEPHONE_NOT)
		return;
	if (s->user_end == NAME)
		s->undecided = 1; /* the user goes on: digits may follow */
	if (s->user_end == NAME || s->dialled == 1)
		return;
	test_name(walk, DIGITS, s->dialled);
	if (s->plus || !s->parameters)
		return;
	s->name[DIGITS] = KIND_LOCAL_NUMBER;
	test_name(walk, DIGITS, s->dialled);
}

static __always_inline void test_uri(struct walk *walk, __u32 from)
{
	struct search *s = walk->search;
	s->at = from;
	s->name[0] = KIND_USER_AT_HOST;
	s->named = 1;
	s->phase = IN_USER;
	s->done = s->cut = s->parameters = 0;
	s->name[1] = 0;
	bpf_loop(TEXT, uri_step, walk, 0);
	if (s->phase == IN_USER)
		s->user_end = s->named;
	test_telephone(walk);
	if (s->phase != IN_HOST && !s->cut)
		return;
	if (s->name[(s->named - 1) & NAME] == '.' && !s->cut)
		s->named -= 1;
	test_name(walk, 0, s->named);
}

/* --- a Call-ID ------------------------------------------------------------------ */

static long call_id_step(__u32 i, struct walk *walk)
{
	struct search *s = walk->search;
	__u64 word = next_octets(s);
	__u32 run = run_of(plain_in_call_id(word));
	if (out_of_steps(s))
		return 1;
	if (run) {
		name_octets(s, word, run);
		s->at += run;
	} else if (s->named > 1 || s->at >= s->end) {
		s->done = 1;
	} else {
		s->at += 1; /* white space and folds before the value */
	}
	return s->done != 0;
}

static __always_inline void test_call_id(struct walk *walk, __u32 from)
{
	struct search *s = walk->search;
	s->at = from;
	s->name[0] = KIND_CALL_ID;
	s->named = 1;
	s->done = s->cut = 0;
	bpf_loop(TEXT, call_id_step, walk, 0);
	if (s->named > 1)
		test_name(walk, 0, s->named);
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
	if ((c != ' ' && c != '\t' && c != '\r' && c != '\n') || out_of_steps(s))
		return 1;
	s->at -= 1;
	return s->at <= LEAD;
}

/* Is the word before `end` a Call-ID header's name? The short one behind white space or a line's end. */
static __always_inline int names_call_id(struct search *s, __u32 end)
{
	__u64 before = *(__u64 *)(s->text + ((end - 8) & MASK));
	/* the octets are, from the low end: ? C a l l - I D */
	if ((before >> 8 | 0x20200020202020ULL) == 0x64692d6c6c6163ULL)
		return 1;
	__u8 first = before >> 48;
	return (before >> 56 | 0x20) == 'i' && first <= ' ';
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
static __always_inline int message_passes(struct __sk_buff *skb, const struct settings *settings,
					  struct search *s, __u32 offset, __u32 length)
{
	struct walk walk = { .search = s };
	if (length > TEXT)
		return undecided(settings, s->now);
	if (length == 0)
		return 0;
	/* Verifiers before 6.2 do not learn from a comparison with 0, nor keep what they learned. */
	asm volatile("" : "+r"(length));
	length = ((length - 1) & MASK) + 1;
	if (bpf_skb_load_bytes(skb, offset, s->text + LEAD, length) < 0)
		return 0;
	*(__u64 *)s->text = *(__u64 *)(s->text + 8) = EACH_OCTET('\n');
	s->key[0] = settings->key[0];
	s->key[1] = settings->key[1];
	s->end = LEAD + length;
	*(__u64 *)(s->text + (s->end & MASK)) = 0;
	s->steps = STEPS;
	s->found = s->undecided = 0;
	bpf_loop(BUFFER / STRIDE, next_stride, &walk, 0);
	count(SCANNED, 1);
	count(BYTES, s->end - LEAD);
	if (s->found)
		return 1;
	return s->undecided ? undecided(settings, s->now) : 0;
}

static __always_inline int is_sip(__be16 port)
{
	__u32 number = bpf_ntohs(port), index = number >> 6;
	__u64 *bits = bpf_map_lookup_elem(&sip_ports, &index);
	return bits && (*bits >> (number & 63) & 1);
}

static __noinline int is_peer(const struct search *s, const struct address *address, __be16 port)
{
	struct endpoint key = { .address = *address, .port = port };
	__u64 *deadline = bpf_map_lookup_elem(&peers, &key);
	if (deadline && s->now < *deadline)
		return 1;
	key.port = 0;
	deadline = bpf_map_lookup_elem(&peers, &key);
	return deadline && s->now < *deadline;
}

static __always_inline int later_fragment_passes(const struct settings *settings, const struct search *s)
{
	__u64 *until = bpf_map_lookup_elem(&fragments, &s->datagram);
	return until && s->now < *until && undecided(settings, s->now);
}

static __always_inline int first_fragment_passes(const struct settings *settings, const struct search *s)
{
	__u64 until = s->now + FRAGMENT_LIFE;
	if (!undecided(settings, s->now))
		return 0;
	bpf_map_update_elem(&fragments, &s->datagram, &until, BPF_ANY);
	return 1;
}

static __always_inline int passes(struct __sk_buff *skb, const struct settings *settings, struct search *s)
{
	struct packet *packet = &s->packet;
	struct udp ports;
	if (read_packet(skb, packet) < 0)
		return 0;
	if (packet->protocol != PROTOCOL_UDP && (packet->protocol != PROTOCOL_TCP || !settings->tcp))
		return 0;
	s->datagram.source = packet->source;
	s->datagram.destination = packet->destination;
	s->datagram.id = packet->id;
	s->datagram.protocol = packet->protocol;
	if (packet->later_fragment)
		return later_fragment_passes(settings, s);
	if (bpf_skb_load_bytes(skb, packet->transport, &ports, sizeof(ports)) < 0)
		return 0;
	if (!is_sip(ports.source) && !is_sip(ports.destination))
		return 0;
	if (packet->first_fragment)
		return first_fragment_passes(settings, s);
	if (is_peer(s, &packet->source, ports.source) || is_peer(s, &packet->destination, ports.destination))
		return 1;
	if (packet->protocol == PROTOCOL_TCP)
		return undecided(settings, s->now);
	__u32 payload = packet->transport + UDP_HEADER;
	return message_passes(skb, settings, s, payload, end_of(skb, packet->transport, &ports) - payload);
}

SEC("socket/signalling")
int signalling(struct __sk_buff *skb)
{
	__u32 zero = 0, interface = skb->ifindex;
	struct settings *settings = bpf_map_lookup_elem(&settings_map, &zero);
	struct search *s = bpf_map_lookup_elem(&searches, &zero);
	if (!settings || !s || !bpf_map_lookup_elem(&interfaces, &interface))
		return 0;
	s->now = bpf_ktime_get_boot_ns();
	if (!passes(skb, settings, s))
		return 0;
	count(MATCHED, 1);
	return 0x40000;
}
