/* bench_connect ADDR PORT COUNT CLIENTS WARM_UP LIMIT_MS [ADDRS]: how long TCP connections take to be made.
 *
 * CLIENTS processes make connections one after the other, at the same time: COUNT of them together, or
 * as many as can be made in LIMIT_MS. Each begins with WARM_UP more that do not count. A connection is
 * reset as soon as it is there, so that no port waits for its end (TIME_WAIT). SIGTERM ends it early.
 * With ADDRS each goes to another address, of so many that follow ADDR: a client begins where the one
 * before it has its last one.
 *
 * Prints "WALL_NS MADE FAILED", from the first client's beginning to the last one's end, then a line for
 * each connection that was made: how long connect(2) took, in ns of CLOCK_MONOTONIC. Exit status: 0, or
 * 1 if something went wrong (what is on standard error), or 2 for wrong usage.
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, MAX_CLIENTS = 256, MAX_COUNT = 10000000 };

/* What a client leaves for its parent; its times are in the share of the table that is its own. */
struct result {
	int64_t began_ns, ended_ns;
	long made, failed;
};

/* Where a client's connections go. */
struct goal {
	struct sockaddr_in first;
	uint32_t addresses, next;
};

/* Seen by all clients. */
static volatile sig_atomic_t *is_over;

static void end_early(int signal_number)
{
	*is_over = signal_number;
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Returns how long it took, or -1 if it failed. */
static int64_t connect_once(struct goal *goal)
{
	static const struct linger reset = { .l_onoff = 1, .l_linger = 0 };
	int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), failed;
	struct sockaddr_in to = goal->first;
	int64_t began;

	if (sock < 0)
		return -1;
	to.sin_addr.s_addr = htonl(ntohl(to.sin_addr.s_addr) + goal->next++ % goal->addresses);
	setsockopt(sock, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	began = now_ns();
	failed = connect(sock, (const struct sockaddr *)&to, sizeof(to));
	began = now_ns() - began;
	close(sock);
	return failed ? -1 : began;
}

static void be_client(struct goal *goal, long count, long warm_up, int64_t limit_ns,
		      int64_t *times, struct result *result)
{
	while (warm_up-- > 0)
		connect_once(goal);
	result->began_ns = now_ns();
	while (!*is_over && result->made + result->failed < count &&
	       now_ns() - result->began_ns < limit_ns) {
		const int64_t took = connect_once(goal);

		if (took < 0)
			result->failed++;
		else
			times[result->made++] = took;
	}
	result->ended_ns = now_ns();
}

static void *shared(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED) {
		perror("bench_connect: mmap");
		exit(EXIT_FAILURE);
	}
	return memory;
}

static void print_results(const struct result *results, long clients, const int64_t *times, long share)
{
	int64_t began = results[0].began_ns, ended = results[0].ended_ns;
	long made = 0, failed = 0;

	for (long i = 0; i < clients; i++) {
		began = results[i].began_ns < began ? results[i].began_ns : began;
		ended = results[i].ended_ns > ended ? results[i].ended_ns : ended;
		made += results[i].made;
		failed += results[i].failed;
	}
	printf("%lld %ld %ld\n", (long long)(ended - began), made, failed);
	for (long i = 0; i < clients; i++) {
		for (long at = 0; at < results[i].made; at++)
			printf("%lld\n", (long long)times[i * share + at]);
	}
}

int main(int argc, char **argv)
{
	struct goal goal = { .first = { .sin_family = AF_INET }, .addresses = 1 };

	if (argc < 7 || argc > 8 || inet_pton(AF_INET, argv[1], &goal.first.sin_addr) != 1) {
		fputs("usage: bench_connect ADDR PORT COUNT CLIENTS WARM_UP LIMIT_MS [ADDRS]\n", stderr);
		return EXIT_USAGE;
	}
	goal.first.sin_port = htons((uint16_t)atoi(argv[2]));
	const long count = atol(argv[3]), clients = atol(argv[4]), warm_up = atol(argv[5]);
	const int64_t limit_ns = atoll(argv[6]) * 1000000;
	if (argc == 8 && atol(argv[7]) > 0)
		goal.addresses = (uint32_t)atol(argv[7]);
	if (count <= 0 || count > MAX_COUNT || clients <= 0 || clients > MAX_CLIENTS) {
		fputs("bench_connect: no such COUNT or CLIENTS\n", stderr);
		return EXIT_USAGE;
	}
	const long share = (count + clients - 1) / clients;
	int64_t *times = shared((size_t)(share * clients) * sizeof(*times));
	struct result *results = shared((size_t)clients * sizeof(*results));
	int begin[2], status = EXIT_SUCCESS;

	is_over = shared(sizeof(*is_over));
	signal(SIGTERM, end_early);

	if (pipe(begin) < 0) {
		perror("bench_connect: pipe");
		return EXIT_FAILURE;
	}
	for (long i = 0; i < clients; i++) {
		const pid_t pid = fork();
		char byte;

		if (pid < 0) {
			perror("bench_connect: fork");
			return EXIT_FAILURE;
		}
		if (pid == 0) {
			close(begin[1]);
			goal.next = (uint32_t)(i * (share + warm_up));
			/* The end of the pipe is the sign for all of them. */
			if (read(begin[0], &byte, 1) == 0)
				be_client(&goal, share, warm_up, limit_ns, times + i * share, &results[i]);
			_exit(EXIT_SUCCESS);
		}
	}
	close(begin[1]);
	for (int ended; wait(&ended) > 0;) {
		if (ended)
			status = EXIT_FAILURE;
	}
	print_results(results, clients, times, share);
	return status;
}
