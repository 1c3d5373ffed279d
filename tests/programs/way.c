/* way [OPTIONS] HOW ADDR COUNT PORT: opens COUNT sockets, then sends by each, to ADDR, ADDR + 1 and so on.
 *
 *   HOW            see HOWS in hows.h
 *   --take HOW     the sockets are somebody else's: inherited from descriptor FD on ("FD"), received
 *                  over descriptor FD ("rights:FD"), fetched from process PID, from its
 *                  descriptor FD on ("pidfd:PID:FD"), or all are one, descriptor FD ("same:FD")
 *   --wait         say "ready" when the sockets are open, and read a byte from standard input then
 *   --stay         keep them open until another byte comes
 *   --fork         a child sends, by sockets that its parent has opened
 *   --orphan       a grandchild opens and sends, after its parent has ended
 *   --threads      each socket is used by a thread of its own
 *   --unlink       remove argv[0] first
 *   --replace FILE rename FILE to argv[0] first
 *
 * Each is told on standard output as truth.h says. A connection that is refused counts as well: what
 * left is what matters. Exit status: 0 done, 1 failed, 2 wrong usage, 77 this kernel has no such
 * sockets or calls (standard error says why).
 */
#define _GNU_SOURCE
#include "hows.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>

enum { MAX_SOCKETS = 64 };

static struct {
	const struct how *how;
	struct target targets[MAX_SOCKETS];
	int sockets[MAX_SOCKETS];
	unsigned int count;
	const char *take, *replacement;
	int waits, stays, forks, orphaned, threads, unlinked;
} plan;

static int failed(const char *what)
{
	perror(what);
	return 0;
}

static int received(int channel)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec data = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1,
				  .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *header;
	int sock = -1;

	if (recvmsg(channel, &message, 0) != 1)
		return -1;
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_type == SCM_RIGHTS)
		memcpy(&sock, CMSG_DATA(header), sizeof(sock));
	return sock;
}

static int taken(const char *take, int number)
{
	int pid, fd;

	if (sscanf(take, "rights:%d", &fd) == 1)
		return received(fd);
	if (sscanf(take, "pidfd:%d:%d", &pid, &fd) == 2)
		return (int)syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, pid, 0), fd + number, 0);
	if (sscanf(take, "same:%d", &fd) == 1)
		return fd;
	return atoi(take) + number;
}

static int opened(const struct how *how, const struct target *target, int number)
{
	const int family = target->address.ss_family;
	const int icmp = family == AF_INET ? (int)IPPROTO_ICMP : (int)IPPROTO_ICMPV6;
	int sock;

	if (plan.take)
		return taken(plan.take, number);
	sock = socket(family, how->type, how->proto < 0 ? icmp : how->proto);
	if (sock < 0 && (errno == EPROTONOSUPPORT || errno == ESOCKTNOSUPPORT || errno == ENOPROTOOPT)) {
		perror("way: socket");
		exit(EXIT_CANNOT);
	}
	return sock;
}

static int open_all(void)
{
	for (unsigned int i = 0; i < plan.count; i++) {
		plan.sockets[i] = opened(plan.how, &plan.targets[i], (int)i);
		if (plan.sockets[i] < 0)
			return failed("way: socket");
		if (plan.how->early && !plan.take && !by_connect(plan.sockets[i], &plan.targets[i]))
			return failed("way: connect");
	}
	return 1;
}

static void *send_one(void *number)
{
	const uintptr_t i = (uintptr_t)number;

	if (!plan.how->send(plan.sockets[i], &plan.targets[i])) {
		failed("way: send");
		return NULL;
	}
	return tell(&plan.targets[i]) ? &plan : NULL;
}

static int send_all(void)
{
	for (uintptr_t i = 0; i < plan.count; i++) {
		void *done = NULL;
		pthread_t thread;

		if (!plan.threads)
			done = send_one((void *)i);
		else if (pthread_create(&thread, NULL, send_one, (void *)i) == 0)
			pthread_join(thread, &done);
		if (!done)
			return 0;
	}
	return 1;
}

/* Forks; the parent waits for the child and ends as it did. */
static void go_on_as_child(void)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		return;
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		_exit(EXIT_FAILURE);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE);
}

/* Goes on as a process whose parent has ended; the first one waits until it has ended, too. */
static void go_on_as_orphan(void)
{
	int ends[2];
	pid_t parent;
	char byte;

	if (pipe(ends) < 0)
		_exit(EXIT_FAILURE);
	if (fork() != 0) {
		close(ends[1]);
		_exit(read(ends[0], &byte, 1) == 1 ? byte : EXIT_FAILURE);
	}
	parent = getpid();
	if (fork() != 0)
		_exit(EXIT_SUCCESS);
	while (getppid() == parent)
		usleep(1000);
	byte = (char)(open_all() && send_all() ? EXIT_SUCCESS : EXIT_FAILURE);
	_exit(write(ends[1], &byte, 1) != 1);
}

static int live(void)
{
	char byte;

	if (plan.unlinked && unlink(own_name) < 0)
		return failed("way: unlink");
	if (plan.replacement && rename(plan.replacement, own_name) < 0)
		return failed("way: rename");
	if (plan.orphaned)
		go_on_as_orphan();
	if (!open_all())
		return 0;
	if (plan.waits && (write(STDOUT_FILENO, "ready\n", 6) != 6 || read(STDIN_FILENO, &byte, 1) != 1))
		return failed("way: standard input");
	if (plan.forks)
		go_on_as_child();
	if (!send_all())
		return 0;
	return !plan.stays || read(STDIN_FILENO, &byte, 1) >= 0;
}

/* Reads the options; returns how many words they were, or -1. */
static int options_parse(char **argv)
{
	char **at = argv;

	for (; *at && (*at)[0] == '-'; at++) {
		if (strcmp(*at, "--wait") == 0)
			plan.waits = 1;
		else if (strcmp(*at, "--stay") == 0)
			plan.stays = 1;
		else if (strcmp(*at, "--fork") == 0)
			plan.forks = 1;
		else if (strcmp(*at, "--orphan") == 0)
			plan.orphaned = 1;
		else if (strcmp(*at, "--threads") == 0)
			plan.threads = 1;
		else if (strcmp(*at, "--unlink") == 0)
			plan.unlinked = 1;
		else if (strcmp(*at, "--take") == 0 && at[1])
			plan.take = *++at;
		else if (strcmp(*at, "--replace") == 0 && at[1])
			plan.replacement = *++at;
		else
			return -1;
	}
	return (int)(at - argv);
}

static int plan_parse(char **words)
{
	int options = options_parse(words);

	words += options;
	if (options < 0 || !words[0] || !words[1] || !words[2] || !words[3] || words[4])
		return 0;
	plan.count = (unsigned int)atoi(words[2]);
	for (plan.how = HOWS; plan.how->name && strcmp(plan.how->name, words[0]) != 0;)
		plan.how++;
	for (unsigned int i = 0; i < plan.count && i < MAX_SOCKETS; i++) {
		if (!target_of(&plan.targets[i], words[1], (unsigned int)atoi(words[3]), i))
			return 0;
	}
	return plan.how->name && plan.count <= MAX_SOCKETS;
}

int main(int argc, char **argv)
{
	own_name = argc > 0 ? argv[0] : "";
	if (argc < 1 || !plan_parse(argv + 1)) {
		fputs("usage: way [OPTIONS] HOW ADDR COUNT PORT\n", stderr);
		return EXIT_USAGE;
	}
	return live() ? EXIT_SUCCESS : EXIT_FAILURE;
}
