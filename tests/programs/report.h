/* What the small senders share: reading an address, and one line of truth about who sent.
 *
 * A sender writes "PID SPORT\n" to descriptor 3 before it exits. The line is far shorter than
 * PIPE_BUF and the descriptor is a pipe or was opened with O_APPEND, so lines never mix.
 */
#ifndef NFSNITCH_REPORT_H
#define NFSNITCH_REPORT_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REPORT_FD = 3, EXIT_USAGE = 2 };

struct target {
	struct sockaddr_storage address;
	socklen_t size;
};

/* Returns 0 when either text is not what it should be. */
static inline int target_parse(struct target *target, const char *address, const char *port)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&target->address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&target->address;
	char *end;
	unsigned long number = strtoul(port, &end, 10);

	if (*port == '\0' || *end != '\0' || number > 65535)
		return 0;
	memset(target, 0, sizeof(*target));
	if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)number);
		target->size = sizeof(*v4);
		return 1;
	}
	if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)number);
		target->size = sizeof(*v6);
		return 1;
	}
	return 0;
}

/* Binds to a source port, for tests that use one again. Returns 0 on failure. */
static inline int bind_port(int sock, sa_family_t family, const char *port)
{
	struct target local;
	int on = 1;

	if (!target_parse(&local, family == AF_INET ? "0.0.0.0" : "::", port))
		return 0;
	return setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	       bind(sock, (struct sockaddr *)&local.address, local.size) == 0;
}

/* Writes the line of truth. Returns 0 on failure. */
static inline int report(int sock)
{
	struct sockaddr_storage local;
	socklen_t size = sizeof(local);
	char line[64];
	unsigned int port;
	int length;

	if (getsockname(sock, (struct sockaddr *)&local, &size) < 0)
		return 0;
	port = local.ss_family == AF_INET ? ntohs(((struct sockaddr_in *)&local)->sin_port)
					  : ntohs(((struct sockaddr_in6 *)&local)->sin6_port);
	length = snprintf(line, sizeof(line), "%ld %u\n", (long)getpid(), port);
	return write(REPORT_FD, line, (size_t)length) == length;
}

#endif
