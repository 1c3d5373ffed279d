/* What the small senders share: reading an address, ways of life, and one line of truth about who sent.
 *
 * A sender writes "PID SPORT EXE\n" to descriptor 3 before it exits, EXE as /proc/self/exe has it. The
 * line is shorter than PIPE_BUF and the descriptor is a pipe or was opened with O_APPEND, so lines
 * never mix.
 *
 * Options that all senders have, see struct life: [--double-fork | --passed | --unlink] [--sport PORT]
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

enum { REPORT_FD = 3, PASSED_FD = 4, EXIT_USAGE = 2, EXE_BYTES = 1024 };

/* How a sender comes to send. */
struct life {
	int double_fork;   /* not itself but a grandchild sends, whose parent has ended */
	int passed;        /* with a socket that somebody else has made and sent over descriptor 4 */
	int unlinked;      /* with its own file (argv[0]) removed */
	int connected;     /* datagrams: connect(), then send(), in place of sendto() */
	const char *sport; /* bound to this port first; NULL: to none */
};

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

/* Reads the options from *argv on and moves *argv behind them. Returns 0 for one that is unknown. */
static inline int life_parse(struct life *life, char ***argv)
{
	char **at = *argv;

	memset(life, 0, sizeof(*life));
	for (; *at && (*at)[0] == '-'; at++) {
		if (strcmp(*at, "--double-fork") == 0)
			life->double_fork = 1;
		else if (strcmp(*at, "--passed") == 0)
			life->passed = 1;
		else if (strcmp(*at, "--unlink") == 0)
			life->unlinked = 1;
		else if (strcmp(*at, "--connect") == 0)
			life->connected = 1;
		else if (strcmp(*at, "--sport") == 0 && at[1])
			life->sport = *++at;
		else
			return 0;
	}
	*argv = at;
	return 1;
}

/* Receives one descriptor (see unix(7), SCM_RIGHTS). Returns -1 on failure. */
static inline int receive_socket(int channel)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec data = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1,
				  .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *header;
	int sock;

	if (recvmsg(channel, &message, MSG_CMSG_CLOEXEC) != 1)
		return -1;
	header = CMSG_FIRSTHDR(&message);
	if (!header || header->cmsg_type != SCM_RIGHTS) {
		errno = EBADMSG;
		return -1;
	}
	memcpy(&sock, CMSG_DATA(header), sizeof(sock));
	return sock;
}

/* Leads that life up to the moment of sending. Returns the socket, or -1; the processes that are not
 * to send do not return. */
static inline int life_lead(const struct life *life, const char *self, sa_family_t family, int type)
{
	int sock;

	for (int generation = 0; life->double_fork && generation < 2; generation++) {
		pid_t pid = fork();

		if (pid)
			_exit(pid < 0);
	}
	if (life->unlinked && unlink(self) < 0)
		return -1;
	if (life->passed)
		return receive_socket(PASSED_FD);
	sock = socket(family, type | SOCK_CLOEXEC, 0);
	if (sock >= 0 && life->sport && !bind_port(sock, family, life->sport))
		return -1;
	return sock;
}

/* Writes the line of truth. Returns 0 on failure. */
static inline int report(int sock)
{
	struct sockaddr_storage local;
	socklen_t size = sizeof(local);
	char exe[EXE_BYTES] = "", line[EXE_BYTES + 64];
	unsigned int port;
	int length;

	if (readlink("/proc/self/exe", exe, sizeof(exe) - 1) < 0)
		return 0;
	if (getsockname(sock, (struct sockaddr *)&local, &size) < 0)
		return 0;
	port = local.ss_family == AF_INET ? ntohs(((struct sockaddr_in *)&local)->sin_port)
					  : ntohs(((struct sockaddr_in6 *)&local)->sin6_port);
	length = snprintf(line, sizeof(line), "%ld %u %s\n", (long)getpid(), port, exe);
	return write(REPORT_FD, line, (size_t)length) == length;
}

#endif
