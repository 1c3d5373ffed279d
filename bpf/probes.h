/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What happens in the hooks of `lsm` and `kprobe` mode. They see every process of the machine and
 * every network namespace; none of them refuses anything.
 */
#ifndef NFSNITCH_PROBES_H
#define NFSNITCH_PROBES_H

enum { DONE = 0 };

/* The socket behind a file, NULL if it is not of the internet. */
static __always_inline struct sock *inet_sock_of(struct socket *socket)
{
	struct sock *sk = BPF_CORE_READ(socket, sk);
	__u16 family = sk ? BPF_CORE_READ(sk, __sk_common.skc_family) : 0;

	return family == AF_INET || family == AF_INET6 ? sk : NULL;
}

/* The same; and where the verifier knows the type, so that the helper takes it, it gets a cookie. */
static __always_inline struct sock *numbered_inet_sock_of(struct socket *socket)
{
	struct sock *sk = socket->sk;
	__u16 family = sk ? sk->__sk_common.skc_family : 0;

	if (!sk || (family != AF_INET && family != AF_INET6))
		return NULL;
	bpf_get_socket_cookie(sk);
	return plain_address(sk);
}

/* Kernel threads send for nobody, or for a program that cannot be told. io_uring's are a program's. */
static __always_inline bool is_kernel_thread(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, flags) & PF_KTHREAD;
}

static __always_inline int process_has(struct sock *sk, __u32 flags)
{
	__u64 cookie = sk ? present_cookie(sk) : 0;

	if (cookie && !is_kernel_thread())
		record_owner(cookie, flags);
	return DONE;
}

/* A socket was made; the kernel's own are made by whoever happens to cause that. */
static __always_inline int process_makes(struct sock *sk)
{
	return sk && !is_kernels(sk) ? process_has(sk, OWNER_OPENED) : DONE;
}

/*
 * A socket is being connected or sent through. Also a kernel's own one: some of the other families
 * (AF_SMC, AF_RXRPC) send by such, in the context of the process that uses them. Of TCP only the
 * first packet counts, which connect() sends, or sendmsg() with MSG_FASTOPEN.
 */
static __always_inline int process_uses(struct sock *sk)
{
	if (sk && is_tcp(sk) && BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_CLOSE)
		return DONE;
	return process_has(sk, 0);
}

/* For what passes by the hooks that only the system calls of programs run. */
static __always_inline int process_connects_kernels(struct sock *sk)
{
	return sk && is_kernels(sk) && held_by_program(sk) == sk ? process_uses(sk) : DONE;
}

/*
 * The socket is closed: no packet of it can come any more. An owner that no packet was queued of goes
 * at once, the others when user space has seen the queue empty.
 */
static __always_inline int socket_closes(struct sock *sk)
{
	__u64 cookie = sk ? present_cookie(sk) : 0;
	struct owner *owner = cookie ? bpf_map_lookup_elem(&owners, &cookie) : NULL;

	if (owner && !(owner->flags & OWNER_USED))
		bpf_map_delete_elem(&owners, &cookie);
	if (!owner || !(owner->flags & OWNER_USED))
		return DONE;
	owner->released_ns = bpf_ktime_get_ns();
	announce_release(cookie, !is_tcp(sk));
	return DONE;
}

/* Whose packet it is that the socket `sk` sends, or what stands in place of a cookie. */
static __always_inline __u64 sender_of(struct sock *sk, __u8 proto)
{
	__u8 state = sk ? BPF_CORE_READ(sk, __sk_common.skc_state) : TCP_TIME_WAIT;
	struct owner *owner;
	__u64 cookie;

	if (state == TCP_TIME_WAIT) /* what is left of a closed socket: the kernel answers for it */
		return COOKIE_KERNEL;
	if (state == TCP_NEW_SYN_RECV) { /* an answer to a connection request */
		sk = BPF_CORE_READ(sk, __sk_common.skc_listener);
		if (!sk)
			return COOKIE_KERNEL;
	}
	/* The outer packet of a tunnel, or an encrypted one: the program sent what is in it. */
	if (!is_raw(sk) && BPF_CORE_READ(sk, sk_protocol) != proto)
		return COOKIE_KERNEL;
	sk = held_by_program(sk);
	cookie = present_cookie(sk);
	owner = bpf_map_lookup_elem(&owners, &cookie);
	if (owner)
		__sync_fetch_and_or(&owner->flags,
				    OWNER_USED | (shares_port(sk) ? OWNER_SHARES_PORT : 0));
	else if (is_kernels(sk))
		return COOKIE_KERNEL;
	return cookie ? cookie : COOKIE_UNNUMBERED;
}

/*
 * A packet goes into a queue; just after this, the worker sees it. Its sender is who handed it to IP
 * (state->sk), which in a tunnel is not the socket that the inner packet came from (skb->sk).
 */
static __always_inline int packet_queued(struct sk_buff *skb, struct nf_hook_state *state)
{
	struct flow_key key = {};

	if (BPF_CORE_READ(state, hook) != NF_INET_LOCAL_OUT ||
	    !read_tuple(&key, skb, BPF_CORE_READ(state, pf)))
		return DONE;
	key.netns_cookie = BPF_CORE_READ(state, net, net_cookie);
	claim_flow(&key, sender_of(BPF_CORE_READ(state, sk), key.proto));
	return DONE;
}

#endif
