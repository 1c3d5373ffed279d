/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What happens in the hooks of `cgroup` mode. All return ALLOW: refusing is the packet path's business. */
#ifndef NFSNITCH_HOOKS_H
#define NFSNITCH_HOOKS_H

enum { ALLOW = 1 };

/* Of the kernel's own sockets no owner is kept: they are released without a hook being run. */
static __always_inline int socket_used(struct sock *sk, __u64 cookie)
{
	struct sock *held = held_by_program(sk);

	if (held != sk)
		cookie = present_cookie(held);
	if (cookie && !is_kernels(held))
		record_owner(cookie, OWNER_USED | (shares_port(sk) ? OWNER_SHARES_PORT : 0));
	return ALLOW;
}

static __always_inline int socket_created(struct sock *sk, __u64 cookie)
{
	__u32 flags = OWNER_OPENED;

	if (is_raw(sk))
		count_raw_socket(sk, cookie, 1);
	if (is_raw(sk) || !has_send_hooks(sk))
		flags |= OWNER_USED; /* it may send without any further hook being run */
	record_owner(cookie, flags);
	return ALLOW;
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

/* Writes down whose a TCP connection is. */
static __always_inline void claim_connection(struct sock *sk, __u64 cookie)
{
	if (held_by_program(sk) != sk)
		cookie = present_cookie(held_by_program(sk));
	remember_flow(sk, cookie);
	remember_port(sk, cookie); /* where netfilter changes the destination, the tuple leads nowhere */
}

/* Whether that is done later, and only if a packet of it is about to be queued. Questions of DNS may be
 * queued without anybody being asked (nft/questions-judge.nft). */
static __always_inline bool is_claimed_later(struct bpf_sock_ops *ctx)
{
	__u32 zero = 0;
	struct verdict_settings *settings = bpf_map_lookup_elem(&verdict_config, &zero);

	return settings && settings->claims && ctx->remote_port != bpf_htonl(DNS_PORT);
}

static __always_inline int tcp_connecting(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *typed = ctx->sk;

	if (typed && !is_claimed_later(ctx))
		claim_connection(plain_address(typed), bpf_get_socket_cookie(ctx));
	return ALLOW;
}

/* On a stack of its own. */
static __noinline int claim_queued(__u64 address, __u64 cookie)
{
	struct sock *sk = (void *)address;
	__u8 state = sk ? BPF_CORE_READ(sk, __sk_common.skc_state) : TCP_TIME_WAIT;

	if (state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV || state == TCP_LISTEN)
		return 0;
	if (cookie && is_tcp(sk) && !is_raw(sk))
		claim_connection(sk, cookie);
	return 0;
}

/*
 * The socket is still hashed here and sock_diag still finds it; after this it does not. So whoever
 * looks there in vain finds here what is written now. TCP has had its tuple since it connected, or since
 * a packet of it was about to be queued.
 */
static __always_inline int socket_released(struct sock *sk, __u64 cookie)
{
	struct owner *owner = bpf_map_lookup_elem(&owners, &cookie);
	bool tcp = is_tcp(sk);

	if (owner && is_raw(sk))
		count_raw_socket(sk, cookie, -1);
	if (owner && !(owner->flags & OWNER_USED)) { /* it has sent nothing: nobody will ask */
		bpf_map_delete_elem(&owners, &cookie);
		return ALLOW;
	}
	if (owner)
		owner->released_ns = bpf_ktime_get_ns();
	if (owner && !tcp && !is_raw(sk)) {
		if (BPF_CORE_READ(sk, __sk_common.skc_dport))
			remember_flow(sk, cookie);
		remember_port(sk, cookie);
	}
	/* Also of sockets older than these programs: their flows may be trusted, but for TCP's. */
	if (owner || !tcp)
		announce_release(cookie, !tcp);
	return ALLOW;
}

#endif
