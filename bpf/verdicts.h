/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's own answer. These programs are asked by a rule of netfilter about packets that are about
 * to be queued (net/netfilter/xt_bpf.c), in whatever context; no other hook sees both the packet and the
 * socket it comes from before it is queued. An answer is given only where
 *
 * - the packet begins a TCP connection, or is a datagram of UDP, whole and with nothing unusual in its
 *   headers, and a program's ordinary socket sends it;
 * - it is known who uses that socket, and nobody else had it before;
 * - and either the same flow of the same socket has got a verdict before, or the rules in force say the
 *   same of whatever this program sends to this destination, to this port, or anywhere.
 *
 * A flow of which user space could not be told is not answered for: it is queued like any other. And
 * nothing is, once the daemon is gone.
 */
#ifndef NFSNITCH_VERDICTS_H
#define NFSNITCH_VERDICTS_H

#define CACHED_FILLING_NS (NS_PER_S / 500)
#define CACHED_SILENCE_NS (NS_PER_S / 4) /* cached_flows.py: how soon user space looks again */

enum { TCP_FLAGS_AT = 13, IPV4_PLAIN = 0x45, IPV4_FRAGMENT_BITS = 0x3f };

/* Makes the current process the one by whose decisions packets are answered for. */
static __always_inline int keep_verdicts(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct verdict_keeper keeper = {
		.task = (__u64)leader,
		.start_ns = BPF_CORE_READ(leader, start_boottime),
		.pid = BPF_CORE_READ(leader, tgid),
	};
	__u32 zero = 0;

	return bpf_map_update_elem(&kept_by, &zero, &keeper, BPF_ANY) ? 0 : 1;
}

/*
 * Whether that process still runs. What was its task_struct may be gone, and something else be there by
 * now; that does not have the same number and start.
 */
static __always_inline bool are_kept(void)
{
	__u32 zero = 0;
	struct verdict_keeper *keeper = bpf_map_lookup_elem(&kept_by, &zero);
	struct task_struct *task = keeper ? (void *)keeper->task : NULL;

	return task && (__u32)BPF_CORE_READ(task, tgid) == keeper->pid &&
	       BPF_CORE_READ(task, start_boottime) == keeper->start_ns &&
	       !(BPF_CORE_READ(task, flags) & PF_EXITING);
}

/*
 * These fill in what is the packet's own, read from where its data begins: for whom netfilter asks, that
 * is the IP header. False: it is not a packet that may be answered for here.
 */
static __always_inline bool read_ordinary_transport(struct flow_key *flow, struct __sk_buff *ctx, __u32 at)
{
	__u8 header[TCP_FLAGS_AT + 1] = {};

	if (flow->proto == IPPROTO_UDP) {
		if (bpf_skb_load_bytes(ctx, at, header, 8))
			return false;
	} else if (flow->proto != IPPROTO_TCP || bpf_skb_load_bytes(ctx, at, header, sizeof(header)) ||
		   (header[TCP_FLAGS_AT] & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK)) != TCP_SYN) {
		return false;
	}
	flow->sport = header[0] << 8 | header[1];
	flow->dport = header[2] << 8 | header[3];
	return true;
}

static __always_inline bool read_ordinary_ipv6(struct flow_key *flow, struct __sk_buff *ctx)
{
	__u8 header[IPV6_HEADER_BYTES];

	if (bpf_skb_load_bytes(ctx, 0, header, sizeof(header)))
		return false;
	flow->family = 6;
	flow->proto = header[6];
	__builtin_memcpy(flow->saddr_be, header + 8, 16);
	__builtin_memcpy(flow->daddr_be, header + 24, 16);
	return read_ordinary_transport(flow, ctx, sizeof(header));
}

static __always_inline bool read_ordinary(struct flow_key *flow, struct __sk_buff *ctx)
{
	__u8 header[20];

	if (bpf_skb_load_bytes(ctx, 0, header, sizeof(header)))
		return false;
	if (header[0] >> 4 == 6)
		return read_ordinary_ipv6(flow, ctx);
	if (header[0] != IPV4_PLAIN || header[6] & IPV4_FRAGMENT_BITS || header[7])
		return false;
	flow->family = 4;
	flow->proto = header[9];
	__builtin_memcpy(flow->saddr_be, header + 12, 4);
	__builtin_memcpy(flow->daddr_be, header + 16, 4);
	return read_ordinary_transport(flow, ctx, sizeof(header));
}

/* The socket that a program sends the packet by, with the cookie it has; 0: it is not so plain. */
static __always_inline __u64 ordinary_sender(const struct flow_key *flow, struct sock *sk)
{
	__u8 state = sk ? BPF_CORE_READ(sk, __sk_common.skc_state) : TCP_TIME_WAIT;
	struct sock *held = NULL;

	if (state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV || is_raw(sk))
		return 0;
	/* Else it is the outer packet of a tunnel. */
	if (BPF_CORE_READ(sk, sk_protocol) != flow->proto ||
	    BPF_CORE_READ(sk, __sk_common.skc_num) != flow->sport)
		return 0;
	if (flow->proto == IPPROTO_TCP)
		held = mptcp_connection_of(sk);
	if (held)
		sk = held;
	return is_kernels(sk) ? 0 : present_cookie(sk);
}

/* The interface by which a packet would leave, for which its route has been found. */
static __always_inline __u32 ifindex_of(struct sk_buff *skb)
{
	struct dst_entry *route = (void *)(BPF_CORE_READ(skb, _skb_refdst) & ~1UL); /* SKB_DST_NOREF */

	return BPF_CORE_READ(route, dev, ifindex);
}

static __always_inline bool is_same_image(const struct image_key *one, const struct image_key *other)
{
	return one->pid == other->pid && one->start_ns == other->start_ns &&
	       one->exec_id == other->exec_id && one->cgroup_id == other->cgroup_id;
}

/* Whether the user of a socket is the one who made it: what was passed on, user space looks into. */
static __always_inline bool is_its_own(const struct owner *owner)
{
	return !owner->released_ns && owner->flags & OWNER_OPENED &&
	       is_same_image(&owner->image, &owner->opener);
}

/* Fills in what the rules may know of a program; false: not all of it is known. */
static __always_inline bool name_program(struct verdict_key *key, const struct owner *owner,
					 bool by_cgroup, __u64 now_ns)
{
	const __u32 wanted = IMAGE_READY | IMAGE_EXE_KNOWN;
	const __u32 unwanted = IMAGE_EXE_TRUNCATED | IMAGE_EXE_DELETED | IMAGE_TORN;
	struct image *image = bpf_map_lookup_elem(&images, &owner->image);

	if (!image || (image->flags & (wanted | unwanted)) != wanted)
		return false;
	key->exe_inode = image->exe_inode;
	key->exe_changed_ns = image->exe_changed_ns;
	key->exe_hash = image->exe_hash;
	key->exe_device = image->exe_device;
	key->mntns = image->mntns;
	key->cgroup_id = by_cgroup ? owner->image.cgroup_id : 0;
	key->uid = owner->uid;
	key->gid = owner->gid;
	key->netns = owner->netns;
	image->last_used_ns = now_ns;
	return true;
}

/*
 * Tells user space of a flow; false: there is no room. It looks again a moment after it has found
 * something, so it is woken when none was for longer, or when the ring fills up.
 */
static __always_inline bool tell_of_cached(const struct pass_key *key, const struct owner *owner,
					   const struct verdict *verdict,
					   struct verdict_settings *settings, __u64 now_ns,
					   struct sk_buff *skb)
{
	bool filling = bpf_ringbuf_query(&cached_flows, BPF_RB_AVAIL_DATA) > CACHED_BYTES / 4;
	struct cached *told = bpf_ringbuf_reserve(&cached_flows, sizeof(*told), 0);
	bool wakes, idle = now_ns - settings->woken_ns > CACHED_SILENCE_NS;

	if (!told) {
		count(COUNT_CACHED_LOST);
		return false;
	}
	told->seen_ns = now_ns;
	told->sport = key->flow.sport;
	told->padding = 0;
	__builtin_memcpy(told->daddr_be, key->flow.daddr_be, sizeof(told->daddr_be));
	told->number = verdict->number;
	told->generation = verdict->generation;
	told->action = verdict->action;
	told->ifindex = ifindex_of(skb);
	__builtin_memcpy(told->saddr_be, key->flow.saddr_be, sizeof(told->saddr_be));
	told->dport = key->flow.dport;
	told->family = key->flow.family;
	told->proto = key->flow.proto;
	told->image = owner->image;
	told->tid = owner->tid;
	told->uid = owner->uid;
	told->gid = owner->gid;
	told->netns = owner->netns;
	__builtin_memcpy(told->comm, owner->comm, sizeof(told->comm));
	/* Once is enough, and waking costs more than all the rest. */
	wakes = idle || (filling && now_ns - settings->woken_ns > CACHED_FILLING_NS);
	if (wakes)
		settings->woken_ns = now_ns;
	bpf_ringbuf_submit(told, wakes ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
	return true;
}

static __always_inline struct verdict *verdict_in_force(const struct verdict_key *key,
							const struct verdict_settings *settings,
							__u64 now_ns)
{
	struct verdict *found = bpf_map_lookup_elem(&verdicts, key);

	return found && found->generation == settings->generation && now_ns < found->until_ns ? found :
												NULL;
}

/* What the rules say of this destination; else of all that differ in the address, or in the port as well. */
static __always_inline struct verdict *find_verdict(struct verdict_key *key,
						    const struct verdict_settings *settings,
						    __u64 now_ns)
{
	struct verdict *found = verdict_in_force(key, settings, now_ns);

	if (found)
		return found;
	__builtin_memset(key->daddr_be, 0, sizeof(key->daddr_be));
	key->family |= ANY_ADDRESS;
	found = verdict_in_force(key, settings, now_ns);
	if (found)
		return found;
	key->dport = 0;
	key->family |= ANY_PORT;
	return verdict_in_force(key, settings, now_ns);
}

/* What the rules say of this program and destination. The flow goes on with that. */
static __noinline __u32 verdict_by_program(const struct pass_key *key, struct owner *owner,
					   struct verdict_settings *settings, __u64 skb)
{
	__u64 now_ns = bpf_ktime_get_ns();
	struct verdict_key wanted = {
		.dport = key->flow.dport,
		.family = key->flow.family,
		.proto = key->flow.proto,
	};
	struct verdict *verdict;
	struct pass pass = {};

	if (!is_its_own(owner) || !name_program(&wanted, owner, settings->by_cgroup, now_ns))
		return VERDICT_NONE;
	__builtin_memcpy(wanted.daddr_be, key->flow.daddr_be, sizeof(wanted.daddr_be));
	verdict = find_verdict(&wanted, settings, now_ns);
	if (!verdict)
		return VERDICT_NONE;
	if (!tell_of_cached(key, owner, verdict, settings, now_ns, (struct sk_buff *)skb))
		return VERDICT_NONE;
	/* As if it had been queued: what is yet to be heard of the socket, it may be closed by then. */
	__sync_fetch_and_or(&owner->flags, OWNER_USED);
	pass.user = owner->image;
	pass.until_ns = verdict->until_ns;
	pass.generation = verdict->generation;
	pass.action = verdict->action | PASS_FIRST;
	bpf_map_update_elem(&passes, key, &pass, BPF_ANY);
	return verdict->action;
}

/*
 * `asks_first` is true of the program that is asked before the others: what it does not know, they must
 * not learn a moment later, or the flow would be told of here and queued as well.
 */
static __always_inline __u32 verdict_on(struct __sk_buff *ctx, bool asks_first)
{
	struct sk_buff *skb = plain_address(ctx);
	struct verdict_settings *settings;
	struct pass_key key = {};
	struct owner *owner;
	struct pass *pass;
	__u32 zero = 0;

	settings = bpf_map_lookup_elem(&verdict_config, &zero);
	if (!settings || !settings->generation || !are_kept() || !read_ordinary(&key.flow, ctx))
		return VERDICT_NONE;
	key.cookie = ordinary_sender(&key.flow, BPF_CORE_READ(skb, sk));
	owner = key.cookie ? bpf_map_lookup_elem(&owners, &key.cookie) : NULL;
	if (!owner)
		return VERDICT_NONE;
	pass = bpf_map_lookup_elem(&passes, &key);
	if (pass && pass->generation == settings->generation &&
	    bpf_ktime_get_ns() < pass->until_ns && is_same_image(&pass->user, &owner->image))
		return pass->action & VERDICT_ACTIONS;
	return asks_first ? verdict_by_program(&key, owner, settings, (__u64)skb) : VERDICT_NONE;
}

/* Nothing answers for the packet: it is claimed for its socket, where no other program does that. */
static __always_inline void about_to_be_queued(struct __sk_buff *ctx)
{
	__u32 zero = 0;
	struct verdict_settings *settings = bpf_map_lookup_elem(&verdict_config, &zero);
	__u64 cookie;

	if (!settings || !settings->claims)
		return;
	cookie = bpf_get_socket_cookie(ctx); /* who has none yet gets one */
	claim_queued((__u64)BPF_CORE_READ((struct sk_buff *)plain_address(ctx), sk), cookie);
}

#endif
