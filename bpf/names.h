/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Questions and answers of DNS, copied where a packet leaves a socket or comes to it. On the way in that
 * is before the packet is put into the socket's queue (sk_filter_trim_cap), so user space can have read an
 * answer before the program has. Nothing is held up or refused: all return ALLOW.
 *
 * Only a socket that has asked is listened to. Who answers at port 53 itself, as local resolvers do, and
 * what comes to a socket unasked, is left out here, at no cost to user space.
 */
#ifndef NFSNITCH_NAMES_H
#define NFSNITCH_NAMES_H

enum {
	DNS_HEADER_BYTES = 12,      /* RFC 1035, 4.1.1 */
	UDP_HEADER_BYTES = 8,
	ANSWERS_TO_ONE = 8,         /* packets copied for one question of UDP */
	SEGMENTS_PER_SECOND = 512,  /* packets copied of one TCP connection */
	NAMES_FILLING = NAMES_BYTES / 8, /* so full, the ring wakes who reads it */
};


/* A packet from or to port 53. */
struct dns_packet {
	struct flow_key tuple; /* seen from the socket: saddr is its own address */
	__u32 seq;
	__u32 ack;
	__u32 payload_at;      /* from the network header on */
	__u32 payload_bytes;
	__u8 tcp_flags;
	bool received;
};

static __always_inline __u64 names_wakeup(void)
{
	return bpf_ringbuf_query(&names, BPF_RB_AVAIL_DATA) > NAMES_FILLING ? BPF_RB_FORCE_WAKEUP :
									     BPF_RB_NO_WAKEUP;
}

/*
 * Whether a packet is certainly none of DNS, by as little as possible: this is asked of every packet. A
 * connected socket knows who it talks to; of others, the usual headers are looked at.
 */
static __always_inline bool is_other_traffic(struct __sk_buff *ctx, bool received)
{
	const __u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct bpf_sock *sk = ctx->sk;
	__u16 port_be;

	if (!sk)
		return true;
	if (sk->dst_port)
		return (__u16)sk->dst_port != bpf_htons(DNS_PORT);
	if (data + 24 > end)
		return false;
	if (data[0] == 0x45) {
		port_be = *(const __u16 *)(data + (received ? 20 : 22));
		return data[9] != IPPROTO_UDP || port_be != bpf_htons(DNS_PORT);
	}
	if (data + 44 > end || data[0] >> 4 != 6 || data[6] != IPPROTO_UDP)
		return false;
	port_be = *(const __u16 *)(data + (received ? 40 : 42));
	return port_be != bpf_htons(DNS_PORT);
}

/* Sets *packet to what the headers say, the tuple still as the packet has it. */
static __always_inline bool read_headers(struct dns_packet *packet, struct sk_buff *skb)
{
	unsigned char *data = BPF_CORE_READ(skb, data);
	struct cursor cursor = {};
	__u8 header[20] = {};
	__u32 whole = BPF_CORE_READ(skb, len), header_bytes, said;

	if (!start_at_network_header(&cursor, skb) || !read_bytes(header, 1, &cursor))
		return false;
	if (!(header[0] >> 4 == 4 ? read_ipv4(&packet->tuple, &cursor) :
				    read_ipv6(&packet->tuple, &cursor)) ||
	    cursor.later_fragment)
		return false;
	packet->tuple.proto = cursor.proto;
	header_bytes = cursor.proto == IPPROTO_TCP ? sizeof(header) : UDP_HEADER_BYTES;
	if (cursor.proto == IPPROTO_TCP ? !read_bytes(header, sizeof(header), &cursor) :
					  !read_bytes(header, UDP_HEADER_BYTES, &cursor))
		return false;
	packet->tuple.sport = header[0] << 8 | header[1];
	packet->tuple.dport = header[2] << 8 | header[3];
	if (cursor.proto == IPPROTO_TCP) {
		packet->seq = (__u32)header[4] << 24 | header[5] << 16 | header[6] << 8 | header[7];
		packet->ack = (__u32)header[8] << 24 | header[9] << 16 | header[10] << 8 | header[11];
		packet->tcp_flags = header[13];
		header_bytes = (header[12] >> 4) * 4;
	}
	packet->payload_at = cursor.at - data + header_bytes;
	if (packet->payload_at > whole)
		return false;
	packet->payload_bytes = whole - packet->payload_at;
	said = header[4] << 8 | header[5]; /* of UDP: its length */
	if (cursor.proto == IPPROTO_UDP && said >= UDP_HEADER_BYTES &&
	    said - UDP_HEADER_BYTES < packet->payload_bytes)
		packet->payload_bytes = said - UDP_HEADER_BYTES;
	return cursor.proto == IPPROTO_TCP || cursor.proto == IPPROTO_UDP;
}

static __always_inline void turn_around(struct flow_key *tuple)
{
	__u8 address[16];
	__u16 port = tuple->sport;

	__builtin_memcpy(address, tuple->saddr_be, sizeof(address));
	__builtin_memcpy(tuple->saddr_be, tuple->daddr_be, sizeof(address));
	__builtin_memcpy(tuple->daddr_be, address, sizeof(address));
	tuple->sport = tuple->dport;
	tuple->dport = port;
}

/*
 * Sets the tuple as the socket has it. A question is seen after its addresses may have been translated,
 * an answer after they have been translated back; a connected socket knows what both stand for.
 */
static __always_inline void set_tuple(struct dns_packet *packet, struct sock *sk)
{
	__u8 proto = packet->tuple.proto;

	if (BPF_CORE_READ(sk, __sk_common.skc_dport)) {
		make_flow_key(&packet->tuple, sk);
		packet->tuple.proto = proto;
		return;
	}
	if (packet->received)
		turn_around(&packet->tuple);
	packet->tuple.netns_cookie = netns_cookie_of(sk);
	packet->tuple.sport = BPF_CORE_READ(sk, __sk_common.skc_num);
}

/* Whether a datagram is to be copied: a plausible question, or an answer to one that was asked. */
static __always_inline bool is_wanted_datagram(struct __sk_buff *ctx, struct dns_packet *packet,
					       __u64 cookie)
{
	struct question fresh = { .since_ns = bpf_ktime_get_ns(), .left = ANSWERS_TO_ONE };
	struct question_key key = { .cookie = cookie };
	__u8 header[DNS_HEADER_BYTES];
	struct question *question;

	if (packet->payload_bytes < sizeof(header) ||
	    bpf_skb_load_bytes(ctx, packet->payload_at, header, sizeof(header)))
		return false;
	if (!!(header[2] & 0x80) != packet->received) /* QR: it is an answer */
		return false;
	key.id = header[0] << 8 | header[1];
	if (!packet->received) {
		if (header[2] & 0x78 || header[4] || header[5] != 1) /* OPCODE, QDCOUNT */
			return false;
		bpf_map_update_elem(&questions, &key, &fresh, BPF_ANY);
		return true;
	}
	question = bpf_map_lookup_elem(&questions, &key);
	if (question && question->left > 0) {
		question->left--;
		return true;
	}
	count(COUNT_NAMES_UNASKED);
	return false;
}

/* The same of a segment: who opened the connection asks by it. What has no data and changes nothing of the
 * connection is left out. */
static __always_inline bool is_wanted_segment(struct dns_packet *packet, __u64 cookie)
{
	struct question fresh = { .since_ns = bpf_ktime_get_ns(), .left = SEGMENTS_PER_SECOND };
	struct question_key key = { .cookie = cookie, .id = ANY_QUESTION };
	__u8 kind = packet->tcp_flags & (TCP_SYN | TCP_ACK);
	struct question *question;

	if (!packet->received && kind == TCP_SYN) {
		bpf_map_update_elem(&questions, &key, &fresh, BPF_ANY);
		return true;
	}
	if (!packet->payload_bytes && !(packet->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST)))
		return false;
	question = bpf_map_lookup_elem(&questions, &key);
	if (!question)
		return false;
	if (fresh.since_ns - question->since_ns > 1000000000ULL) {
		question->since_ns = fresh.since_ns;
		question->left = SEGMENTS_PER_SECOND;
	}
	if (question->left > 0) {
		question->left--;
		return true;
	}
	count(COUNT_NAMES_LOST);
	return false;
}

static __always_inline void fill_in(struct dns_sample *sample, const struct dns_packet *packet,
				    __u64 cookie)
{
	sample->kind = NAME_DNS;
	sample->flags = packet->received ? DNS_RECEIVED : 0;
	sample->seen_ns = bpf_ktime_get_ns();
	sample->cookie = cookie;
	sample->netns_cookie = packet->tuple.netns_cookie;
	__builtin_memcpy(sample->local_be, packet->tuple.saddr_be, sizeof(sample->local_be));
	__builtin_memcpy(sample->remote_be, packet->tuple.daddr_be, sizeof(sample->remote_be));
	sample->seq = packet->seq;
	sample->ack = packet->ack;
	sample->local_port = packet->tuple.sport;
	sample->family = packet->tuple.family;
	sample->proto = packet->tuple.proto;
	sample->tcp_flags = packet->tcp_flags;
	sample->padding = 0;
}

/* Copies a packet with `ROOM` bytes of payload at most: a sample's size must be known beforehand. */
#define COPY_DNS(ROOM)                                                                               \
	static __noinline int copy_dns_##ROOM(struct __sk_buff *ctx,                                 \
					      const struct dns_packet *packet, __u64 cookie)         \
	{                                                                                            \
		struct {                                                                             \
			struct dns_sample head;                                                      \
			__u8 payload[ROOM];                                                          \
		} *sample;                                                                           \
		__u32 size = packet->payload_bytes;                                                  \
		__u64 last;                                                                          \
                                                                                                     \
		sample = bpf_ringbuf_reserve(&names, sizeof(*sample), 0);                            \
		if (!sample) {                                                                       \
			count(COUNT_NAMES_LOST);                                                     \
			return 0;                                                                    \
		}                                                                                    \
		fill_in(&sample->head, packet, cookie);                                              \
		if (size > ROOM) {                                                                   \
			size = ROOM;                                                                 \
			sample->head.flags |= DNS_CUT;                                               \
		}                                                                                    \
		sample->head.payload_bytes = 0;                                                      \
		/* By the place of the last byte: verifiers learn little from `size` not being 0. */ \
		last = (__u64)size - 1;                                                              \
		asm volatile("" : "+r"(last));                                                       \
		if (last < ROOM &&                                                                   \
		    !bpf_skb_load_bytes(ctx, packet->payload_at, sample->payload, last + 1))         \
			sample->head.payload_bytes = last + 1;                                       \
		else if (size)                                                                       \
			sample->head.flags |= DNS_CUT;                                               \
		bpf_ringbuf_submit(sample, names_wakeup());                                          \
		return 0;                                                                            \
	}

COPY_DNS(128)
COPY_DNS(512)
COPY_DNS(1536)
COPY_DNS(4608)

/* Copies a packet that leaves or comes, if it is about names. */
static __always_inline int names_pass(struct __sk_buff *ctx, bool received)
{
	struct dns_packet packet = { .received = received };
	__u64 cookie;
	struct sk_buff *skb;
	struct sock *sk, *held;

	if (is_other_traffic(ctx, received))
		return ALLOW;
	cookie = bpf_get_socket_cookie(ctx);
	skb = plain_address(ctx);
	sk = BPF_CORE_READ(skb, sk);
	if (!sk || !read_headers(&packet, skb))
		return ALLOW;
	set_tuple(&packet, sk);
	if (packet.tuple.dport != DNS_PORT)
		return ALLOW;
	held = held_by_program(sk);
	if (held != sk)
		cookie = present_cookie(held);
	if (packet.tuple.proto == IPPROTO_TCP ? !is_wanted_segment(&packet, cookie) :
						!is_wanted_datagram(ctx, &packet, cookie))
		return ALLOW;
	if (packet.payload_bytes <= 128)
		copy_dns_128(ctx, &packet, cookie);
	else if (packet.payload_bytes <= 512)
		copy_dns_512(ctx, &packet, cookie);
	else if (packet.payload_bytes <= 1536)
		copy_dns_1536(ctx, &packet, cookie);
	else
		copy_dns_4608(ctx, &packet, cookie);
	return ALLOW;
}

#endif
