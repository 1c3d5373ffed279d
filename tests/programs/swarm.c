/* swarm [-j K] COUNT PROGRAM [ARG...]: run PROGRAM COUNT times, at most K (8) at once.
 *
 * The children inherit descriptor 3 and report on it themselves. An argument of the form {BASE} is
 * replaced by BASE plus the number of the child, counted from 0: {20000} gives each child a port of
 * its own. Prints "COUNT run, FAILED failed" and exits 0 if none failed, else 1.
 *
 * vfork, because it costs half of fork and the child does nothing but exec.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, EXIT_NO_EXEC = 127, NUMBER_BYTES = 24 };

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

static int start(char **argv)
{
	pid_t pid = vfork();

	if (pid == 0) {
		execv(argv[0], argv);
		_exit(EXIT_NO_EXEC);
	}
	return pid > 0;
}

/* Waits for one child; returns whether it failed. */
static int reap(void)
{
	int status;

	return wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static unsigned long run(unsigned long count, unsigned long at_once, int argc, char **argv,
			 struct slot *slots)
{
	unsigned long alive = 0, failed = 0;

	for (unsigned long child = 0; child < count; child++) {
		if (alive == at_once) {
			failed += (unsigned long)reap();
			alive--;
		}
		set_numbers(argc, argv, slots, child);
		if (start(argv))
			alive++;
		else
			failed++;
	}
	for (; alive > 0; alive--)
		failed += (unsigned long)reap();
	return failed;
}

int main(int argc, char **argv)
{
	unsigned long count, failed, at_once = 8;
	struct slot *slots;
	int good = 1;

	if (argc > 2 && strcmp(argv[1], "-j") == 0) {
		good = number(argv[2], &at_once, '\0') && at_once > 0;
		argv += 2;
		argc -= 2;
	}
	if (!good || argc < 3 || !number(argv[1], &count, '\0')) {
		fputs("usage: swarm [-j K] COUNT PROGRAM [ARG...]\n", stderr);
		return EXIT_USAGE;
	}
	argc -= 2;
	argv += 2;
	slots = numbered(argc, argv);
	if (!slots) {
		perror("swarm");
		return EXIT_FAILURE;
	}
	failed = run(count, at_once, argc, argv, slots);
	printf("%lu run, %lu failed\n", count, failed);
	free(slots);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
