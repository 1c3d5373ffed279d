/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packets that leave their network namespace over a veth pair, as those of containers do. What comes
 * out at the other end has no socket any more (skb_scrub_packet); this is the last place that knows
 * both the socket and the tuple as it will be there, whatever the sender's own namespace has translated.
 */
#ifndef NFSNITCH_CROSSING_H
#define NFSNITCH_CROSSING_H

enum { DEVICE_ALIGN = 32 }; /* linux/netdevice.h, NETDEV_ALIGN: where a driver's own part of a device begins */

/* What the kind of an interface is called ("veth"), as a number to compare. */
union kind {
	char text[8];
	__u64 number;
};

/* The other end of a pair of virtual interfaces; NULL if `dev` is none. */
static __always_inline struct net_device *other_end(struct net_device *dev)
{
	const union kind veth = { .text = "veth" };
	union kind kind = {};
	struct net_device *peer = NULL;
	__u32 own_part;

	bpf_probe_read_kernel_str(kind.text, sizeof(kind.text), BPF_CORE_READ(dev, rtnl_link_ops, kind));
	if (kind.number != veth.number)
		return NULL;
	own_part = (bpf_core_type_size(struct net_device) + DEVICE_ALIGN - 1) & ~(DEVICE_ALIGN - 1);
	/* struct veth_priv (drivers/net/veth.c) begins with `peer`. */
	bpf_probe_read_kernel(&peer, sizeof(peer), (void *)dev + own_part);
	return peer;
}

/* The number of the inode by which a file descriptor leads to the socket; 0: none does. */
static __always_inline __u64 inode_of(struct sock *sk)
{
	struct socket *socket = sk ? BPF_CORE_READ(sk, sk_socket) : NULL;
	struct socket_alloc *both = (void *)socket - bpf_core_field_offset(struct socket_alloc, socket);

	return socket ? BPF_CORE_READ(both, vfs_inode.i_ino) : 0;
}

/* A socket's packet goes to its interface, in whatever context. */
static __always_inline int packet_leaves(struct sk_buff *skb)
{
	struct net_device *dev = BPF_CORE_READ(skb, dev);
	struct sock *sk = BPF_CORE_READ(skb, sk);
	struct crossing_value value = {};
	struct crossing_key key = {};
	struct net_device *peer;
	__u8 version = 0;

	peer = other_end(dev);
	if (!peer)
		return ALLOW;
	key.flow.netns_cookie = BPF_CORE_READ(peer, nd_net.net, net_cookie);
	if (key.flow.netns_cookie == BPF_CORE_READ(dev, nd_net.net, net_cookie))
		return ALLOW;
	bpf_probe_read_kernel(&version, sizeof(version), BPF_CORE_READ(skb, data));
	if (!read_tuple(&key.flow, skb, version >> 4 == 4 ? AF_INET : AF_INET6))
		return ALLOW;
	key.ifindex = BPF_CORE_READ(peer, ifindex);
	value.claim.cookie = sender_of(sk, key.flow.proto);
	value.inode = inode_of(sk);
	claim_tuple(&crossings, &key, &value.claim);
	return ALLOW;
}

#endif
