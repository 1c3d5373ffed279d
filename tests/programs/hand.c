/* hand HOW tcp|udp|early ADDR COUNT PORT WAY: opens COUNT sockets and hands them to the program WAY (way.c).
 *
 *   exec     becomes WAY, which has inherited them
 *   rights   WAY runs already, and receives them over a Unix socket (SCM_RIGHTS)
 *   pidfd    WAY runs already, and fetches them (pidfd_getfd)
 *
 * "early" are UDP sockets that are connected before they are handed over. Ends as WAY does; 77: this
 * kernel lacks something (standard error says what).
 */
#define _GNU_SOURCE
#include "truth.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>

enum { FIRST_FD = 100, MAX_SOCKETS = 64 };

static int open_all(const char *kind, const char *address, int count, unsigned int port)
{
	const int type = strcmp(kind, "tcp") == 0 ? SOCK_STREAM : SOCK_DGRAM;
	struct target target;

	for (int i = 0; i < count; i++) {
		int sock;

		if (!target_of(&target, address, port, (unsigned int)i))
			return 0;
		sock = socket(target.address.ss_family, type, 0);
		if (strcmp(kind, "early") == 0 &&
		    connect(sock, (struct sockaddr *)&target.address, target.size) < 0)
			return 0;
		if (dup2(sock, FIRST_FD + i) < 0 || close(sock) < 0)
			return 0;
	}
	return 1;
}

static int pass(int channel, int sock)
{
	char control[CMSG_SPACE(sizeof(int))] = "";
	struct iovec data = { .iov_base = (void *)"!", .iov_len = 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1,
				  .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(sock));
	memcpy(CMSG_DATA(header), &sock, sizeof(sock));
	return sendmsg(channel, &message, 0) == 1;
}

/* Starts WAY before any socket is there. `go` becomes its standard input, which it reads when it is told
 * where the sockets are; returns its pid. */
static pid_t start(char **way, int channel)
{
	pid_t pid = fork();

	if (pid == 0) {
		dup2(channel, STDIN_FILENO);
		execv(way[0], way);
		_exit(127);
	}
	return pid;
}

int main(int argc, char **argv)
{
	char take[64], *way[] = { NULL, "--take", take, NULL, NULL, NULL, NULL, NULL };
	int ends[2], status, count;
	unsigned int port;
	pid_t pid;

	if (argc != 7) {
		fputs("usage: hand HOW tcp|udp|early ADDR COUNT PORT WAY\n", stderr);
		return EXIT_USAGE;
	}
	way[0] = argv[6];
	way[3] = strcmp(argv[2], "tcp") == 0 ? "tcp" : strcmp(argv[2], "udp") == 0 ? "udp-sendto" : "udp-early";
	memcpy(way + 4, argv + 3, 3 * sizeof(*way));
	count = atoi(argv[4]);
	port = (unsigned int)atoi(argv[5]);
	if (strcmp(argv[1], "exec") == 0) {
		snprintf(take, sizeof(take), "%d", FIRST_FD);
		if (open_all(argv[2], argv[3], count, port))
			execv(way[0], way);
		perror("hand: exec");
		return EXIT_FAILURE;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return EXIT_FAILURE;
	if (strcmp(argv[1], "rights") == 0)
		snprintf(take, sizeof(take), "rights:0");
	else
		snprintf(take, sizeof(take), "pidfd:%d:%d", (int)getpid(), FIRST_FD);
	if (strcmp(argv[1], "pidfd") == 0 && !open_all(argv[2], argv[3], count, port))
		return EXIT_FAILURE;
	for (int i = 0; i < count && strcmp(argv[1], "pidfd") == 0; i++)
		fcntl(FIRST_FD + i, F_SETFD, FD_CLOEXEC);
	pid = start(way, ends[1]);
	if (strcmp(argv[1], "rights") == 0 && !open_all(argv[2], argv[3], count, port))
		return EXIT_FAILURE;
	for (int i = 0; i < count && strcmp(argv[1], "rights") == 0; i++) {
		if (!pass(ends[0], FIRST_FD + i))
			return EXIT_FAILURE;
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		return EXIT_FAILURE;
	return WEXITSTATUS(status);
}
