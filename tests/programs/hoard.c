/* hoard COUNT: opens COUNT UDP sockets and keeps them, each with an address of its own on the loopback.
 *
 * By each it sends a datagram to 127.0.0.1, so that whoever keeps account of sockets, ports or tuples
 * has as many entries more. As many threads as it takes have a table of descriptors each (CLONE_FILES
 * undone, unshare(2)): the limit on descriptors is one on a table, not on a process. Prints the number
 * that it could open, and waits for the end of its standard input.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* Not those that the kernel gives to sockets without a port (ip_local_port_range): of these it would run
 * out, for everybody. */
enum { FIRST_PORT = 1024, PORTS = 30000, EXIT_USAGE = 2, SPARE = 64 };

static uint32_t wanted, opened, limit;
static pthread_barrier_t done;

static int keep_one(uint32_t number)
{
	struct sockaddr_in own = { .sin_family = AF_INET,
				   .sin_port = htons((uint16_t)(FIRST_PORT + number % PORTS)),
				   .sin_addr.s_addr = htonl(0x7f010000u + number) };
	const struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9),
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (sock < 0 || bind(sock, (struct sockaddr *)&own, sizeof(own)) < 0)
		return 0;
	return sendto(sock, "x", 1, 0, (const struct sockaddr *)&to, sizeof(to)) == 1 ||
	       errno == ECONNREFUSED;
}

/* One thread after the other opens its share, and then only has to be there. */
static void *keep_share(void *unused)
{
	const uint32_t end = wanted - opened < limit ? wanted : opened + limit;

	if (unshare(CLONE_FILES) == 0) {
		while (opened < end && keep_one(opened))
			opened++;
	}
	if (opened < end)
		perror("hoard");
	pthread_barrier_wait(&done);
	for (;;)
		pause();
	return unused;
}

int main(int argc, char **argv)
{
	struct rlimit descriptors;
	pthread_t thread;
	char byte;

	wanted = argc == 2 ? (uint32_t)atol(argv[1]) : 0;
	if (!wanted || getrlimit(RLIMIT_NOFILE, &descriptors) < 0) {
		fputs("usage: hoard COUNT\n", stderr);
		return EXIT_USAGE;
	}
	descriptors.rlim_cur = descriptors.rlim_max;
	setrlimit(RLIMIT_NOFILE, &descriptors);
	limit = (uint32_t)(descriptors.rlim_max < wanted + SPARE ? descriptors.rlim_max : wanted + SPARE);
	limit -= SPARE;
	pthread_barrier_init(&done, NULL, 2);
	for (uint32_t before = 1; opened < wanted && opened != before;) {
		before = opened;
		if (pthread_create(&thread, NULL, keep_share, NULL) != 0)
			break;
		pthread_barrier_wait(&done);
	}
	printf("%u\n", opened);
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return EXIT_SUCCESS;
}
