/* sink PORT: takes every TCP connection and UDP datagram on PORT, and does nothing with them.
 *
 * Prints "ready" once it does. Runs until it is killed.
 */
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, BACKLOG = 4096 };

/* Both families by one socket. Returns it, or -1. */
static int bound(int type, unsigned short port)
{
	struct sockaddr_in6 local = { .sin6_family = AF_INET6, .sin6_port = htons(port),
				      .sin6_addr = IN6ADDR_ANY_INIT };
	int sock = socket(AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), off = 0;

	if (sock < 0 || setsockopt(sock, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0 ||
	    bind(sock, (struct sockaddr *)&local, sizeof(local)) < 0)
		return -1;
	return sock;
}

static void take(int listener, int datagrams)
{
	char rest[64];
	int peer;

	while ((peer = accept(listener, NULL, NULL)) >= 0)
		close(peer);
	while (recv(datagrams, rest, sizeof(rest), 0) >= 0)
		;
}

int main(int argc, char **argv)
{
	long port = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
	struct pollfd wanted[2] = { { .events = POLLIN }, { .events = POLLIN } };

	if (port <= 0 || port > 65535) {
		fputs("usage: sink PORT\n", stderr);
		return EXIT_USAGE;
	}
	wanted[0].fd = bound(SOCK_STREAM, (unsigned short)port);
	wanted[1].fd = bound(SOCK_DGRAM, (unsigned short)port);
	if (wanted[0].fd < 0 || wanted[1].fd < 0 || listen(wanted[0].fd, BACKLOG) < 0) {
		perror("sink");
		return EXIT_FAILURE;
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		poll(wanted, 2, -1);
		take(wanted[0].fd, wanted[1].fd);
	}
}
