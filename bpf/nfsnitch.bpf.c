// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Records who uses which socket, and which packet is whose. Hooks on sockets run in the context of the
 * process in question, before the first packet exists. One of them can refuse: to open a socket past
 * netfilter (opening.h), where user space has given it a rule that says so.
 *
 * User space switches on the programs of one attach mode (adapters/bpf/modes.py) and loads no others:
 *
 *            who                                  which packet                  until
 *   cgroup   sock_create, connect, sendmsg        sockops (TCP), sendmsg,       sock_release
 *                                                 sock_release
 *   lsm      socket_post_create, socket_connect,  nf_queue                      inet_release
 *            socket_sendmsg, inet_stream_connect
 *   kprobe   sock_create, inet_*_connect,         nf_queue                      inet_release
 *            inet*_sendmsg
 *
 * Sockets past netfilter: lsm socket_create (may refuse) and socket_post_create, kprobe
 * security_socket_post_create; no hook of a cgroup is run for these.
 *
 * What user space has decided already, any mode can answer in the kernel (verdicts.h).
 *
 * If forwarded flows are judged, any mode has egress, which sees each packet that a socket sends.
 */
#ifdef NFSNITCH_BCC
#include "bcc.h"

#include "layout.h"
#else
#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/ptrace.h>

#include <bpf/bpf_helpers.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

#include "layout.h"

#include "kernel.h"
#endif
#include "maps.h"

#include "image.h"
#include "owner.h"
#include "packet.h"
#include "socket.h"

#include "hooks.h"
#include "probes.h"
#include "opening.h"
#include "crossing.h"
#include "verdicts.h"
#include "names.h"
#include "libc.h"

char LICENSE[] SEC("license") = "GPL";

/* cgroup mode; kprobe mode, too, attaches sock_create: only there a new socket can get its cookie. */

SEC("cgroup/sock_create")
int nfsnitch_sock_create(struct bpf_sock *ctx)
{
	return socket_created(plain_address(ctx), bpf_get_socket_cookie(ctx));
}

SEC("cgroup/sock_release")
int nfsnitch_sock_release(struct bpf_sock *ctx)
{
	return socket_released(plain_address(ctx), bpf_get_socket_cookie(ctx));
}

SEC("cgroup/connect4")
int nfsnitch_connect4(struct bpf_sock_addr *ctx)
{
	return socket_connecting4(ctx, bpf_get_socket_cookie(ctx));
}

SEC("cgroup/connect6")
int nfsnitch_connect6(struct bpf_sock_addr *ctx)
{
	return socket_connecting6(ctx, bpf_get_socket_cookie(ctx));
}

SEC("cgroup/sendmsg4")
int nfsnitch_sendmsg4(struct bpf_sock_addr *ctx)
{
	return datagram4_sent(ctx, bpf_get_socket_cookie(ctx));
}

SEC("cgroup/sendmsg6")
int nfsnitch_sendmsg6(struct bpf_sock_addr *ctx)
{
	return datagram6_sent(ctx, bpf_get_socket_cookie(ctx));
}

SEC("sockops")
int nfsnitch_sockops(struct bpf_sock_ops *ctx)
{
	return ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB ? tcp_connecting(ctx) : ALLOW;
}

/* Any mode, for flows that come from other network namespaces. */

SEC("cgroup_skb/egress")
int nfsnitch_egress(struct __sk_buff *ctx)
{
	bpf_get_socket_cookie(ctx); /* who has none yet gets one */
	return packet_leaves(plain_address(ctx));
}

/* Any mode, by iptables' match `bpf`: whether a packet that is to be judged need not be. */

SEC("socket")
int nfsnitch_accepts(struct __sk_buff *ctx)
{
	__u32 verdict = verdict_on(ctx, true);

	if (verdict == VERDICT_NONE)
		about_to_be_queued(ctx);
	return verdict == VERDICT_ACCEPT;
}

SEC("socket")
int nfsnitch_rejects(struct __sk_buff *ctx)
{
	return verdict_on(ctx, false) == VERDICT_REJECT;
}

SEC("socket")
int nfsnitch_drops(struct __sk_buff *ctx)
{
	return verdict_on(ctx, false) == VERDICT_DROP;
}

/* The daemon runs it, once. */
SEC("socket")
int nfsnitch_keeper(struct __sk_buff *ctx)
{
	return keep_verdicts();
}

/* Any mode: DNS on its way out and in. */

SEC("cgroup_skb/egress")
int nfsnitch_names_out(struct __sk_buff *ctx)
{
	return names_pass(ctx, false);
}

SEC("cgroup_skb/ingress")
int nfsnitch_names_in(struct __sk_buff *ctx)
{
	return names_pass(ctx, true);
}

/* lsm mode. Where fentry programs are refused, the two kprobes of the same name stand in for them. */

SEC("lsm/socket_create")
int BPF_PROG(nfsnitch_lsm_open, int family, int type, int protocol, int kern, int refused)
{
	return refused ? refused : refuse_opening(family, type, protocol, kern);
}

SEC("lsm/socket_post_create")
int BPF_PROG(nfsnitch_lsm_opened, struct socket *sock, int family, int type, int protocol, int kern)
{
	return tell_of_opening(family, type, protocol, kern, true);
}

SEC("lsm/socket_post_create")
int BPF_PROG(nfsnitch_lsm_create, struct socket *sock)
{
	return process_makes(numbered_inet_sock_of(sock));
}

SEC("lsm/socket_connect")
int BPF_PROG(nfsnitch_lsm_connect, struct socket *sock)
{
	return process_uses(numbered_inet_sock_of(sock));
}

SEC("lsm/socket_sendmsg")
int BPF_PROG(nfsnitch_lsm_sendmsg, struct socket *sock)
{
	return process_uses(numbered_inet_sock_of(sock));
}

SEC("fentry/inet_stream_connect")
int BPF_PROG(nfsnitch_fentry_connect, struct socket *sock)
{
	return process_connects_kernels(numbered_inet_sock_of(sock));
}

SEC("fentry/inet_release")
int BPF_PROG(nfsnitch_fentry_release, struct socket *sock)
{
	return socket_closes(numbered_inet_sock_of(sock));
}

SEC("fentry/nf_queue")
int BPF_PROG(nfsnitch_fentry_queue, struct sk_buff *skb, struct nf_hook_state *state)
{
	if (state->sk)
		bpf_get_socket_cookie(state->sk);
	return packet_queued(plain_address(skb), plain_address(state));
}

/* kprobe mode. The first is attached to each function that connects, and each that sends. */

SEC("kprobe")
int BPF_KPROBE(nfsnitch_kprobe_use, struct socket *sock)
{
	return process_uses(inet_sock_of(sock));
}

SEC("kprobe/security_socket_post_create")
int BPF_KPROBE(nfsnitch_kprobe_open, struct socket *sock, int family, int type, int protocol, int kern)
{
	return tell_of_opening(family, type, protocol, kern, false);
}

SEC("kprobe/inet_release")
int BPF_KPROBE(nfsnitch_kprobe_release, struct socket *sock)
{
	return socket_closes(inet_sock_of(sock));
}

SEC("kprobe/nf_queue")
int BPF_KPROBE(nfsnitch_kprobe_queue, struct sk_buff *skb, struct nf_hook_state *state)
{
	return packet_queued(skb, state);
}

/* Any mode: functions of the C library that find names. The other ones of their kind call these. */

SEC("uprobe")
int BPF_KPROBE(nfsnitch_getaddrinfo, const char *name, void *service, void *hints, void *result)
{
	return libc_asked(LIBC_LIST, name, result);
}

SEC("uretprobe")
int nfsnitch_getaddrinfo_done(struct pt_regs *ctx)
{
	return libc_answers(LIBC_LIST, PT_REGS_RC(ctx));
}

SEC("uprobe")
int BPF_KPROBE(nfsnitch_gethostbyname, const char *name, void *host, void *bytes, unsigned long size,
	       void *result)
{
	return libc_asked(LIBC_HOST, name, result);
}

SEC("uprobe")
int BPF_KPROBE(nfsnitch_gethostbyname2, const char *name)
{
	return libc_asked(LIBC_HOST, name, (void *)SIXTH_ARGUMENT(ctx));
}

SEC("uretprobe")
int nfsnitch_gethostbyname_done(struct pt_regs *ctx)
{
	return libc_answers(LIBC_HOST, PT_REGS_RC(ctx));
}
