/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads the tuple of a packet on its way into the queue, as core/packet.py will read it there: what
 * that refuses as malformed is never looked up, so here it may become anything.
 */
#ifndef NFSNITCH_PACKET_H
#define NFSNITCH_PACKET_H

enum { MAX_EXTENSION_HEADERS = 10, IPV6_HEADER_BYTES = 40 };
enum { DNS_PORT = 53 };
enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_ACK = 16 };

struct cursor {
	const unsigned char *at; /* in the linear part of the packet, which holds every header */
	__u32 left;              /* bytes from there to the end of it */
	__u8 proto;              /* of the header that starts there */
	bool later_fragment;     /* it has no header but IP's */
};

static __always_inline bool read_bytes(void *to, __u32 size, const struct cursor *cursor)
{
	return cursor->left >= size && !bpf_probe_read_kernel(to, size, cursor->at);
}

static __always_inline bool skip(struct cursor *cursor, __u32 size)
{
	if (size > cursor->left)
		return false;
	cursor->at += size;
	cursor->left -= size;
	return true;
}

static __always_inline bool start_at_network_header(struct cursor *cursor, struct sk_buff *skb)
{
	unsigned char *data = BPF_CORE_READ(skb, data);

	cursor->at = BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header);
	cursor->left = BPF_CORE_READ(skb, len) - BPF_CORE_READ(skb, data_len);
	return cursor->at == data; /* so it is where packets leave */
}

static __always_inline bool read_ipv4(struct flow_key *key, struct cursor *cursor)
{
	__u8 header[20], authentication[2];

	if (!read_bytes(header, sizeof(header), cursor) ||
	    !skip(cursor, (header[0] & 0x0f) * 4))
		return false;
	key->family = 4;
	__builtin_memcpy(key->saddr_be, header + 12, 4);
	__builtin_memcpy(key->daddr_be, header + 16, 4);
	cursor->proto = header[9];
	cursor->later_fragment = (header[6] & 0x1f) || header[7];
	for (int i = 0; i < MAX_EXTENSION_HEADERS && !cursor->later_fragment &&
			cursor->proto == IPPROTO_AH; i++) {
		if (!read_bytes(authentication, sizeof(authentication), cursor) ||
		    !skip(cursor, (authentication[1] + 2) * 4))
			return false;
		cursor->proto = authentication[0];
	}
	return true;
}

static __always_inline bool is_extension(__u8 proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_FRAGMENT ||
	       proto == IPPROTO_AH || proto == IPPROTO_DSTOPTS || proto == IPPROTO_MH ||
	       proto == IPPROTO_HIP || proto == IPPROTO_SHIM6;
}

/* A message of its own where nothing follows, an extension header where something does. */
static __always_inline bool is_message(__u8 proto, __u8 following)
{
	return following == IPPROTO_NONE &&
	       (proto == IPPROTO_MH || proto == IPPROTO_HIP || proto == IPPROTO_SHIM6);
}

static __always_inline __u32 extension_bytes(__u8 proto, __u8 length)
{
	if (proto == IPPROTO_FRAGMENT)
		return 8;
	return proto == IPPROTO_AH ? (length + 2) * 4 : (length + 1) * 8;
}

static __always_inline bool skip_extensions(struct cursor *cursor)
{
	__u8 header[4];

	for (int i = 0; i < MAX_EXTENSION_HEADERS; i++) {
		__u8 proto = cursor->proto;

		if (!is_extension(proto))
			return true;
		if (!read_bytes(header, sizeof(header), cursor))
			return false;
		if (is_message(proto, header[0]))
			return true;
		if (!skip(cursor, extension_bytes(proto, header[1])))
			return false;
		cursor->proto = header[0];
		if (proto == IPPROTO_FRAGMENT && (header[2] || header[3] & 0xf8)) {
			cursor->later_fragment = true;
			return true;
		}
	}
	return true;
}

static __always_inline bool read_ipv6(struct flow_key *key, struct cursor *cursor)
{
	__u8 header[IPV6_HEADER_BYTES];

	if (!read_bytes(header, sizeof(header), cursor) || !skip(cursor, sizeof(header)))
		return false;
	key->family = 6;
	__builtin_memcpy(key->saddr_be, header + 8, 16);
	__builtin_memcpy(key->daddr_be, header + 24, 16);
	cursor->proto = header[6];
	return skip_extensions(cursor);
}

/* Echo, timestamp, information and address mask, extended echo: request and reply of each. */
static __always_inline bool has_identifier(__u8 family, __u8 type)
{
	if (family == 6)
		return type == 128 || type == 129 || type == 160 || type == 161;
	return type == 0 || type == 8 || (type >= 13 && type <= 18) || type == 42 || type == 43;
}

static __always_inline void read_transport(struct flow_key *key, const struct cursor *cursor)
{
	__u8 header[6] = {};

	if (cursor->later_fragment)
		return;
	switch (key->proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_SCTP:
		if (read_bytes(header, 4, cursor)) {
			key->sport = header[0] << 8 | header[1];
			key->dport = header[2] << 8 | header[3];
		}
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		if ((key->family == 4) == (key->proto == IPPROTO_ICMP) &&
		    read_bytes(header, 6, cursor) && has_identifier(key->family, header[0]))
			key->sport = header[4] << 8 | header[5];
		break;
	}
}

/* Sets all of *key but the namespace; false: this is no packet that user space could read. */
static __always_inline bool read_tuple(struct flow_key *key, struct sk_buff *skb, __u8 family)
{
	struct cursor cursor = {};

	if (!start_at_network_header(&cursor, skb))
		return false;
	if (!(family == AF_INET ? read_ipv4(key, &cursor) : read_ipv6(key, &cursor)))
		return false;
	key->proto = cursor.proto;
	read_transport(key, &cursor);
	return true;
}

#endif
