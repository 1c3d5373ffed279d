/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a socket says of itself, and the maps that lead from a packet to it. */
#ifndef NFSNITCH_SOCKET_H
#define NFSNITCH_SOCKET_H

/*
 * The address of a kernel object that the verifier gave a type which forbids arithmetic (a context,
 * a socket), as a plain number for bpf_probe_read_kernel: by way of the stack.
 */
static __always_inline void *plain_address(void *typed)
{
	void *volatile slot = typed;
	void *address = NULL;

	bpf_probe_read_kernel(&address, sizeof(address), (void *)&slot);
	return address;
}

static __always_inline __u64 netns_cookie_of(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_net.net, net_cookie);
}

static __always_inline void put_ipv4(__u8 *field, __u32 address_be)
{
	__builtin_memcpy(field, &address_be, sizeof(address_be));
}

/* Whether an IPv6 address stands for an IPv4 one (::ffff:0:0/96, RFC 4291 2.5.5.2). */
static __always_inline bool is_mapped(const struct in6_addr *address)
{
	return !address->in6_u.u6_addr32[0] && !address->in6_u.u6_addr32[1] &&
	       address->in6_u.u6_addr32[2] == bpf_htonl(0xffff);
}

/* Sets *key to the tuple of a connected socket; an IPv6 socket may well be talking IPv4. */
static __always_inline void make_flow_key(struct flow_key *key, struct sock *sk)
{
	struct in6_addr daddr;

	key->netns_cookie = netns_cookie_of(sk);
	key->sport = BPF_CORE_READ(sk, __sk_common.skc_num);
	key->dport = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	key->proto = BPF_CORE_READ(sk, sk_protocol);
	key->family = 4;
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET6) {
		BPF_CORE_READ_INTO(&daddr, sk, __sk_common.skc_v6_daddr);
		if (!is_mapped(&daddr)) {
			key->family = 6;
			BPF_CORE_READ_INTO(&key->daddr_be, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
			BPF_CORE_READ_INTO(&key->saddr_be, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
			return;
		}
	}
	put_ipv4(key->daddr_be, BPF_CORE_READ(sk, __sk_common.skc_daddr));
	put_ipv4(key->saddr_be, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
}

/* Writes down that the owner of an entry is here again. Returns whether the entry is still its own. */
static __always_inline bool renew_claim(void *map, const void *key, struct flow_value *present,
					__u64 now_ns)
{
	__u64 cookie = present->cookie;

	/* All memory is in order before the second look: who has taken over meanwhile either sees this
	 * time or is seen here. */
	__sync_lock_test_and_set(&present->last_ns, now_ns);
	present = bpf_map_lookup_elem(map, key);
	return present && present->cookie == cookie;
}

/* Writes tuple -> cookie, and keeps whose the tuple was before. `value` begins an entry of `map`, with
 * the new cookie; the rest of the claim is filled in here. */
static __always_inline void claim_tuple(void *map, const void *key, struct flow_value *value)
{
	struct flow_value *present = bpf_map_lookup_elem(map, key), *before = NULL;

	value->since_ns = bpf_ktime_get_ns();
	if (present && present->cookie == value->cookie) {
		if (renew_claim(map, key, present, value->since_ns))
			return;
		present = bpf_map_lookup_elem(map, key);
	}
	if (present) {
		value->previous[0] = present->cookie;
		for (int i = 1; i < MAX_PREVIOUS; i++)
			value->previous[i] = present->previous[i - 1];
		value->previous_ns = present->last_ns;
		before = present;
	}
	value->last_ns = value->since_ns;
	bpf_map_update_elem(map, key, value, BPF_ANY);
	/* The one before may have come once more while this took over. Its entry may be another tuple's
	 * by now: then the time is too late, which makes rivals of the two at worst. */
	if (!before || before->last_ns <= value->previous_ns)
		return;
	present = bpf_map_lookup_elem(map, key);
	if (present && present->cookie == value->cookie)
		present->previous_ns = before->last_ns;
}

/* On a stack of its own, so that there is room for that of record_owner, which comes after it. */
static __noinline int claim_flow(const struct flow_key *key, __u64 cookie)
{
	struct flow_value value = { .cookie = cookie };

	claim_tuple(&flows, key, &value);
	return 0;
}

/* The same for a connected socket, which knows its tuple itself. */
static __always_inline void remember_flow(struct sock *sk, __u64 cookie)
{
	struct flow_key key = {};

	make_flow_key(&key, sk);
	claim_flow(&key, cookie);
}

static __always_inline bool shares_port(struct sock *sk)
{
	struct sock_common *common = (void *)sk + bpf_core_field_offset(struct sock, __sk_common);

	return BPF_CORE_READ_BITFIELD_PROBED(common, skc_reuse) ||
	       BPF_CORE_READ_BITFIELD_PROBED(common, skc_reuseport);
}

/* Whether another socket answers to this key and is still open. */
static __always_inline bool is_shared(const struct port_value *present)
{
	struct owner *owner;
	__u64 other;

	if (!present)
		return false;
	other = present->cookie;
	owner = bpf_map_lookup_elem(&owners, &other);
	return owner && !owner->released_ns;
}

/* Writes local port -> cookie. */
static __always_inline void remember_port(struct sock *sk, __u64 cookie)
{
	struct port_key key = {
		.netns_cookie = netns_cookie_of(sk),
		.sport = BPF_CORE_READ(sk, __sk_common.skc_num),
		.proto = BPF_CORE_READ(sk, sk_protocol),
	};
	struct port_value value = { .cookie = cookie };
	struct port_value *present = bpf_map_lookup_elem(&ports, &key);

	if (present && present->cookie == cookie)
		return; /* as it is with each datagram but the first */
	value.shared = is_shared(present);
	bpf_map_update_elem(&ports, &key, &value, BPF_ANY);
}

static __always_inline bool is_raw(struct sock *sk)
{
	return BPF_CORE_READ(sk, sk_type) == SOCK_RAW;
}

static __always_inline bool is_tcp(struct sock *sk)
{
	__u16 proto = BPF_CORE_READ(sk, sk_protocol);

	return proto == IPPROTO_TCP || proto == IPPROTO_MPTCP;
}

/* Whether a cgroup's hooks are run when such a socket connects or sends: not for ping, SCTP and others. */
static __always_inline bool has_send_hooks(struct sock *sk)
{
	__u16 proto = BPF_CORE_READ(sk, sk_protocol);

	return is_tcp(sk) || proto == IPPROTO_UDP || proto == IPPROTO_UDPLITE;
}

/* The cookie that a socket has got already; 0: nobody has asked for it yet, so it has none. */
static __always_inline __u64 present_cookie(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
}

/* Whether the kernel made the socket for itself; nothing of it stands in any file descriptor. */
static __always_inline bool is_kernels(struct sock *sk)
{
	return BPF_CORE_READ_BITFIELD_PROBED(sk, sk_kern_sock);
}

/*
 * The socket that a program has in its hands: with multipath TCP, the kernel makes a TCP socket of its
 * own for each path; all others are that socket themselves.
 */
static __always_inline struct sock *held_by_program(struct sock *sk)
{
	struct sock *held;

	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP || is_raw(sk))
		return sk;
	held = mptcp_connection_of(sk);
	return held ? held : sk;
}

/* Counts one raw socket more (change 1) or less (-1) of its protocol. */
static __always_inline void count_raw_socket(struct sock *sk, __u64 cookie, __s64 change)
{
	struct raw_key key = {
		.netns_cookie = netns_cookie_of(sk),
		.proto = BPF_CORE_READ(sk, sk_protocol),
	};
	struct raw_value first = {};
	struct raw_value *value;

	bpf_map_update_elem(&raw_sockets, &key, &first, BPF_NOEXIST);
	value = bpf_map_lookup_elem(&raw_sockets, &key);
	if (!value)
		return; /* full: user space looks in /proc */
	if (change > 0)
		value->cookie = cookie;
	else
		value->closed_ns = bpf_ktime_get_ns();
	__sync_fetch_and_add(&value->open, change);
}

#endif
