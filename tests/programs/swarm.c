/* swarm [OPTIONS] COUNT PROGRAM [ARG...]: run PROGRAM COUNT times, at most K (8) processes at once.
 *
 *   -j K             how many at once
 *   --each N         each is N processes in all (1): it forks, and they end by themselves
 *   --fork           fork and exec, in place of vfork and exec
 *   --link           run each one by a hard link of its own, PROGRAM.NUMBER, to be removed by it
 *   --pass tcp|udp   make an IPv4 socket and send it to the child over its descriptor 4 (SCM_RIGHTS)
 *
 * The children inherit descriptor 3 and report on it themselves. An argument of the form {BASE} is
 * replaced by BASE plus the number of the child, counted from 0: {20000} gives each child a port of
 * its own. Prints "COUNT run, FAILED failed" and exits 0 if none failed, else 1.
 *
 * Orphans come to it as well (PR_SET_CHILD_SUBREAPER), and are waited for.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, EXIT_NO_EXEC = 127, NUMBER_BYTES = 24, PATH_BYTES = 1024, PASSED_FD = 4 };

struct how {
	unsigned long at_once;
	unsigned long each;
	int forks;
	int links;
	int pass_type; /* SOCK_STREAM or SOCK_DGRAM; 0: no socket is passed */
};

struct slot {
	unsigned long base;
	char text[NUMBER_BYTES];
};

static int number(const char *text, unsigned long *value, char stop)
{
	char *end;

	if (*text < '0' || *text > '9')
		return 0;
	errno = 0;
	*value = strtoul(text, &end, 10);
	return errno == 0 && *end == stop && (stop == '\0' || end[1] == '\0');
}

/* Points the arguments that are to be numbered at their slots; a base of slot i is for argv[i]. */
static struct slot *numbered(int argc, char **argv)
{
	struct slot *slots = calloc((size_t)argc, sizeof(*slots));
	unsigned long base;

	for (int i = 0; slots && i < argc; i++) {
		if (argv[i][0] == '{' && number(argv[i] + 1, &base, '}')) {
			slots[i].base = base;
			argv[i] = slots[i].text;
		}
	}
	return slots;
}

static void set_numbers(int argc, char **argv, struct slot *slots, unsigned long child)
{
	for (int i = 0; i < argc; i++) {
		if (argv[i] == slots[i].text)
			snprintf(slots[i].text, NUMBER_BYTES, "%lu", slots[i].base + child);
	}
}

/* Makes a socket and puts it on its way; returns the end to receive it from, or -1. */
static int pass_socket(int type)
{
	char control[CMSG_SPACE(sizeof(int))] = "";
	struct iovec data = { .iov_base = "!", .iov_len = 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1,
				  .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int sock = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	int ends[2];

	if (sock < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -1;
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(sock));
	memcpy(CMSG_DATA(header), &sock, sizeof(sock));
	if (sendmsg(ends[0], &message, 0) != 1)
		return -1;
	close(ends[0]);
	close(sock);
	return ends[1];
}

/* The child does nothing but exec, so vfork will do unless fork was asked for. */
static int spawn(const struct how *how, char **argv, int passed)
{
	pid_t pid = how->forks ? fork() : vfork();

	if (pid == 0) {
		if (passed == PASSED_FD)
			fcntl(passed, F_SETFD, 0);
		else if (passed >= 0)
			dup2(passed, PASSED_FD);
		execv(argv[0], argv);
		_exit(EXIT_NO_EXEC);
	}
	return pid > 0;
}

static int start(const struct how *how, char **argv, unsigned long child)
{
	char link_name[PATH_BYTES], *program = argv[0];
	int started, passed = -1;

	if (how->links) {
		snprintf(link_name, sizeof(link_name), "%s.%lu", program, child);
		if (link(program, link_name) < 0)
			return 0;
		argv[0] = link_name;
	}
	if (how->pass_type && (passed = pass_socket(how->pass_type)) < 0)
		return 0;
	started = spawn(how, argv, passed);
	argv[0] = program;
	if (passed >= 0)
		close(passed);
	return started;
}

/* Waits for one child; returns whether it failed. */
static int reap(void)
{
	int status;

	return wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static unsigned long run(const struct how *how, unsigned long count, int argc, char **argv,
			 struct slot *slots)
{
	unsigned long alive = 0, failed = 0;

	for (unsigned long child = 0; child < count; child++) {
		for (; alive > (how->at_once - 1) * how->each; alive--)
			failed += (unsigned long)reap();
		set_numbers(argc, argv, slots, child);
		if (start(how, argv, child)) {
			alive += how->each;
		} else {
			perror("swarm: start");
			failed++;
		}
	}
	for (; alive > 0; alive--)
		failed += (unsigned long)reap();
	return failed;
}

/* Reads an option and its value, if it takes one, into *how. Returns how many words that were, or 0. */
static int option_parse(struct how *how, char **argv)
{
	const char *name = argv[0], *value = argv[1] ? argv[1] : "";

	if (strcmp(name, "--fork") == 0)
		return how->forks = 1;
	if (strcmp(name, "--link") == 0)
		return how->links = 1;
	if (strcmp(name, "--pass") == 0 && strcmp(value, "tcp") == 0)
		how->pass_type = SOCK_STREAM;
	else if (strcmp(name, "--pass") == 0 && strcmp(value, "udp") == 0)
		how->pass_type = SOCK_DGRAM;
	else if (strcmp(name, "-j") == 0 && number(value, &how->at_once, '\0') && how->at_once > 0)
		return 2;
	else if (strcmp(name, "--each") == 0 && number(value, &how->each, '\0') && how->each > 0)
		return 2;
	else
		return 0;
	return 2;
}

int main(int argc, char **argv)
{
	struct how how = { .at_once = 8, .each = 1 };
	char **rest = argv + 1;
	unsigned long count, failed;
	struct slot *slots;
	int words;

	while (*rest && (words = option_parse(&how, rest)) > 0)
		rest += words;
	if (!rest[0] || !rest[1] || !number(rest[0], &count, '\0')) {
		fputs("usage: swarm [-j K] [--each N] [--fork] [--link] [--pass tcp|udp] "
		      "COUNT PROGRAM [ARG...]\n", stderr);
		return EXIT_USAGE;
	}
	rest++;
	argc -= (int)(rest - argv);
	slots = numbered(argc, rest);
	if (!slots || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) {
		perror("swarm");
		return EXIT_FAILURE;
	}
	failed = run(&how, count, argc, rest, slots);
	printf("%lu run, %lu failed\n", count, failed);
	free(slots);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
