/* one_datagram [--connect] [--sport PORT] ADDR PORT: one UDP datagram, then exit at once.
 *
 * Without --connect the socket is never connected: sendto() carries the address, and the kernel
 * picks the source port on the way. With it: connect(), then send(). Reports on descriptor 3 (see
 * report.h). Exit status: 0 sent, 1 not (why is on standard error), 2 wrong usage.
 */
#include "report.h"

static const char PAYLOAD[] = "nfsnitch";

static int send_one(int sock, const struct target *target, int connected)
{
	const struct sockaddr *address = (const struct sockaddr *)&target->address;

	if (!connected)
		return sendto(sock, PAYLOAD, sizeof(PAYLOAD), 0, address, target->size) >= 0;
	return connect(sock, address, target->size) == 0 &&
	       send(sock, PAYLOAD, sizeof(PAYLOAD), 0) >= 0;
}

int main(int argc, char **argv)
{
	const char *sport = NULL;
	struct target target;
	int sock, sent, connected = 0;

	for (; argc > 3 && argv[1][0] == '-'; argv++, argc--) {
		if (strcmp(argv[1], "--connect") == 0) {
			connected = 1;
		} else if (strcmp(argv[1], "--sport") == 0) {
			sport = argv[2];
			argv++;
			argc--;
		} else {
			break;
		}
	}
	if (argc != 3 || !target_parse(&target, argv[1], argv[2])) {
		fputs("usage: one_datagram [--connect] [--sport PORT] ADDR PORT\n", stderr);
		return EXIT_USAGE;
	}
	sock = socket(target.address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock < 0 || (sport && !bind_port(sock, target.address.ss_family, sport))) {
		perror("one_datagram: socket");
		return EXIT_FAILURE;
	}
	sent = send_one(sock, &target, connected);
	if (!sent)
		perror("one_datagram: send");
	if (!report(sock)) {
		perror("one_datagram: report on descriptor 3");
		return EXIT_FAILURE;
	}
	return sent ? EXIT_SUCCESS : EXIT_FAILURE;
}
