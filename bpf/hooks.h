/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What happens in each hook. All return ALLOW: refusing is the packet path's business. */
#ifndef NFSNITCH_HOOKS_H
#define NFSNITCH_HOOKS_H

enum { ALLOW = 1 };

/* Makes the current process the owner of a socket. `flags` are of enum owner_flag. */
static __noinline int record_owner(__u64 cookie, __u32 flags)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct owner *present = bpf_map_lookup_elem(&owners, &cookie);
	struct owner owner = {};

	owner.created_ns = present ? present->created_ns : bpf_ktime_get_ns();
	remember_image(&owner.image, task);
	owner.flags = flags;
	owner.tid = BPF_CORE_READ(task, pid);
	owner.uid = BPF_CORE_READ(task, cred, fsuid.val);
	owner.gid = BPF_CORE_READ(task, cred, fsgid.val);
	owner.netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	BPF_CORE_READ_STR_INTO(&owner.comm, task, comm);
	if (bpf_map_update_elem(&owners, &cookie, &owner, BPF_ANY))
		count(COUNT_OWNERS_FULL);
	return ALLOW;
}

static __always_inline int socket_used(struct sock *sk, __u64 cookie)
{
	return record_owner(cookie, OWNER_USED | (shares_port(sk) ? OWNER_SHARES_PORT : 0));
}

static __always_inline int socket_created(struct sock *sk, __u64 cookie)
{
	if (!is_raw(sk))
		return record_owner(cookie, 0);
	count_raw_socket(sk, cookie, 1);
	return record_owner(cookie, OWNER_USED); /* it may send without any further hook being run */
}

/* Sets what every datagram's key has; the source address is zero where routing will choose it. */
static __always_inline void start_datagram_key(struct flow_key *key, struct bpf_sock_addr *ctx,
					       struct sock *sk)
{
	key->netns_cookie = netns_cookie_of(sk);
	key->sport = BPF_CORE_READ(sk, __sk_common.skc_num);
	key->dport = bpf_ntohs(ctx->user_port);
	key->proto = ctx->protocol;
}

static __always_inline int datagram_sent(struct sock *sk, struct flow_key *key, __u64 cookie)
{
	claim_flow(key, cookie);
	remember_port(sk, cookie);
	return socket_used(sk, cookie);
}

static __always_inline int datagram4_sent(struct bpf_sock_addr *ctx, __u64 cookie)
{
	struct sock *sk = plain_address(ctx->sk);
	struct flow_key key = { .family = 4 };

	start_datagram_key(&key, ctx, sk);
	put_ipv4(key.saddr_be, ctx->msg_src_ip4);
	put_ipv4(key.daddr_be, ctx->user_ip4);
	return datagram_sent(sk, &key, cookie);
}

static __always_inline int datagram6_sent(struct bpf_sock_addr *ctx, __u64 cookie)
{
	struct sock *sk = plain_address(ctx->sk);
	struct flow_key key = { .family = 6 };
	__u32 saddr_be[4], daddr_be[4];

	start_datagram_key(&key, ctx, sk);
	for (int i = 0; i < 4; i++) { /* the verifier takes these one word at a time */
		saddr_be[i] = ctx->msg_src_ip6[i];
		daddr_be[i] = ctx->user_ip6[i];
	}
	__builtin_memcpy(key.saddr_be, saddr_be, sizeof(saddr_be));
	__builtin_memcpy(key.daddr_be, daddr_be, sizeof(daddr_be));
	return datagram_sent(sk, &key, cookie);
}

/* TCP and sockets that have no port yet write their tuple later; a datagram socket that is bound already
 * has it now, and may never come by here again. */
static __always_inline bool has_datagram_tuple(struct bpf_sock_addr *ctx, struct sock *sk)
{
	return ctx->protocol != IPPROTO_TCP && BPF_CORE_READ(sk, __sk_common.skc_num);
}

static __always_inline int socket_connecting4(struct bpf_sock_addr *ctx, __u64 cookie)
{
	struct sock *sk = plain_address(ctx->sk);
	struct flow_key key = { .family = 4 };

	if (!has_datagram_tuple(ctx, sk))
		return socket_used(sk, cookie);
	start_datagram_key(&key, ctx, sk);
	put_ipv4(key.daddr_be, ctx->user_ip4);
	return datagram_sent(sk, &key, cookie);
}

static __always_inline int socket_connecting6(struct bpf_sock_addr *ctx, __u64 cookie)
{
	struct sock *sk = plain_address(ctx->sk);
	struct flow_key key = { .family = 6 };
	__u32 daddr_be[4];

	if (!has_datagram_tuple(ctx, sk))
		return socket_used(sk, cookie);
	start_datagram_key(&key, ctx, sk);
	for (int i = 0; i < 4; i++)
		daddr_be[i] = ctx->user_ip6[i];
	__builtin_memcpy(key.daddr_be, daddr_be, sizeof(daddr_be));
	return datagram_sent(sk, &key, cookie);
}

static __always_inline int tcp_connecting(struct bpf_sock_ops *ctx, __u64 cookie)
{
	struct bpf_sock *typed = ctx->sk;
	struct sock *sk;

	if (!typed)
		return ALLOW;
	sk = plain_address(typed);
	remember_flow(sk, cookie);
	remember_port(sk, cookie); /* where netfilter changes the destination, the tuple leads nowhere */
	return ALLOW;
}

/*
 * Tells user space to remove the owner; if it does not listen, removes it here and now. User space
 * looks once a second by itself, so it is woken only when the ring fills up faster than that, or
 * when it may have to take back its trust in the socket's flows.
 */
static __always_inline void announce_release(__u64 cookie, bool at_once)
{
	struct release release = { .cookie = cookie };
	bool filling = bpf_ringbuf_query(&releases, BPF_RB_AVAIL_DATA) > RELEASES_BYTES / 4;
	__u64 wakeup = at_once || filling ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;

	if (bpf_ringbuf_output(&releases, &release, sizeof(release), wakeup)) {
		bpf_map_delete_elem(&owners, &cookie);
		count(COUNT_RELEASES_LOST);
	}
}

/*
 * The socket is still hashed here and sock_diag still finds it; after this it does not. So whoever
 * looks there in vain finds here what is written now. TCP has had its tuple since it connected.
 */
static __always_inline int socket_released(struct sock *sk, __u64 cookie)
{
	struct owner *owner = bpf_map_lookup_elem(&owners, &cookie);
	bool is_tcp = BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP;

	if (owner && is_raw(sk))
		count_raw_socket(sk, cookie, -1);
	if (owner && !(owner->flags & OWNER_USED)) { /* it has sent nothing: nobody will ask */
		bpf_map_delete_elem(&owners, &cookie);
		return ALLOW;
	}
	if (owner)
		owner->released_ns = bpf_ktime_get_ns();
	if (owner && !is_tcp && !is_raw(sk)) {
		if (BPF_CORE_READ(sk, __sk_common.skc_dport))
			remember_flow(sk, cookie);
		remember_port(sk, cookie);
	}
	/* Also of sockets older than these programs: their flows may be trusted, but for TCP's. */
	if (owner || !is_tcp)
		announce_release(cookie, !is_tcp);
	return ALLOW;
}

#endif
