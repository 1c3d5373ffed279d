/* What a sender says of itself: one line on standard output for each packet or connection.
 *
 * "DADDR PID TID DEVICE INODE EXE\n": EXE as /proc/self/exe has it, and device and inode of that file. The
 * line is shorter than PIPE_BUF and written at once, so lines of several processes never mix. The pid
 * is the one in the namespace that /proc was mounted in; where there is no /proc, it is getpid()'s, and
 * the file is the one that argv[0] names.
 */
#ifndef NFSNITCH_TRUTH_H
#define NFSNITCH_TRUTH_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, EXIT_CANNOT = 77, EXE_BYTES = 2048 };

struct target {
	struct sockaddr_storage address;
	socklen_t size;
};

static const char *own_name = "";

/* The address `number` places behind `address` (of either family), with `port`. Returns 0 on failure. */
static inline int target_of(struct target *target, const char *address, unsigned int port,
			    unsigned int number)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&target->address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&target->address;

	memset(target, 0, sizeof(*target));
	if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		v4->sin_addr.s_addr = htonl(ntohl(v4->sin_addr.s_addr) + number);
		target->size = sizeof(*v4);
		return 1;
	}
	if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		v6->sin6_addr.s6_addr[15] = (uint8_t)(v6->sin6_addr.s6_addr[15] + number);
		target->size = sizeof(*v6);
		return 1;
	}
	return 0;
}

static inline const char *target_text(const struct target *target, char *text, socklen_t size)
{
	if (target->address.ss_family == AF_INET)
		return inet_ntop(AF_INET, &((const struct sockaddr_in *)&target->address)->sin_addr, text,
				 size);
	return inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&target->address)->sin6_addr, text, size);
}

/* Writes the line of truth. Returns 0 on failure. */
static inline int tell(const struct target *target)
{
	char daddr[INET6_ADDRSTRLEN], pid[32] = "", exe[EXE_BYTES] = "", line[EXE_BYTES + 256];
	struct stat file;
	int length;

	if (readlink("/proc/self", pid, sizeof(pid) - 1) < 0)
		snprintf(pid, sizeof(pid), "%ld", (long)getpid());
	if (readlink("/proc/self/exe", exe, sizeof(exe) - 1) < 0)
		snprintf(exe, sizeof(exe), "%s", own_name);
	if (stat("/proc/self/exe", &file) < 0 && stat(own_name, &file) < 0)
		return 0;
	length = snprintf(line, sizeof(line), "%s %s %ld %lu %lu %s\n",
			  target_text(target, daddr, sizeof(daddr)), pid, syscall(SYS_gettid),
			  (unsigned long)file.st_dev, (unsigned long)file.st_ino, exe);
	return write(STDOUT_FILENO, line, (size_t)length) == length;
}

#endif
