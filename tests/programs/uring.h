/* One request of io_uring at a time, by the bare system calls (see io_uring(7), io_uring_enter(2)). */
#ifndef NFSNITCH_URING_H
#define NFSNITCH_URING_H

#include <linux/io_uring.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct uring {
	int fd;
	int polled; /* a kernel thread of this process takes the requests (IORING_SETUP_SQPOLL) */
	struct io_uring_params params;
	uint8_t *sq, *cq;
	struct io_uring_sqe *sqes;
};

static inline uint32_t *uring_word(uint8_t *ring, uint32_t offset)
{
	return (uint32_t *)(void *)(ring + offset);
}

/* Returns 0 on failure, with errno. */
static inline int uring_open(struct uring *ring, int polled)
{
	const int protection = PROT_READ | PROT_WRITE;
	struct io_uring_params *params = &ring->params;
	size_t sq_bytes, cq_bytes;

	memset(ring, 0, sizeof(*ring));
	ring->polled = polled;
	params->flags = polled ? IORING_SETUP_SQPOLL : 0;
	ring->fd = (int)syscall(SYS_io_uring_setup, 4, params);
	if (ring->fd < 0)
		return 0;
	sq_bytes = params->sq_off.array + params->sq_entries * sizeof(uint32_t);
	cq_bytes = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
	ring->sq = mmap(NULL, sq_bytes, protection, MAP_SHARED, ring->fd, IORING_OFF_SQ_RING);
	ring->cq = mmap(NULL, cq_bytes, protection, MAP_SHARED, ring->fd, IORING_OFF_CQ_RING);
	ring->sqes = mmap(NULL, params->sq_entries * sizeof(*ring->sqes), protection, MAP_SHARED,
			  ring->fd, IORING_OFF_SQES);
	return ring->sq != MAP_FAILED && ring->cq != MAP_FAILED && (void *)ring->sqes != MAP_FAILED;
}

/* Runs one request to its end and returns its result: what the system call would, or -errno. */
static inline int uring_run(struct uring *ring, const struct io_uring_sqe *request)
{
	uint32_t *tail = uring_word(ring->sq, ring->params.sq_off.tail);
	uint32_t mask = *uring_word(ring->sq, ring->params.sq_off.ring_mask);
	uint32_t *head = uring_word(ring->cq, ring->params.cq_off.head);
	uint32_t *done = uring_word(ring->cq, ring->params.cq_off.tail);
	uint32_t at = *tail & mask, flags = IORING_ENTER_GETEVENTS;
	const struct io_uring_cqe *results = (const void *)(ring->cq + ring->params.cq_off.cqes);
	int result;

	ring->sqes[at] = *request;
	uring_word(ring->sq, ring->params.sq_off.array)[at] = at;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (ring->polled)
		flags |= IORING_ENTER_SQ_WAKEUP;
	while (__atomic_load_n(done, __ATOMIC_ACQUIRE) == *head) {
		if (syscall(SYS_io_uring_enter, ring->fd, 1, 1, flags, NULL, 0) < 0)
			return -1;
	}
	mask = *uring_word(ring->cq, ring->params.cq_off.ring_mask);
	result = results[*head & mask].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return result;
}

#endif
