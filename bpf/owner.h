/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who uses a socket: written, and announced to be gone. The same in every attach mode. */
#ifndef NFSNITCH_OWNER_H
#define NFSNITCH_OWNER_H

static __always_inline bool is_same_text(const char *one, const char *other)
{
	const __u64 *a = (const void *)one, *b = (const void *)other;

	return a[0] == b[0] && a[1] == b[1];
}

/* Whether `present` names the user that `fresh` does; a socket is used again and again by one task. */
static __always_inline bool has_same_user(const struct owner *present, const struct owner *fresh)
{
	return present && present->image.pid == fresh->image.pid &&
	       present->image.start_ns == fresh->image.start_ns &&
	       present->image.exec_id == fresh->image.exec_id &&
	       present->image.cgroup_id == fresh->image.cgroup_id && present->tid == fresh->tid &&
	       present->uid == fresh->uid && present->gid == fresh->gid &&
	       present->netns == fresh->netns && is_same_text(present->comm, fresh->comm);
}

/* Fills in who the current process is, and sees to it that it has its image. */
static __always_inline void describe_current(struct owner *owner)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	remember_image(&owner->image, task);
	owner->tid = BPF_CORE_READ(task, pid);
	owner->uid = BPF_CORE_READ(task, cred, fsuid.val);
	owner->gid = BPF_CORE_READ(task, cred, fsgid.val);
	owner->netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	BPF_CORE_READ_STR_INTO(&owner->comm, task, comm);
}

/* Makes the current process the owner of a socket. `flags` (of enum owner_flag) are added. */
static __noinline int record_owner(__u64 cookie, __u32 flags)
{
	struct owner *present = bpf_map_lookup_elem(&owners, &cookie);
	struct owner owner = {};

	owner.created_ns = present ? present->created_ns : bpf_ktime_get_ns();
	describe_current(&owner);
	if (has_same_user(present, &owner)) {
		/* In place: most sockets are connected by who made them, and a new entry costs more. */
		if ((present->flags & flags) != flags)
			__sync_fetch_and_or(&present->flags, flags);
		return 0;
	}
	owner.flags = present ? present->flags | flags : flags;
	if (present)
		owner.opener = present->opener;
	else if (flags & OWNER_OPENED)
		owner.opener = owner.image;
	if (bpf_map_update_elem(&owners, &cookie, &owner, BPF_ANY))
		count(COUNT_OWNERS_FULL);
	return 0;
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

#endif
