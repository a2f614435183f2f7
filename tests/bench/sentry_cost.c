// SPDX-License-Identifier: Apache-2.0
/* Times, in nanoseconds: "sentry_cost call" one getppid; "sentry_cost pair" one UDP send and receive. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double nanoseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec * 1e9 + now.tv_nsec;
}

int main(int count, char **words)
{
	int pair = count == 2 && !strcmp(words[1], "pair"), times = pair ? 50000 : 500000;
	int out = socket(AF_INET, SOCK_DGRAM, 0), in = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(to);
	char voice[172] = {0};

	bind(in, (void *)&to, sizeof(to));
	getsockname(in, (void *)&to, &length);
	double start = nanoseconds();
	for (int i = 0; i < times; i++)
		if (pair) {
			sendto(out, voice, sizeof(voice), 0, (void *)&to, sizeof(to));
			recv(in, voice, sizeof(voice), 0);
		} else
			syscall(SYS_getppid);
	printf("%.1f\n", (nanoseconds() - start) / times);
	return 0;
}
