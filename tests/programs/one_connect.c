/* one_connect [--sport PORT] ADDR PORT: one TCP connection, then exit at once.
 *
 * Reports on descriptor 3 (see report.h) also when the connection was refused. Exit status: 0
 * connected, 1 not (why is on standard error), 2 wrong usage.
 */
#include "report.h"

int main(int argc, char **argv)
{
	const char *sport = NULL;
	struct target target;
	int sock, connected;

	if (argc == 5 && strcmp(argv[1], "--sport") == 0) {
		sport = argv[2];
		argv += 2;
		argc -= 2;
	}
	if (argc != 3 || !target_parse(&target, argv[1], argv[2])) {
		fputs("usage: one_connect [--sport PORT] ADDR PORT\n", stderr);
		return EXIT_USAGE;
	}
	sock = socket(target.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock < 0 || (sport && !bind_port(sock, target.address.ss_family, sport))) {
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
