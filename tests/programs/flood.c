/* flood ADDR PORT FLOWS BURST PAUSE_US: one UDP datagram for each of FLOWS new flows.
 *
 * A flow is a pair of ports: 64 sockets, and from each of them destination ports from PORT upwards.
 * Sends BURST datagrams, then waits PAUSE_US microseconds, and so on. Writes how many were sent, and
 * how many the kernel refused, to standard output. Exit status: 0, or 2 for wrong usage.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SOCKETS = 64, MAX_BURST = 1024 };

static const int SNDBUF_BYTES = 64 << 20;

int main(int argc, char **argv)
{
	static struct sockaddr_in to[MAX_BURST];
	static struct mmsghdr messages[MAX_BURST];
	static struct iovec payload = { .iov_base = (void *)"x", .iov_len = 1 };
	int sockets[SOCKETS];
	struct in_addr address;
	long sent = 0, refused = 0;

	if (argc != 6 || inet_pton(AF_INET, argv[1], &address) != 1) {
		fputs("usage: flood ADDR PORT FLOWS BURST PAUSE_US\n", stderr);
		return 2;
	}
	const long first_port = atol(argv[2]), flows = atol(argv[3]);
	const long burst = atol(argv[4]) < MAX_BURST ? atol(argv[4]) : MAX_BURST;
	const useconds_t pause_us = (useconds_t)atol(argv[5]);

	for (int i = 0; i < SOCKETS; i++) {
		sockets[i] = socket(AF_INET, SOCK_DGRAM, 0);
		/* What waits in the queue counts as sent: without room, sending would wait for it. */
		setsockopt(sockets[i], SOL_SOCKET, SO_SNDBUFFORCE, &SNDBUF_BYTES,
			   sizeof(SNDBUF_BYTES));
	}
	for (long flow = 0; flow < flows;) {
		const long round = flow / burst;
		unsigned int count = 0;

		for (; count < burst && flow < flows; count++, flow++) {
			const long port = first_port + (round / SOCKETS) * burst + count;

			to[count].sin_family = AF_INET;
			to[count].sin_addr = address;
			to[count].sin_port = htons((uint16_t)port);
			messages[count].msg_hdr.msg_name = &to[count];
			messages[count].msg_hdr.msg_namelen = sizeof(to[count]);
			messages[count].msg_hdr.msg_iov = &payload;
			messages[count].msg_hdr.msg_iovlen = 1;
		}
		for (unsigned int at = 0; at < count;) {
			const int done =
				sendmmsg(sockets[round % SOCKETS], messages + at, count - at, 0);

			/* The kernel tells of a packet that was dropped on the spot. */
			if (done < 0) {
				refused++;
				at++;
			} else {
				sent += done;
				at += (unsigned int)done;
			}
		}
		usleep(pause_us);
	}
	printf("%ld %ld\n", sent, refused);
	return 0;
}
