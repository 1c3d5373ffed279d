/* one_datagram [OPTIONS] ADDR PORT: one UDP datagram, then exit at once.
 *
 * Without --connect the socket is never connected: sendto() carries the address, and the kernel
 * picks the source port on the way. With it: connect(), then send(). The other options, and the report
 * on descriptor 3: see report.h. Exit status: 0 sent, 1 not (why is on standard error), 2 wrong usage.
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
	const char *self = *argv++;
	struct target target;
	struct life life;
	int sock, sent;

	if (argc < 3 || !life_parse(&life, &argv) || !argv[0] || !argv[1] || argv[2] ||
	    !target_parse(&target, argv[0], argv[1])) {
		fputs("usage: one_datagram [OPTIONS] ADDR PORT\n", stderr);
		return EXIT_USAGE;
	}
	sock = life_lead(&life, self, target.address.ss_family, SOCK_DGRAM);
	if (sock < 0) {
		perror("one_datagram: socket");
		return EXIT_FAILURE;
	}
	sent = send_one(sock, &target, life.connected);
	if (!sent)
		perror("one_datagram: send");
	if (!report(sock)) {
		perror("one_datagram: report on descriptor 3");
		return EXIT_FAILURE;
	}
	return sent ? EXIT_SUCCESS : EXIT_FAILURE;
}
