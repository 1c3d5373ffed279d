/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fills in what is the same for all sockets of a process: executable, cgroup, arguments, parents. */
#ifndef NFSNITCH_IMAGE_H
#define NFSNITCH_IMAGE_H

enum { MAX_COMPONENTS = 64, MAX_CGROUP_DEPTH = 24 };

/*
 * Puts "/" and a name of `length` bytes in front of the text that starts at *start. `bytes` has
 * `size` (a power of two) bytes, and NAME_BYTES of slack behind them. Returns false if it is full.
 */
static __always_inline bool prepend_name(char *bytes, __u32 size, __u32 *start, const void *name,
					 __u32 length)
{
	__u32 at = *start;

	if (length >= NAME_BYTES || length + 1 > at)
		return false;
	/* The compiler knows what has just been asked, and would leave out the mask below, by which the
	 * verifier knows it. */
	asm volatile("" : "+r"(length));
	at = (at - length) & (size - 1);
	bpf_probe_read_kernel(bytes + at, length & (NAME_BYTES - 1), name);
	at = (at - 1) & (size - 1);
	bytes[at] = '/';
	*start = at;
	return true;
}

/* Moves from the root of a mount to the place where it is mounted; false at the topmost one. */
static __always_inline bool step_out_of_mount(struct vfsmount **vfsmount, struct dentry **dentry)
{
	struct mount *mount = (void *)*vfsmount - bpf_core_field_offset(struct mount, mnt);
	struct mount *parent = BPF_CORE_READ(mount, mnt_parent);

	if (!parent || parent == mount)
		return false;
	*dentry = BPF_CORE_READ(mount, mnt_mountpoint);
	*vfsmount = (void *)parent + bpf_core_field_offset(struct mount, mnt);
	return true;
}

/* Where a walk up the directories is; the kernel's pointers come as numbers, as in fill_image. */
struct path_walk {
	__u64 mount; /* struct vfsmount; none for a cgroup */
	__u64 place; /* struct dentry, struct kernfs_node */
	__u32 start; /* of the path as far as it is written, in the image */
	__u32 steps;
};

enum { WALK_GOES_ON, WALK_IS_OVER, WALK_HAS_NO_ROOM };

/*
 * One step up from a file. The steps are not static, so that the verifier checks one of them and not
 * as many as there may be: those were four fifths of all that it had to walk through.
 */
GLOBAL_SUBPROGRAM int prepend_directory(struct image *image, struct path_walk *walk)
{
	struct vfsmount *vfsmount;
	struct dentry *dentry, *parent;
	bool is_named = true;

	if (!image || !walk)
		return WALK_HAS_NO_ROOM;
	vfsmount = (void *)walk->mount;
	dentry = (void *)walk->place;
	parent = BPF_CORE_READ(dentry, d_parent);
	if (dentry == BPF_CORE_READ(vfsmount, mnt_root) || dentry == parent) {
		if (step_out_of_mount(&vfsmount, &dentry)) {
			walk->mount = (__u64)vfsmount;
			walk->place = (__u64)dentry;
			return WALK_GOES_ON;
		}
		/* A memfd has no name but its own, at the root of a mount nobody sees. */
		if (walk->steps)
			return WALK_IS_OVER;
		is_named = false;
	}
	if (!prepend_name(image->exe, EXE_BYTES, &walk->start, BPF_CORE_READ(dentry, d_name.name),
			  BPF_CORE_READ(dentry, d_name.len)))
		return is_named ? WALK_HAS_NO_ROOM : WALK_IS_OVER;
	walk->place = (__u64)parent;
	return is_named ? WALK_GOES_ON : WALK_IS_OVER;
}

/*
 * FNV-1a, eight bytes at a time, over the whole buffer: what the path leaves of it is zero. Somebody may
 * well find another path with the same hash, but not have another file there: see verdict_key.
 */
static __always_inline __u64 hash_of(const char *exe)
{
	const __u64 *words = (const void *)exe;
	__u64 hash = 0xcbf29ce484222325;

	for (int i = 0; i < EXE_BYTES / 8; i++)
		hash = (hash ^ words[i]) * 0x100000001b3;
	return hash;
}

/* Writes the path of a file, as seen from the root of its mount namespace. Returns image flags. */
static __always_inline __u32 write_exe(struct image *image, struct file *file)
{
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct path_walk walk = {
		.mount = (__u64)BPF_CORE_READ(file, f_path.mnt),
		.place = (__u64)dentry,
		.start = EXE_BYTES,
	};
	__u32 flags = IMAGE_EXE_KNOWN;
	int state = WALK_GOES_ON;

	if (!BPF_CORE_READ(dentry, d_hash.pprev))
		flags |= IMAGE_EXE_DELETED;
	for (int i = 0; i < MAX_COMPONENTS && state == WALK_GOES_ON; i++) {
		walk.steps = i;
		state = prepend_directory(image, &walk);
	}
	image->exe_start = walk.start;
	image->exe_hash = hash_of(image->exe);
	return state == WALK_IS_OVER ? flags : flags | IMAGE_EXE_TRUNCATED;
}

/* One step up from a cgroup. */
GLOBAL_SUBPROGRAM int prepend_cgroup(struct image *image, struct path_walk *walk)
{
	struct kernfs_node *node, *parent;
	char *scratch;
	long length;

	if (!image || !walk)
		return WALK_HAS_NO_ROOM;
	node = (void *)walk->place;
	parent = node_above(node);
	if (!parent)
		return WALK_IS_OVER;
	/* The length of a name is known only after it has been read, into the slack. */
	scratch = image->cgroup + CGROUP_BYTES;
	length = bpf_probe_read_kernel_str(scratch, NAME_BYTES, BPF_CORE_READ(node, name));
	if (length <= 1 ||
	    !prepend_name(image->cgroup, CGROUP_BYTES, &walk->start, scratch, length - 1))
		return WALK_HAS_NO_ROOM;
	walk->place = (__u64)parent;
	return WALK_GOES_ON;
}

/* Writes the path of a cgroup below the root of the v2 hierarchy. Returns image flags. */
static __always_inline __u32 write_cgroup(struct image *image, struct kernfs_node *node)
{
	struct path_walk walk = {.place = (__u64)node, .start = CGROUP_BYTES};
	int state = WALK_GOES_ON;

	for (int i = 0; i < MAX_CGROUP_DEPTH && state == WALK_GOES_ON; i++)
		state = prepend_cgroup(image, &walk);
	image->cgroup_start = walk.start;
	return IMAGE_CGROUP_KNOWN | (state == WALK_IS_OVER ? 0 : IMAGE_CGROUP_TRUNCATED);
}

/* Reads the arguments of the current process; nobody else's memory can be read from here. */
static __always_inline void write_args(struct image *image, struct task_struct *task)
{
	unsigned long begin = BPF_CORE_READ(task, mm, arg_start);
	unsigned long end = BPF_CORE_READ(task, mm, arg_end);
	__u64 length = end > begin ? end - begin : 0;
	__u32 flags = IMAGE_ARGS_KNOWN;

	if (length > ARGS_BYTES) {
		length = ARGS_BYTES;
		flags |= IMAGE_ARGS_TRUNCATED;
	}
	if (bpf_probe_read_user(image->args, length, (void *)begin))
		return; /* paged out: user space will look in /proc */
	image->args_bytes = length;
	__sync_fetch_and_or(&image->flags, flags);
}

static __always_inline void make_image_key(struct image_key *key, struct task_struct *leader)
{
	key->start_ns = BPF_CORE_READ(leader, start_boottime);
	key->exec_id = BPF_CORE_READ(leader, self_exec_id);
	key->cgroup_id = BPF_CORE_READ(leader, cgroups, dfl_cgrp, kn, id);
	key->pid = BPF_CORE_READ(leader, tgid);
	key->padding = 0;
}

static __always_inline struct image *find_or_add_image(const struct image_key *key)
{
	struct image *image = bpf_map_lookup_elem(&images, key);
	__u32 zero = 0;
	void *blank;

	if (image)
		return image;
	blank = bpf_map_lookup_elem(&blank_image, &zero);
	if (!blank)
		return NULL;
	/* Two threads of one process may both come here: one adds, both fill in the same. */
	bpf_map_update_elem(&images, key, blank, BPF_NOEXIST);
	image = bpf_map_lookup_elem(&images, key);
	if (!image)
		count(COUNT_IMAGES_FULL);
	return image;
}

/*
 * Fills in all but the arguments. Not static, so that the verifier checks it once and not at each
 * call: the walks up the directories times the walk up the ancestors would be too much for it. That
 * is why the task comes as a number (only such functions' plain arguments are not tracked).
 */
GLOBAL_SUBPROGRAM int fill_image(struct image *image, __u64 address)
{
	struct task_struct *task = (void *)address;
	struct file *file = BPF_CORE_READ(task, mm, exe_file);
	struct kernfs_node *node = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn);
	__u64 exec_id = BPF_CORE_READ(task, self_exec_id);
	__u32 flags = 0;

	if (!image)
		return 0;
	if (file) {
		image->exe_inode = BPF_CORE_READ(file, f_inode, i_ino);
		image->exe_device = BPF_CORE_READ(file, f_inode, i_sb, s_dev);
		image->exe_changed_ns = changed_ns(BPF_CORE_READ(file, f_inode));
		image->mntns = mount_namespace_of(file, task);
		flags |= write_exe(image, file);
	}
	if (node)
		flags |= write_cgroup(image, node);
	if (exec_id != BPF_CORE_READ(task, self_exec_id))
		flags |= IMAGE_TORN;
	__sync_fetch_and_or(&image->flags, flags);
	return 0;
}

/* Links the image to its parent's, and that to its own parent's, up to one that is known already. */
static __always_inline void link_ancestors(struct image *image, struct task_struct *leader)
{
	for (int i = 0; i < MAX_ANCESTORS; i++) {
		struct task_struct *parent = BPF_CORE_READ(leader, real_parent, group_leader);
		struct image_key key;
		struct image *above;

		if (!parent || parent == leader || !BPF_CORE_READ(parent, tgid))
			break;
		make_image_key(&key, parent);
		above = find_or_add_image(&key);
		if (!above)
			break;
		image->parent = key;
		__sync_fetch_and_or(&image->flags, IMAGE_READY);
		above->last_used_ns = bpf_ktime_get_ns();
		if (above->flags & IMAGE_READY)
			return;
		fill_image(above, (__u64)parent);
		image = above;
		leader = parent;
	}
	__sync_fetch_and_or(&image->flags, IMAGE_READY);
}

/* Makes sure that the current process has its image, and sets *key to what names it. */
static __always_inline void remember_image(struct image_key *key, struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct image *image;

	make_image_key(key, leader);
	image = find_or_add_image(key);
	if (!image)
		return;
	image->last_used_ns = bpf_ktime_get_ns();
	if (!(image->flags & IMAGE_READY)) {
		/* Not the leader: it may have ended before its threads, and has nothing then. */
		fill_image(image, (__u64)task);
		link_ancestors(image, leader);
	}
	if (!(image->flags & IMAGE_ARGS_KNOWN))
		write_args(image, task);
}

#endif
