/* bench_accept QUEUE: accepts every packet of an NFQUEUE, and does nothing else.
 *
 * The least that can be done in user space: no library, no copy of the packet, one message in, one out.
 * Prints "ready" once it has the queue. Runs until it is killed; ends with 1 if it cannot have it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const size_t ATTRIBUTE_BYTES = sizeof(struct nlattr);

enum { EXIT_USAGE = 2, ROOM = 65536, SOCKET_BYTES = 16 << 20, QUEUE_LENGTH = 32768 };

/* A message with one attribute of at most 8 bytes. */
struct message {
	struct nlmsghdr head;
	struct nfgenmsg family;
	struct nlattr attribute;
	unsigned char value[8];
};

static uint16_t queue_num;

static struct message message(int type, int flags, int attribute, const void *value, size_t bytes)
{
	struct message made = {
		.head = { .nlmsg_type = (uint16_t)(NFNL_SUBSYS_QUEUE << 8 | type),
			  .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags) },
		.family = { .nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = htons(queue_num) },
		.attribute = { .nla_type = (uint16_t)attribute, .nla_len = (uint16_t)(ATTRIBUTE_BYTES + bytes) },
	};

	memcpy(made.value, value, bytes);
	made.head.nlmsg_len = NLMSG_ALIGN((uint32_t)(offsetof(struct message, value) + bytes));
	return made;
}

/* Sends a setting and waits until the kernel has taken it. */
static void configure(int sock, int attribute, const void *value, size_t bytes)
{
	const struct message asked = message(NFQNL_MSG_CONFIG, NLM_F_ACK, attribute, value, bytes);
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		unsigned char rest[ROOM];
	} told;

	if (send(sock, &asked, asked.head.nlmsg_len, 0) < 0 || recv(sock, &told, sizeof(told), 0) < 0) {
		perror("bench_accept");
		exit(EXIT_FAILURE);
	}
	if (told.head.nlmsg_type != NLMSG_ERROR || told.error.error) {
		fprintf(stderr, "bench_accept: queue %u: %s\n", queue_num, strerror(-told.error.error));
		exit(EXIT_FAILURE);
	}
}

static void accept_packet(int sock, const struct nlmsghdr *head)
{
	const unsigned char *at = (const unsigned char *)head + NLMSG_SPACE(sizeof(struct nfgenmsg));
	const unsigned char *end = (const unsigned char *)head + head->nlmsg_len;

	while (at + ATTRIBUTE_BYTES <= end) {
		struct nlattr attribute;

		memcpy(&attribute, at, sizeof(attribute));
		if ((attribute.nla_type & NLA_TYPE_MASK) == NFQA_PACKET_HDR) {
			struct nfqnl_msg_packet_hdr packet;
			struct nfqnl_msg_verdict_hdr verdict = { .verdict = htonl(NF_ACCEPT) };

			memcpy(&packet, at + ATTRIBUTE_BYTES, sizeof(packet));
			verdict.id = packet.packet_id;
			const struct message said = message(NFQNL_MSG_VERDICT, 0, NFQA_VERDICT_HDR,
							    &verdict, sizeof(verdict));
			send(sock, &said, said.head.nlmsg_len, 0);
			return;
		}
		at += NLA_ALIGN(attribute.nla_len);
	}
}

int main(int argc, char **argv)
{
	static unsigned char buffer[ROOM] __attribute__((aligned(NLMSG_ALIGNTO)));
	const struct nfqnl_msg_config_cmd bind_it = { .command = NFQNL_CFG_CMD_BIND };
	const struct nfqnl_msg_config_params no_copy = { .copy_mode = NFQNL_COPY_META };
	const uint32_t length = htonl(QUEUE_LENGTH);
	const int bytes = SOCKET_BYTES;
	int sock;

	if (argc != 2) {
		fputs("usage: bench_accept QUEUE\n", stderr);
		return EXIT_USAGE;
	}
	queue_num = (uint16_t)atoi(argv[1]);
	sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (sock < 0) {
		perror("bench_accept");
		return EXIT_FAILURE;
	}
	setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	configure(sock, NFQA_CFG_CMD, &bind_it, sizeof(bind_it));
	configure(sock, NFQA_CFG_PARAMS, &no_copy, sizeof(no_copy));
	configure(sock, NFQA_CFG_QUEUE_MAXLEN, &length, sizeof(length));
	puts("ready");
	fflush(stdout);
	for (;;) {
		const ssize_t count = recv(sock, buffer, sizeof(buffer), 0);
		size_t left = count < 0 ? 0 : (size_t)count;

		if (count < 0 && errno != ENOBUFS && errno != EINTR) {
			perror("bench_accept");
			return EXIT_FAILURE;
		}
		for (const struct nlmsghdr *head = (const void *)buffer; NLMSG_OK(head, left);
		     head = NLMSG_NEXT(head, left))
			accept_packet(sock, head);
	}
}
