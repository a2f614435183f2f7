// SPDX-License-Identifier: Apache-2.0
// media_sender INTERFACE FLOWS PACKETS_PER_SECOND SECONDS
// Sends RTP of G.711 (214-octet frames) to 10.88.0.2, ports 20000, 20002, ..., in turn, and prints
// how many packets it sent. The destination's hardware address is nobody's: nothing answers.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { FRAME = 214, VOICE = 160, BATCH = 64, FIRST_PORT = 20000 };

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void fill(uint8_t *frame)
{
	static const uint8_t headers[] = {
		2, 0, 0, 0, 9, 9, 2, 0, 0, 0, 0, 1, 8, 0,
		0x45, 0, 0, 200, 0, 0, 0, 0, 64, 17, 0, 0, 10, 88, 0, 1, 10, 88, 0, 2,
		0x27, 0x10, 0, 0, 0, 180, 0, 0, 0x80, 8,
	};
	memset(frame, 0, FRAME);
	memcpy(frame, headers, sizeof headers);
	memset(frame + FRAME - VOICE, 0xd5, VOICE);
}

int main(int count, char **words)
{
	static uint8_t frames[BATCH][FRAME];
	static struct iovec parts[BATCH];
	static struct mmsghdr messages[BATCH];
	if (count != 5)
		return 2;
	uint32_t flows = atoi(words[2]);
	double rate = atof(words[3]), seconds = atof(words[4]);
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(words[1])};
	int sock = socket(AF_PACKET, SOCK_RAW, 0);
	if (sock < 0 || bind(sock, (void *)&to, sizeof to)) {
		perror("media_sender");
		return 1;
	}
	for (int i = 0; i < BATCH; i++) {
		fill(frames[i]);
		parts[i] = (struct iovec){frames[i], FRAME};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
	}
	uint64_t sent = 0, wanted = rate * seconds;
	double start = now();
	while (sent < wanted) {
		int64_t due = (int64_t)(rate * (now() - start)) - (int64_t)sent;
		if (due <= 0) {
			nanosleep(&(struct timespec){.tv_nsec = 200000}, 0);
			continue;
		}
		int ready = due < BATCH ? due : BATCH;
		for (int i = 0; i < ready; i++) {
			uint64_t number = sent + i;
			uint16_t port = htons(FIRST_PORT + 2 * (number % flows));
			uint16_t sequence = htons(number / flows);
			memcpy(frames[i] + 36, &port, 2);
			memcpy(frames[i] + 44, &sequence, 2);
		}
		int done = sendmmsg(sock, messages, ready, 0);
		if (done > 0)
			sent += done;
	}
	printf("%lu %.3f\n", (unsigned long)sent, now() - start);
	return 0;
}
