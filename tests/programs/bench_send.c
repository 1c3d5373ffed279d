/* bench_send tcp|udp ADDR PORT MS: as much as goes in MS milliseconds by one flow that is established.
 * bench_send stream ADDR PORT COUNT RATE: one UDP flow without any answer, RATE datagrams a second.
 * bench_send held ADDR PORT COUNT: COUNT connections that are under way, until it is killed.
 *
 * tcp and udp talk to bench_server's second port and print "SENT BYTES NS": datagrams sent (0 of TCP),
 * bytes (of TCP those that the other end has read). stream prints "COUNT 0 NS": the time begins with the
 * second datagram, which follows the first one after 20 ms. held prints "ready". Exit status: 0, or 1 if
 * something went wrong (what is on standard error), or 2 for wrong usage.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	EXIT_USAGE = 2,
	CHUNK_BYTES = 65536,
	DATAGRAM_BYTES = 1400,
	PATIENCE_MS = 20000,
	HEAD_US = 20000,
	BURSTS_A_SECOND = 2000,
};

static unsigned char chunk[CHUNK_BYTES];

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "bench_send: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

static int connected(int type, const struct sockaddr_in *to)
{
	int sock = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	if (sock < 0 || connect(sock, (const struct sockaddr *)to, sizeof(*to)) < 0)
		die("connect");
	return sock;
}

static void print_sent(long sent, uint64_t bytes, int64_t took_ns)
{
	printf("%ld %llu %lld\n", sent, (unsigned long long)bytes, (long long)took_ns);
}

/* The other end says how many bytes have come when it has read all of them. */
static void send_tcp(const struct sockaddr_in *to, int64_t limit_ns)
{
	const int sock = connected(SOCK_STREAM, to);
	const int64_t began = now_ns();
	uint64_t read_bytes;

	while (now_ns() - began < limit_ns) {
		if (send(sock, chunk, sizeof(chunk), 0) < 0)
			die("send");
	}
	shutdown(sock, SHUT_WR);
	if (recv(sock, &read_bytes, sizeof(read_bytes), MSG_WAITALL) != sizeof(read_bytes))
		die("recv");
	print_sent(0, read_bytes, now_ns() - began);
}

/* The other end answers the first datagram: from then on conntrack knows the flow as established. */
static void send_udp(const struct sockaddr_in *to, int64_t limit_ns)
{
	const int sock = connected(SOCK_DGRAM, to);
	struct pollfd answer = { .fd = sock, .events = POLLIN };
	int64_t began;
	long sent = 0;

	if (send(sock, chunk, 1, 0) < 0 || poll(&answer, 1, PATIENCE_MS) != 1)
		die("no answer");
	began = now_ns();
	while (now_ns() - began < limit_ns) {
		if (send(sock, chunk, DATAGRAM_BYTES, 0) == DATAGRAM_BYTES)
			sent++;
	}
	print_sent(sent, (uint64_t)sent * DATAGRAM_BYTES, now_ns() - began);
}

/* In bursts, so that it sleeps between them: the machine may have few processors. */
static void send_stream(const struct sockaddr_in *to, long count, long rate)
{
	const long burst = rate / BURSTS_A_SECOND ? rate / BURSTS_A_SECOND : 1;
	const int sock = connected(SOCK_DGRAM, to), room = 64 << 20;
	int64_t began;

	/* What waits in a queue counts as sent: without room, sending would wait for it. */
	setsockopt(sock, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	send(sock, chunk, 1, 0);
	usleep(HEAD_US);
	began = now_ns();
	for (long sent = 1; sent < count;) {
		const int64_t due = began + sent * 1000000000 / rate;
		const struct timespec when = { .tv_sec = due / 1000000000, .tv_nsec = due % 1000000000 };

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL);
		for (long i = 0; i < burst && sent < count; i++, sent++)
			send(sock, chunk, 1, 0);
	}
	print_sent(count, 0, now_ns() - began);
}

static void hold(const struct sockaddr_in *to, long count)
{
	struct rlimit descriptors;

	getrlimit(RLIMIT_NOFILE, &descriptors);
	descriptors.rlim_cur = descriptors.rlim_max;
	setrlimit(RLIMIT_NOFILE, &descriptors);
	for (long i = 0; i < count; i++) {
		const int sock = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

		if (sock < 0 || (connect(sock, (const struct sockaddr *)to, sizeof(*to)) < 0 &&
				 errno != EINPROGRESS))
			die("connect");
	}
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	const char *what = argc > 4 ? argv[1] : "";

	if (argc < 5 || inet_pton(AF_INET, argv[2], &to.sin_addr) != 1) {
		fputs("usage: bench_send tcp|udp|stream|held ADDR PORT NUMBER [RATE]\n", stderr);
		return EXIT_USAGE;
	}
	to.sin_port = htons((uint16_t)atoi(argv[3]));
	const long number = atol(argv[4]);

	if (!strcmp(what, "tcp")) {
		send_tcp(&to, (int64_t)number * 1000000);
	} else if (!strcmp(what, "udp")) {
		send_udp(&to, (int64_t)number * 1000000);
	} else if (!strcmp(what, "stream") && argc == 6 && atol(argv[5]) > 0) {
		send_stream(&to, number, atol(argv[5]));
	} else if (!strcmp(what, "held")) {
		hold(&to, number);
	} else {
		fputs("bench_send: it does no such thing\n", stderr);
		return EXIT_USAGE;
	}
	return EXIT_SUCCESS;
}
