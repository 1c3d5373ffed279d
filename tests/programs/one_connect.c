/* one_connect [OPTIONS] ADDR PORT: one TCP connection, then exit at once.
 *
 * The options, and the report on descriptor 3 (also of a connection that was refused): see report.h.
 * Exit status: 0 connected, 1 not (why is on standard error), 2 wrong usage.
 */
#include "report.h"

int main(int argc, char **argv)
{
	const char *self = *argv++;
	struct target target;
	struct life life;
	int sock, connected;

	if (argc < 3 || !life_parse(&life, &argv) || !argv[0] || !argv[1] || argv[2] ||
	    !target_parse(&target, argv[0], argv[1])) {
		fputs("usage: one_connect [OPTIONS] ADDR PORT\n", stderr);
		return EXIT_USAGE;
	}
	sock = life_lead(&life, self, target.address.ss_family, SOCK_STREAM);
	if (sock < 0) {
		perror("one_connect: socket");
		return EXIT_FAILURE;
	}
	connected = connect(sock, (struct sockaddr *)&target.address, target.size) == 0;
	if (!connected)
		perror("one_connect: connect");
	if (!report(sock)) {
		perror("one_connect: report on descriptor 3");
		return EXIT_FAILURE;
	}
	return connected ? EXIT_SUCCESS : EXIT_FAILURE;
}
