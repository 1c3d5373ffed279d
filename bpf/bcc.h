/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is different when bcc compiles these files, against the headers of the running kernel, for
 * kernels that do not describe their types (BTF): the structures are the kernel's own, with offsets
 * that the compiler knows, and the macros of libbpf's headers mean what takes no relocation.
 *
 * All the rest is written once, in the words of libbpf. What is included here comes from the kernel's
 * headers and from bcc itself, so that nothing else has to be installed.
 */
#ifndef NFSNITCH_BCC_H
#define NFSNITCH_BCC_H

#include <linux/version.h>

/* What the kernel's headers use and bcc, which has its own <uapi/linux/bpf.h>, may be too old to have: by
 * names of ours, so that it does not matter. Only their sizes are asked for. */
#define bpf_list_head nfsnitch_unused_list_head
#define bpf_list_node nfsnitch_unused_list_node
#define bpf_rb_root nfsnitch_unused_rb_root
#define bpf_rb_node nfsnitch_unused_rb_node
#define bpf_refcount nfsnitch_unused_refcount
#define bpf_res_spin_lock nfsnitch_unused_res_spin_lock
#define bpf_task_work nfsnitch_unused_task_work
#define bpf_wq nfsnitch_unused_wq
struct bpf_list_head {};
struct bpf_list_node {};
struct bpf_rb_root {};
struct bpf_rb_node {};
struct bpf_refcount {};
struct bpf_res_spin_lock {};
struct bpf_task_work {};
struct bpf_wq {};

#include <linux/cgroup-defs.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/kernfs.h>
#include <linux/mm_types.h>
#include <linux/mount.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/ns_common.h>
#include <linux/nsproxy.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include <linux/socket.h>
#include <linux/tcp.h>

#include <net/inet_connection_sock.h>
#include <net/net_namespace.h>
#include <net/sock.h>
#include <net/tcp_states.h>

#include <uapi/linux/bpf.h>
#include <uapi/linux/in.h>
#include <uapi/linux/in6.h>

/* IANA protocol numbers that the kernel's headers do not have. */
#define IPPROTO_HIP 139
#define IPPROTO_SHIM6 140

/* Names that the kernel uses for something else. */
#define count nfsnitch_count
#define skip nfsnitch_skip

/* A section says what libbpf is to do with a program; here, user space knows that from the object. It
 * has bcc compile a function around each program, and that alone is kept. */
#undef SEC
#define SEC(name) __attribute__((internal_linkage))

/* Maps are made by user space, by what the object says of them; see map_ids.h in maps.h. */
#undef __uint
#undef __type
#define __uint(name, value) int (*name)[value]
#define __type(name, value) typeof(value) *name

/* All subprograms lie in one section, from which user space takes those that a program calls. They must
 * be static: only then does a call say where in the section they are; and called as they are written. */
#undef __noinline
#define __noinline __attribute__((__noinline__, used, section(".bpf.fn.nfsnitch_subprograms")))
#define GLOBAL_SUBPROGRAM static __noinline

/* bcc declares the first with 32 bits only, and has others stand for the rest where it cannot see in
 * /proc/kallsyms, for want of CAP_SYSLOG, that the kernel has them. */
#undef bpf_probe_read_kernel
#undef bpf_probe_read_kernel_str
#undef bpf_probe_read_user
#undef bpf_probe_read_user_str
#define bpf_get_socket_cookie nfsnitch_socket_cookie
#define bpf_probe_read_kernel nfsnitch_probe_read_kernel
#define bpf_probe_read_kernel_str nfsnitch_probe_read_kernel_str
#define bpf_probe_read_user nfsnitch_probe_read_user
#define bpf_probe_read_user_str nfsnitch_probe_read_user_str
static __u64 (*bpf_get_socket_cookie)(void *) = (void *)BPF_FUNC_get_socket_cookie;
static long (*bpf_probe_read_kernel)(void *, __u32, const void *) = (void *)BPF_FUNC_probe_read_kernel;
static long (*bpf_probe_read_kernel_str)(void *, __u32, const void *) =
	(void *)BPF_FUNC_probe_read_kernel_str;
static long (*bpf_probe_read_user)(void *, __u32, const void *) = (void *)BPF_FUNC_probe_read_user;
static long (*bpf_probe_read_user_str)(void *, __u32, const void *) =
	(void *)BPF_FUNC_probe_read_user_str;

/*
 * bcc's compiler is set to the first version of the instructions, which has an atomic addition to 32
 * bits, but no atomic OR. User space makes each such addition an OR (Linux 5.12); ours all have 64 bits.
 */
#define WITH_SIZE(word, size) \
	({ _Static_assert(sizeof(*(word)) == (size), "see bcc.h: OR takes 32 bits, + takes 64"); word; })
#define __sync_fetch_and_or(word, bits) ((void)(__sync_fetch_and_add)(WITH_SIZE(word, 4), bits))
#define __sync_fetch_and_add(word, number) ((void)(__sync_fetch_and_add)(WITH_SIZE(word, 8), number))

/* Reading the kernel's memory, field after field. The comma takes const and volatile off the type. */
#define VALUE_OF(source, field)                                                            \
	({                                                                                 \
		__auto_type source_ = (source);                                            \
		typeof(((void)0, source_->field)) value_;                                  \
		bpf_probe_read_kernel(&value_, sizeof(value_), (void *)&source_->field);   \
		value_;                                                                    \
	})
#define READ_1(s, a) VALUE_OF(s, a)
#define READ_2(s, a, b) VALUE_OF(READ_1(s, a), b)
#define READ_3(s, a, b, c) VALUE_OF(READ_2(s, a, b), c)
#define READ_4(s, a, b, c, d) VALUE_OF(READ_3(s, a, b, c), d)
#define READ_5(s, a, b, c, d, e) VALUE_OF(READ_4(s, a, b, c, d), e)
#define SIXTH(a, b, c, d, e, f, ...) f
#define BPF_CORE_READ(s, ...) \
	SIXTH(__VA_ARGS__, READ_5, READ_4, READ_3, READ_2, READ_1)(s, __VA_ARGS__)
#define BPF_CORE_READ_INTO(to, s, field) \
	bpf_probe_read_kernel(to, sizeof(*(to)), (void *)&(s)->field)
#define BPF_CORE_READ_STR_INTO(to, s, field) \
	bpf_probe_read_kernel_str(to, sizeof(*(to)), (void *)&(s)->field)

#define bpf_core_field_offset(type, field) offsetof(type, field)
#define bpf_core_type_size(type) sizeof(type)

/*
 * A bit field has no address, so some bytes before a neighbour that has one are read, and the compiler
 * finds the bits in them.
 */
enum { NEIGHBOURHOOD = 16 };
#define READ_BITS_BEFORE(s, field, neighbour)                                                        \
	({                                                                                           \
		__u64 bytes_[NEIGHBOURHOOD / 8];                                                     \
		const unsigned long from_ = offsetof(typeof(*(s)), neighbour) - NEIGHBOURHOOD;       \
		bpf_probe_read_kernel(bytes_, sizeof(bytes_), (void *)(s) + from_);                  \
		((volatile typeof(*(s)) *)((unsigned long)bytes_ - from_))->field;                   \
	})
#define BPF_CORE_READ_BITFIELD_PROBED(s, field) READ_##field(s)
#define READ_skc_reuse(s) READ_BITS_BEFORE(s, skc_reuse, skc_bound_dev_if)
#define READ_skc_reuseport(s) READ_BITS_BEFORE(s, skc_reuseport, skc_bound_dev_if)
#define READ_sk_kern_sock(s) READ_BITS_BEFORE(s, sk_kern_sock, sk_type)

/* Hooks whose arguments come one in each 64 bits (LSM, fentry), and those that come in registers. */
#define IN_ORDER_1 (void *)ctx[0]
#define IN_ORDER_2 IN_ORDER_1, (void *)ctx[1]
#define IN_ORDER_3 IN_ORDER_2, (void *)ctx[2]
#define IN_ORDER_4 IN_ORDER_3, (void *)ctx[3]
#define IN_ORDER_5 IN_ORDER_4, (void *)ctx[4]
#define AS_MANY(name, ...) SIXTH(__VA_ARGS__, name##_5, name##_4, name##_3, name##_2, name##_1)
/* Each is cast to what the body wants: a pointer, or a number in the register's lower half. */
#pragma clang diagnostic ignored "-Wint-conversion"
#define BPF_PROG(name, ...)                                                                        \
	name(unsigned long long *ctx);                                                             \
	static __always_inline int name##_body(unsigned long long *ctx, __VA_ARGS__);              \
	int name(unsigned long long *ctx)                                                          \
	{                                                                                          \
		return name##_body(ctx, AS_MANY(IN_ORDER, __VA_ARGS__));                           \
	}                                                                                          \
	static __always_inline int name##_body(unsigned long long *ctx, __VA_ARGS__)

#define IN_REGISTERS_1 (void *)PT_REGS_PARM1(ctx)
#define IN_REGISTERS_2 IN_REGISTERS_1, (void *)PT_REGS_PARM2(ctx)
#define IN_REGISTERS_3 IN_REGISTERS_2, (void *)PT_REGS_PARM3(ctx)
#define IN_REGISTERS_4 IN_REGISTERS_3, (void *)PT_REGS_PARM4(ctx)
#define IN_REGISTERS_5 IN_REGISTERS_4, (void *)PT_REGS_PARM5(ctx)
#define BPF_KPROBE(name, ...)                                                                      \
	name(struct pt_regs *ctx);                                                                 \
	static __always_inline int name##_body(struct pt_regs *ctx, __VA_ARGS__);                  \
	int name(struct pt_regs *ctx)                                                              \
	{                                                                                          \
		return name##_body(                                                                \
			ctx, AS_MANY(IN_REGISTERS, __VA_ARGS__));                                  \
	}                                                                                          \
	static __always_inline int name##_body(struct pt_regs *ctx, __VA_ARGS__)

/*
 * What fs/mount.h and net/mptcp/protocol.h declare is not in the headers that are installed. Of the
 * first only the beginning is declared here, which has been the same since Linux 3.13.
 */
struct mount {
	struct hlist_node mnt_hash;
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	void *further[];
};

struct mnt_namespace {
	struct ns_common ns;
};

enum { MOUNT_WORDS = 32, SUBFLOW_WORDS = 48 };

/*
 * The namespace is somewhere behind that, and known when it is found there: it is looked for as the one
 * of the task that runs the file. 0 where the file's is another one; then user space compares files.
 */
static __always_inline __u32 mount_namespace_of(struct file *file, struct task_struct *task)
{
	struct mount *mount = (void *)BPF_CORE_READ(file, f_path.mnt) - offsetof(struct mount, mnt);
	struct mnt_namespace *own = BPF_CORE_READ(task, nsproxy, mnt_ns);
	void *word;

	if (!own)
		return 0;
	for (int i = 0; i < MOUNT_WORDS; i++) {
		if (bpf_probe_read_kernel(&word, sizeof(word), &mount->further[i]))
			return 0;
		if (word == own)
			return BPF_CORE_READ(own, ns.inum);
	}
	return 0;
}

/* In the kernel's notes on a path of multipath TCP, the program's socket stands behind the path's own. */
static __always_inline struct sock *mptcp_connection_of(struct sock *sk)
{
#if IS_ENABLED(CONFIG_MPTCP)
	void **notes;
	struct sock *words[2];

	if (!BPF_CORE_READ((struct tcp_sock *)sk, is_mptcp))
		return NULL;
	notes = BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_ulp_data);
	for (int i = 0; notes && i < SUBFLOW_WORDS; i++) {
		if (bpf_probe_read_kernel(words, sizeof(words), &notes[i]))
			return NULL;
		if (words[0] == sk)
			return words[1];
	}
#endif
	return NULL;
}

static __always_inline __u64 changed_ns(struct inode *inode)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
	/* Without the bit that says whether somebody has looked (I_CTIME_QUERIED, linux/fs.h). */
	return BPF_CORE_READ(inode, i_ctime_sec) * NSEC_PER_SEC +
	       (BPF_CORE_READ(inode, i_ctime_nsec) & 0x7fffffff);
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	return BPF_CORE_READ(inode, __i_ctime.tv_sec) * NSEC_PER_SEC +
	       BPF_CORE_READ(inode, __i_ctime.tv_nsec);
#else
	return BPF_CORE_READ(inode, i_ctime.tv_sec) * NSEC_PER_SEC + BPF_CORE_READ(inode, i_ctime.tv_nsec);
#endif
}

static __always_inline struct kernfs_node *node_above(struct kernfs_node *node)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 15, 0)
	return (void *)BPF_CORE_READ(node, __parent);
#else
	return BPF_CORE_READ(node, parent);
#endif
}

#endif
