// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Records who uses which socket. Every hook runs in the context of the process in question, before
 * the first packet exists, and none of them ever refuses anything.
 *
 *   sock_create       every socket gets an owner, its creator
 *   connect, sendmsg  whoever uses it becomes the owner
 *   sockops           TCP: the tuple, just before the SYN leaves
 *   sock_release      the tuple of what sock_diag will no longer find; the owner is told to go
 */
#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

#include "layout.h"

#include "kernel.h"
#include "maps.h"

#include "image.h"
#include "socket.h"

#include "hooks.h"

char LICENSE[] SEC("license") = "GPL";

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
	return ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB ?
		       tcp_connecting(ctx, bpf_get_socket_cookie(ctx)) :
		       ALLOW;
}
