/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What programs ask the C library: a name goes into the function, addresses come out of it, wherever they
 * are from (a file, DNS, a resolver behind a socket). Read in the program's own context, before it goes on.
 *
 * The structures are those of netdb.h with pointers of 64 bits: a library of 32 bits is another file.
 */
#ifndef NFSNITCH_LIBC_H
#define NFSNITCH_LIBC_H

enum {
	MAX_RESULTS = 64, /* entries of a list that are looked at; each address may have three of them */
	LIBC_PF_INET = 2,
	LIBC_PF_INET6 = 10,
};

struct libc_addrinfo {
	__s32 flags, family, socktype, protocol;
	__u32 addrlen;
	__u32 padding;
	__u64 addr; /* of a struct sockaddr */
	__u64 canonname;
	__u64 next;
};

struct libc_hostent {
	__u64 name;
	__u64 aliases;
	__s32 addrtype;
	__s32 length;
	__u64 addresses; /* of a list of pointers, which ends with NULL */
};

/* As long as either kind of address may be in a struct sockaddr. */
struct libc_sockaddr {
	__u16 family;
	__u16 port_be;
	__u8 ipv4_be[4]; /* of IPv6: the flow */
	__u8 ipv6_be[16];
};

/* Not all versions of libbpf's headers know the sixth argument of a function. */
#if defined(PT_REGS_PARM6)
#define SIXTH_ARGUMENT(ctx) PT_REGS_PARM6(ctx)
#elif defined(__TARGET_ARCH_x86)
#define SIXTH_ARGUMENT(ctx) ((ctx)->r9)
#elif defined(__TARGET_ARCH_arm64)
#define SIXTH_ARGUMENT(ctx) (((const volatile struct user_pt_regs *)(ctx))->regs[5])
#else
#define SIXTH_ARGUMENT(ctx) 0
#endif

static __always_inline int libc_asked(__u32 kind, const void *name, const void *result)
{
	struct libc_call_key key = { .thread = bpf_get_current_pid_tgid(), .kind = kind };
	struct libc_call call = { .result = (__u64)result };

	long bytes;

	if (!name || !result) /* getaddrinfo without a name: of this machine */
		return DONE;
	bytes = bpf_probe_read_user_str(call.name, sizeof(call.name), name);
	if (bytes > 1 && bytes < (long)sizeof(call.name)) /* what fills it may have been longer */
		bpf_map_update_elem(&libc_calls, &key, &call, BPF_ANY);
	return DONE;
}

/* Adds an address; false if there is no room for more. The same one comes several times in a row, once for
 * each type of socket. */
static __always_inline bool add_address(struct libc_sample *sample, const __u8 *address_be, __u8 family)
{
	__u32 at = sample->addresses;
	const __u64 *fresh = (const void *)address_be, *last;

	if (at >= LIBC_ADDRESSES)
		return false;
	if (at) {
		last = (const void *)sample->address_be[(at - 1) & (LIBC_ADDRESSES - 1)];
		if (sample->family[(at - 1) & (LIBC_ADDRESSES - 1)] == family &&
		    last[0] == fresh[0] && last[1] == fresh[1])
			return true;
	}
	at &= LIBC_ADDRESSES - 1;
	sample->family[at] = family;
	__builtin_memcpy(sample->address_be[at], address_be, 16);
	sample->addresses++;
	return true;
}

/* Reads the entry of a list at `where`; returns where the next one is, 0: there is none. */
static __always_inline __u64 take_addrinfo(struct libc_sample *sample, __u64 where)
{
	__u64 address[2] = {};
	struct libc_addrinfo entry;
	struct libc_sockaddr from;

	if (bpf_probe_read_user(&entry, sizeof(entry), (void *)where))
		return 0;
	if (entry.family == LIBC_PF_INET) {
		if (bpf_probe_read_user(&from, 8, (void *)entry.addr))
			return 0;
		__builtin_memcpy(address, from.ipv4_be, 4);
	} else if (entry.family == LIBC_PF_INET6) {
		if (bpf_probe_read_user(&from, sizeof(from), (void *)entry.addr))
			return 0;
		__builtin_memcpy(address, from.ipv6_be, 16);
	} else {
		return entry.next;
	}
	if (!add_address(sample, (void *)address, entry.family == LIBC_PF_INET ? 4 : 6))
		return 0;
	return entry.next;
}

static __always_inline void take_list(struct libc_sample *sample, __u64 result)
{
	__u64 where = 0;

	bpf_probe_read_user(&where, sizeof(where), (void *)result);
	for (int i = 0; i < MAX_RESULTS && where; i++)
		where = take_addrinfo(sample, where);
}

static __always_inline void take_host(struct libc_sample *sample, __u64 result)
{
	struct libc_hostent host;
	__u64 where = 0;

	bpf_probe_read_user(&where, sizeof(where), (void *)result);
	if (!where || bpf_probe_read_user(&host, sizeof(host), (void *)where))
		return;
	if (host.addrtype != LIBC_PF_INET && host.addrtype != LIBC_PF_INET6)
		return;
	for (int i = 0; i < LIBC_ADDRESSES; i++) {
		__u64 from = 0, address[2] = {};

		bpf_probe_read_user(&from, sizeof(from), (void *)(host.addresses + 8 * i));
		if (!from)
			return;
		if (host.addrtype == LIBC_PF_INET ? bpf_probe_read_user(address, 4, (void *)from) :
						    bpf_probe_read_user(address, 16, (void *)from))
			return;
		add_address(sample, (void *)address, host.addrtype == LIBC_PF_INET ? 4 : 6);
	}
}

/* The function returns `status`: 0 if it has found something. */
static __always_inline int libc_answers(__u32 kind, int status)
{
	struct libc_call_key key = { .thread = bpf_get_current_pid_tgid(), .kind = kind };
	struct libc_call *call = bpf_map_lookup_elem(&libc_calls, &key);
	struct libc_sample *sample;
	struct owner asker = {};
	__u64 result;

	if (!call)
		return DONE;
	result = call->result;
	if (status) {
		bpf_map_delete_elem(&libc_calls, &key);
		return DONE;
	}
	describe_current(&asker);
	asker.opener = asker.image;
	sample = bpf_ringbuf_reserve(&names, sizeof(*sample), 0);
	if (!sample) {
		bpf_map_delete_elem(&libc_calls, &key);
		count(COUNT_NAMES_LOST);
		return DONE;
	}
	sample->kind = NAME_LIBC;
	sample->addresses = 0;
	sample->seen_ns = bpf_ktime_get_ns();
	sample->asker = asker;
	__builtin_memcpy(sample->name, call->name, sizeof(sample->name));
	if (kind == LIBC_LIST)
		take_list(sample, result);
	else
		take_host(sample, result);
	/* Where more threads wait than there is room for, the entry may have become another's. */
	if (sample->addresses && bpf_map_lookup_elem(&libc_calls, &key) == call)
		bpf_ringbuf_submit(sample, names_wakeup());
	else
		bpf_ringbuf_discard(sample, BPF_RB_NO_WAKEUP);
	bpf_map_delete_elem(&libc_calls, &key);
	return DONE;
}

#endif
