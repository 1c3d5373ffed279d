/* again ROUNDS ADDR PORT WAY OTHER: runs WAY and OTHER in turn (way.c), all with one and the same pid.
 *
 * Each sends one UDP datagram, to ADDR, ADDR + 1 and so on. The pid is that of a process that has just
 * ended; clone3(2) with set_tid gives it to each of them. Exit status: 0 all have sent, 1 not, 2 wrong
 * usage.
 */
#define _GNU_SOURCE
#include "truth.h"

#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/wait.h>

static pid_t free_pid(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return waitpid(pid, NULL, 0) == pid ? pid : -1;
}

/* Returns whether `program` has run as process `pid`, and has sent. */
static int run_as(pid_t pid, char *program, char *address, char *port)
{
	char *argv[] = { program, "udp-sendto", address, "1", port, NULL };
	struct clone_args wanted = { .exit_signal = SIGCHLD, .set_tid_size = 1 };
	int status;
	long child;

	wanted.set_tid = (uint64_t)(uintptr_t)&pid;
	child = syscall(SYS_clone3, &wanted, sizeof(wanted));
	if (child == 0) {
		execv(program, argv);
		_exit(127);
	}
	if (child < 0)
		perror("again: clone3");
	return child == pid && waitpid(pid, &status, 0) == pid && status == 0;
}

int main(int argc, char **argv)
{
	pid_t pid = free_pid();
	struct target target;

	if (argc != 6) {
		fputs("usage: again ROUNDS ADDR PORT WAY OTHER\n", stderr);
		return EXIT_USAGE;
	}
	for (int round = 0; round < atoi(argv[1]); round++) {
		char address[INET6_ADDRSTRLEN];

		if (!target_of(&target, argv[2], 0, (unsigned int)round) ||
		    !target_text(&target, address, sizeof(address)) ||
		    !run_as(pid, argv[4 + round % 2], address, argv[3]))
			return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
