/* The kinds of sockets, and the calls that send by them. Each call returns whether something went out. */
#ifndef NFSNITCH_HOWS_H
#define NFSNITCH_HOWS_H

#include "truth.h"
#include "uring.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/uio.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

enum { GRE = 47, ECHO4 = 8, ECHO6 = 128, STREAM_SCTP = 132, UDPLITE = 136 };

typedef int send_fn(int sock, const struct target *target);

struct how {
	const char *name;
	int type;
	int proto; /* -1: ICMP of the target's family */
	send_fn *send;
	int early; /* connected as soon as it is open */
};

static struct uring ring;
static struct iovec payload = { .iov_base = (void *)"nfsnitch", .iov_len = 8 };

static const struct sockaddr *address_of(const struct target *target)
{
	return (const struct sockaddr *)&target->address;
}

static struct msghdr message_to(const struct target *target)
{
	return (struct msghdr){ .msg_name = (void *)&target->address, .msg_namelen = target->size,
				.msg_iov = &payload, .msg_iovlen = 1 };
}

/* Refused by the other side, so it did go out. */
static int was_sent(long result)
{
	return result >= 0 || errno == ECONNREFUSED || errno == EINPROGRESS || errno == EPIPE;
}

static int by_sendto(int sock, const struct target *target)
{
	return was_sent(sendto(sock, "nfsnitch", 8, 0, address_of(target), target->size));
}

/* With what makes an association, and does not wait for it. */
static int by_message_later(int sock, const struct target *target)
{
	return was_sent(sendto(sock, "nfsnitch", 8, MSG_DONTWAIT, address_of(target), target->size));
}

static int by_sendmsg(int sock, const struct target *target)
{
	struct msghdr message = message_to(target);

	return was_sent(sendmsg(sock, &message, 0));
}

static int by_sendmmsg(int sock, const struct target *target)
{
	struct mmsghdr messages[2] = { { .msg_hdr = message_to(target) },
				       { .msg_hdr = message_to(target) } };

	return was_sent(sendmmsg(sock, messages, 2, 0));
}

static int by_connect(int sock, const struct target *target)
{
	return was_sent(connect(sock, address_of(target), target->size));
}

static int by_connect_later(int sock, const struct target *target)
{
	fcntl(sock, F_SETFL, O_NONBLOCK);
	return by_connect(sock, target);
}

static int by_connect_and_send(int sock, const struct target *target)
{
	return by_connect(sock, target) && was_sent(send(sock, "nfsnitch", 8, 0));
}

static int by_send(int sock, const struct target *target)
{
	(void)target;
	return was_sent(send(sock, "nfsnitch", 8, 0));
}

static int by_write(int sock, const struct target *target)
{
	return by_connect(sock, target) && was_sent(writev(sock, &payload, 1));
}

/* The data goes from a pipe to the socket without being copied to the program. */
static int by_splice(int sock, const struct target *target)
{
	int ends[2];

	return by_connect(sock, target) && pipe(ends) == 0 && write(ends[1], "nfsnitch", 8) == 8 &&
	       was_sent(splice(ends[0], NULL, sock, NULL, 8, 0));
}

static int by_fastopen(int sock, const struct target *target)
{
	return was_sent(sendto(sock, "nfsnitch", 8, MSG_FASTOPEN, address_of(target), target->size));
}

/* The option makes connect() wait for the first data, which then goes out with the SYN. */
static int by_fastopen_connect(int sock, const struct target *target)
{
	int on = 1;

	return setsockopt(sock, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof(on)) == 0 &&
	       by_connect(sock, target) && was_sent(send(sock, "nfsnitch", 8, MSG_NOSIGNAL));
}

static int by_echo(int sock, const struct target *target)
{
	const uint8_t type = target->address.ss_family == AF_INET ? ECHO4 : ECHO6;
	const uint8_t request[] = { type, 0, 0, 0, 0, 0, 0, 1 };
	struct target to = *target;

	((struct sockaddr_in *)&to.address)->sin_port = 0; /* at the same place in both families */
	return was_sent(sendto(sock, request, sizeof(request), 0, address_of(&to), to.size));
}

static int by_raw(int sock, const struct target *target)
{
	struct target to = *target;

	((struct sockaddr_in *)&to.address)->sin_port = 0;
	return was_sent(sendto(sock, "0123456789abcdef", 16, 0, address_of(&to), to.size));
}

/* The program writes the IP header as well. */
static int by_own_header(int sock, const struct target *target)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&target->address;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&target->address;
	struct target to = *target;
	uint8_t packet[56] = { 0 };
	size_t size;

	((struct sockaddr_in *)&to.address)->sin_port = 0;
	if (target->address.ss_family == AF_INET) {
		size = 36; /* the kernel fills in source, length and checksum */
		packet[0] = 0x45;
		packet[8] = 64;
		packet[9] = GRE;
		memcpy(packet + 16, &v4->sin_addr, 4);
	} else {
		size = 56;
		packet[0] = 0x60;
		packet[5] = 16;
		packet[6] = GRE;
		packet[7] = 64;
		inet_pton(AF_INET6, "2001:db8::2", packet + 8);
		memcpy(packet + 24, &v6->sin6_addr, 16);
	}
	return was_sent(sendto(sock, packet, size, 0, address_of(&to), to.size));
}

static int by_request(int polled, const struct io_uring_sqe *request)
{
	int result;

	if (!ring.sq && !uring_open(&ring, polled)) {
		perror("way: io_uring");
		exit(EXIT_CANNOT);
	}
	result = uring_run(&ring, request);
	errno = result < 0 ? -result : 0;
	return was_sent(result);
}

static struct io_uring_sqe request_of(uint8_t opcode, int sock, const void *data, uint32_t size)
{
	struct io_uring_sqe request = { .opcode = opcode, .fd = sock, .len = size };

	request.addr = (uint64_t)(uintptr_t)data;
	return request;
}

static int by_uring_connect(int sock, const struct target *target)
{
	struct io_uring_sqe request = request_of(IORING_OP_CONNECT, sock, &target->address, 0);

	request.off = target->size;
	return by_request(0, &request);
}

static int by_uring_send(int sock, const struct target *target)
{
	struct io_uring_sqe request = request_of(IORING_OP_SEND, sock, "nfsnitch", 8);

	return by_connect(sock, target) && by_request(0, &request);
}

static int by_uring_message(int sock, const struct target *target, int polled, uint8_t flags)
{
	struct msghdr message = message_to(target);
	struct io_uring_sqe request = request_of(IORING_OP_SENDMSG, sock, &message, 1);

	request.flags = flags;
	return by_request(polled, &request);
}

static int by_uring_sendmsg(int sock, const struct target *target)
{
	return by_uring_message(sock, target, 0, 0);
}

static int by_uring_worker(int sock, const struct target *target)
{
	return by_uring_message(sock, target, 0, IOSQE_ASYNC);
}

static int by_uring_polled(int sock, const struct target *target)
{
	return by_uring_message(sock, target, 1, 0);
}

static const struct how HOWS[] = {
	{ "udp-sendto", SOCK_DGRAM, 0, by_sendto, 0 },
	{ "udp-sendmsg", SOCK_DGRAM, 0, by_sendmsg, 0 },
	{ "udp-sendmmsg", SOCK_DGRAM, 0, by_sendmmsg, 0 },
	{ "udp-connected", SOCK_DGRAM, 0, by_connect_and_send, 0 },
	{ "udp-early", SOCK_DGRAM, 0, by_send, 1 }, /* connected before it is handed over */
	{ "udp-writev", SOCK_DGRAM, 0, by_write, 0 },
	{ "udp-splice", SOCK_DGRAM, 0, by_splice, 0 },
	{ "udplite", SOCK_DGRAM, UDPLITE, by_sendto, 0 },
	{ "tcp", SOCK_STREAM, 0, by_connect, 0 },
	{ "tcp-later", SOCK_STREAM, 0, by_connect_later, 0 },
	{ "tcp-fastopen", SOCK_STREAM, 0, by_fastopen, 0 },
	{ "tcp-fastopen-connect", SOCK_STREAM, 0, by_fastopen_connect, 0 },
	{ "mptcp", SOCK_STREAM, IPPROTO_MPTCP, by_connect, 0 },
	{ "sctp", SOCK_STREAM, STREAM_SCTP, by_connect_later, 0 },
	{ "sctp-message", SOCK_SEQPACKET, STREAM_SCTP, by_message_later, 0 },
	{ "ping", SOCK_DGRAM, -1, by_echo, 0 },
	{ "raw", SOCK_RAW, GRE, by_raw, 0 },
	{ "raw-icmp", SOCK_RAW, -1, by_echo, 0 },
	{ "raw-header", SOCK_RAW, IPPROTO_RAW, by_own_header, 0 },
	{ "uring-connect", SOCK_STREAM, 0, by_uring_connect, 0 },
	{ "uring-send", SOCK_DGRAM, 0, by_uring_send, 0 },
	{ "uring-sendmsg", SOCK_DGRAM, 0, by_uring_sendmsg, 0 },
	{ "uring-worker", SOCK_DGRAM, 0, by_uring_worker, 0 },
	{ "uring-polled", SOCK_DGRAM, 0, by_uring_polled, 0 },
	{ NULL, 0, 0, NULL, 0 },
};

#endif
