/* bench_server PORT STREAM_PORT: the other end of bench_connect and bench_send.
 *
 * PORT takes every TCP connection and closes it, and swallows datagrams. STREAM_PORT swallows what a TCP
 * connection sends and says at its end how many bytes there were (8 bytes, as this machine has them);
 * datagrams of one byte it sends back, and swallows all others. Prints "ready" once it does. Runs until it
 * is killed.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, BACKLOG = 4096, PAUSE_US = 1000, CHUNK_BYTES = 1 << 18, RECEIVE_BYTES = 4 << 20 };

static unsigned char chunk[CHUNK_BYTES];

static int bound(int type, const char *port)
{
	const struct sockaddr_in local = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	const int sock = socket(AF_INET, type | SOCK_CLOEXEC, 0), room = RECEIVE_BYTES;

	if (sock < 0 || bind(sock, (const struct sockaddr *)&local, sizeof(local)) < 0 ||
	    (type == SOCK_STREAM && listen(sock, BACKLOG) < 0)) {
		perror("bench_server");
		exit(EXIT_FAILURE);
	}
	if (type == SOCK_DGRAM)
		setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	return sock;
}

/* Takes what has come a thousand times a second, and does not wait for each: to wake it up on another
 * processor would cost some connections several microseconds and others nothing, as chance has it.
 */
static void close_all(int listener)
{
	fcntl(listener, F_SETFL, O_NONBLOCK);
	for (;;) {
		const int peer = accept(listener, NULL, NULL);

		if (peer >= 0)
			close(peer);
		else
			usleep(PAUSE_US);
	}
}

static void swallow_streams(int listener)
{
	for (;;) {
		const int peer = accept(listener, NULL, NULL);
		uint64_t bytes = 0;

		if (peer < 0)
			continue;
		for (ssize_t count; (count = recv(peer, chunk, sizeof(chunk), 0)) > 0;)
			bytes += (uint64_t)count;
		send(peer, &bytes, sizeof(bytes), MSG_NOSIGNAL);
		close(peer);
	}
}

static void swallow_datagrams(int sock)
{
	for (;;)
		recv(sock, chunk, sizeof(chunk), 0);
}

static void answer_datagrams(int sock)
{
	for (;;) {
		struct sockaddr_in from;
		socklen_t size = sizeof(from);

		if (recvfrom(sock, chunk, sizeof(chunk), 0, (struct sockaddr *)&from, &size) == 1)
			sendto(sock, chunk, 1, 0, (struct sockaddr *)&from, size);
	}
}

/* Each in a process of its own, that ends with this one. */
static void start(void (*serve)(int), int sock)
{
	const pid_t parent = getpid();

	if (fork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			serve(sock);
		_exit(EXIT_FAILURE);
	}
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fputs("usage: bench_server PORT STREAM_PORT\n", stderr);
		return EXIT_USAGE;
	}
	start(close_all, bound(SOCK_STREAM, argv[1]));
	start(swallow_datagrams, bound(SOCK_DGRAM, argv[1]));
	start(swallow_streams, bound(SOCK_STREAM, argv[2]));
	start(answer_datagrams, bound(SOCK_DGRAM, argv[2]));
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}
