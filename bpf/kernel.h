/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The few kernel structures that are read, with the few fields that are used.
 *
 * These are not the kernel's definitions: CO-RE finds each field by its name in the running kernel's
 * BTF when the object is loaded, so neither the order nor what is left out matters, and no header
 * generated from one machine's kernel is needed to build.
 */
#ifndef NFSNITCH_KERNEL_H
#define NFSNITCH_KERNEL_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct qstr {
	__u32 len;
	const unsigned char *name;
};

struct hlist_bl_node {
	struct hlist_bl_node **pprev;
};

struct super_block {
	__u32 s_dev;
};

struct timespec64 {
	__s64 tv_sec;
	long tv_nsec;
};

struct inode {
	unsigned long i_ino;
	struct super_block *i_sb;
	struct timespec64 i_ctime;
};

struct inode___since_6_6 {
	struct timespec64 __i_ctime;
};

struct inode___since_6_11 {
	__s64 i_ctime_sec;
	__u32 i_ctime_nsec;
};

struct dentry {
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mnt_namespace;

struct mount { /* fs/mount.h */
	struct mnt_namespace *mnt_ns;
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
};

struct mm_struct {
	struct file *exe_file;
	unsigned long arg_start;
	unsigned long arg_end;
};

struct kernfs_node {
	struct kernfs_node *parent;
	const char *name;
	__u64 id;
};

struct kernfs_node___since_6_15 { /* renamed when it came under RCU */
	struct kernfs_node *__parent;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
	__u64 net_cookie;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
	struct net *net_ns;
};

typedef struct {
	__u32 val;
} kuid_t;

typedef struct {
	__u32 val;
} kgid_t;

struct cred {
	kuid_t fsuid;
	kgid_t fsgid;
};

struct task_struct {
	unsigned int flags;
	int pid;
	int tgid;
	__u64 start_boottime;
	__u64 self_exec_id;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct mm_struct *mm;
	struct nsproxy *nsproxy;
	struct css_set *cgroups;
	const struct cred *cred;
	char comm[16];
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__u32 u6_addr32[4];
	} in6_u;
};

typedef struct {
	__s64 counter;
} atomic64_t;

struct sock;

struct sock_common {
	__u32 skc_daddr;
	__u32 skc_rcv_saddr;
	__u16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	unsigned char skc_reuse : 4;
	unsigned char skc_reuseport : 1;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
	struct sock *skc_listener; /* of a request: who listens */
};

struct socket;

struct sock {
	struct sock_common __sk_common;
	struct socket *sk_socket;
	__u8 sk_kern_sock : 1;
	__u16 sk_type;
	__u16 sk_protocol;
};

struct socket {
	struct sock *sk;
};

struct socket_alloc { /* include/net/sock.h: a socket, and the inode by which a file leads to it */
	struct socket socket;
	struct inode vfs_inode;
};

struct inet_connection_sock {
	void *icsk_ulp_data;
};

struct tcp_sock {
	bool is_mptcp;
};

struct mptcp_subflow_context { /* net/mptcp/protocol.h */
	struct sock *conn;
};

struct rtnl_link_ops {
	const char *kind;
};

struct net_device {
	int ifindex;
	possible_net_t nd_net;
	const struct rtnl_link_ops *rtnl_link_ops;
};

struct dst_entry {
	struct net_device *dev;
};

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned long _skb_refdst;
	unsigned int len;
	unsigned int data_len;
	__u16 network_header;
	unsigned char *head;
	unsigned char *data;
};

struct nf_hook_state {
	__u8 hook;
	__u8 pf;
	struct sock *sk;
	struct net *net;
};

#pragma clang attribute pop

/* Not in the kernel's UAPI headers. */
enum { AF_INET = 2, AF_INET6 = 10, AF_PACKET = 17, AF_XDP = 44, SOCK_RAW = 3 };
enum { TCP_TIME_WAIT = 6, TCP_CLOSE = 7, TCP_LISTEN = 10, TCP_NEW_SYN_RECV = 12 }; /* skc_state */
enum { PF_EXITING = 0x00000004, PF_KTHREAD = 0x00200000 }; /* task_struct.flags */
enum { NF_INET_LOCAL_OUT = 3 };

/* IANA protocol numbers. */
enum {
	IPPROTO_HOPOPTS = 0,
	IPPROTO_ICMP = 1,
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	IPPROTO_ROUTING = 43,
	IPPROTO_FRAGMENT = 44,
	IPPROTO_AH = 51,
	IPPROTO_ICMPV6 = 58,
	IPPROTO_NONE = 59,
	IPPROTO_DSTOPTS = 60,
	IPPROTO_SCTP = 132,
	IPPROTO_MH = 135,
	IPPROTO_UDPLITE = 136,
	IPPROTO_HIP = 139,
	IPPROTO_SHIM6 = 140,
	IPPROTO_MPTCP = 262, /* not IANA's: Linux's own */
};

/* Of libbpf's words, what bcc.h has to say in another way. Such a function is checked by the verifier
 * once, and not at each call. */
#define GLOBAL_SUBPROGRAM __noinline

/*
 * The namespace of the mount that a file was opened through. Not the process's: it can run a file of
 * another namespace. 0: of none, as with a memfd or a mount that was taken out of its tree.
 */
static __always_inline __u32 mount_namespace_of(struct file *file, struct task_struct *task)
{
	struct mount *mount = (void *)BPF_CORE_READ(file, f_path.mnt) -
			      bpf_core_field_offset(struct mount, mnt);

	return BPF_CORE_READ(mount, mnt_ns, ns.inum);
}

/* The socket that a program has, where `sk` is one path of its multipath TCP; else NULL. */
static __always_inline struct sock *mptcp_connection_of(struct sock *sk)
{
	struct mptcp_subflow_context *subflow;

	if (!bpf_core_field_exists(struct tcp_sock, is_mptcp) ||
	    !bpf_core_field_exists(struct mptcp_subflow_context, conn) ||
	    !BPF_CORE_READ((struct tcp_sock *)sk, is_mptcp))
		return NULL;
	subflow = BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_ulp_data);
	return subflow ? BPF_CORE_READ(subflow, conn) : NULL;
}

/* Above these bits there is one that says whether somebody has looked (I_CTIME_QUERIED, linux/fs.h). */
enum { CTIME_NSEC = 0x7fffffff };

/* When the file or what it is called was changed last, in ns since 1970 (ctime). */
static __always_inline __u64 changed_ns(struct inode *inode)
{
	struct inode___since_6_6 *newer = (void *)inode;
	struct inode___since_6_11 *newest = (void *)inode;

	if (bpf_core_field_exists(newest->i_ctime_sec))
		return BPF_CORE_READ(newest, i_ctime_sec) * NS_PER_S +
		       (BPF_CORE_READ(newest, i_ctime_nsec) & CTIME_NSEC);
	if (bpf_core_field_exists(newer->__i_ctime))
		return BPF_CORE_READ(newer, __i_ctime.tv_sec) * NS_PER_S +
		       BPF_CORE_READ(newer, __i_ctime.tv_nsec);
	return BPF_CORE_READ(inode, i_ctime.tv_sec) * NS_PER_S + BPF_CORE_READ(inode, i_ctime.tv_nsec);
}

static __always_inline struct kernfs_node *node_above(struct kernfs_node *node)
{
	struct kernfs_node___since_6_15 *newer = (void *)node;

	if (bpf_core_field_exists(newer->__parent))
		return BPF_CORE_READ(newer, __parent);
	return BPF_CORE_READ(node, parent);
}

#endif
