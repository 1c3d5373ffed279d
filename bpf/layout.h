/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the eBPF programs and user space share: the keys and values of the maps.
 *
 * User space reads these with the struct formats of src/nfsnitch/adapters/bpf/layout.py; the sizes
 * are asserted here and compared there with what the kernel says of each map, so that the two
 * cannot drift apart. Integers are in host byte order unless the name ends in _be. Every byte of
 * padding is named, so that a key never carries what happened to lie on the stack.
 */
#ifndef NFSNITCH_LAYOUT_H
#define NFSNITCH_LAYOUT_H

#define NS_PER_S 1000000000ULL

/* Raised with every change to what a key or a value below means: pinned maps outlive the daemon, and
 * one that knows another version replaces them. */
enum { LAYOUT_VERSION = 5 };

enum {
	EXE_BYTES = 1024,    /* longest executable path kept; a power of two */
	CGROUP_BYTES = 512,  /* longest cgroup path kept; a power of two */
	ARGS_BYTES = 1024,   /* how much of the arguments is kept */
	NAME_BYTES = 256,    /* longest single file name (NAME_MAX + 1) */
	COMM_BYTES = 16,     /* TASK_COMM_LEN */
	MAX_OWNERS = 262144, /* sockets alive at once */
	MAX_IMAGES = 32768,  /* processes with such sockets, and their ancestors */
	MAX_FLOWS = 65536,
	MAX_PORTS = 65536,
	MAX_RAW_PROTOCOLS = 4096,
	RELEASES_BYTES = 1 << 18, /* 16,384 closed sockets that user space has yet to hear of */
	MAX_ANCESTORS = 16,
	MAX_PREVIOUS = 4,    /* how many earlier users of a tuple are kept */
	MAX_OPENING_RULES = 64,      /* in force at once; there is room for as many that come after them */
	MAX_OPENING_VALUES = 131072, /* users, groups and paths that all of these name */
	OPENING_TEXT_BYTES = 172,    /* longest such path and the NUL behind it; it lies on the stack */
	OPENINGS_BYTES = 1 << 17,
	MAX_CROSSINGS = 32768,       /* tuples that came here from other network namespaces */
	NAMES_BYTES = 1 << 18,       /* questions and answers that user space has yet to read */
	MAX_QUESTIONS = 16384,       /* asked lately, of which the answers are copied */
	MAX_LIBC_CALLS = 2048,       /* threads that wait for the C library to find a name */
	LIBC_NAME_BYTES = 256,       /* longest such name, and the NUL behind it */
	LIBC_ADDRESSES = 16,         /* how many addresses of a result are kept; a power of two */
	MAX_VERDICTS = 8192,         /* of a program on a destination, that the kernel may repeat */
	MAX_PASSES = 16384,          /* flows of sockets that have got such a verdict, or user space's */
	CACHED_BYTES = 1 << 20,      /* 7,710 such flows that user space has yet to record */
};

/*
 * Names one process between two execs. A pid alone is reused; pid and start time stay the same over
 * an exec, so the count of execs belongs to it, and so does the cgroup, which has its path in the
 * image: moved to another cgroup, a process gets another image.
 */
struct image_key {
	__u64 start_ns;  /* boot time at which the process started */
	__u64 exec_id;   /* task_struct.self_exec_id */
	__u64 cgroup_id; /* 0: not known */
	__u32 pid;       /* of the thread group; 0: none */
	__u32 padding;
};

enum image_flag {
	IMAGE_READY = 1 << 0,            /* everything but the arguments has been filled in */
	IMAGE_EXE_KNOWN = 1 << 1,
	IMAGE_EXE_TRUNCATED = 1 << 2,    /* longer than EXE_BYTES: the end of it is kept */
	IMAGE_EXE_DELETED = 1 << 3,      /* no name leads to the file any more */
	IMAGE_ARGS_KNOWN = 1 << 4,       /* read in the process's own context */
	IMAGE_ARGS_TRUNCATED = 1 << 5,   /* longer than ARGS_BYTES: the start of it is kept */
	IMAGE_CGROUP_KNOWN = 1 << 6,
	IMAGE_CGROUP_TRUNCATED = 1 << 7,
	IMAGE_TORN = 1 << 8,             /* the ancestor was in an exec while it was being read */
};

/* What is the same for all sockets of a process. Texts end at the end of their buffer's first part
 * (they are written from the last component backwards); the NAME_BYTES behind it are slack that lets
 * the verifier see that no component can run over. */
struct image {
	struct image_key parent; /* pid 0: there is none, or it was too far up */
	__u64 last_used_ns;      /* monotonic; user space removes what is unused for long */
	__u64 exe_inode;
	__u64 exe_changed_ns;    /* since 1970: when the file or what it is called was changed last (ctime) */
	__u64 exe_hash;          /* of the path, below; only ever compared beside device and inode */
	__u32 exe_device;        /* kernel encoding: major << 20 | minor */
	__u32 flags;             /* enum image_flag */
	__u32 mntns;             /* inode number of the mount namespace that the path is of; 0: none */
	__u32 padding_mntns;
	__u16 exe_start;         /* the path is exe[exe_start .. EXE_BYTES) */
	__u16 cgroup_start;      /* the path is cgroup[cgroup_start .. CGROUP_BYTES) */
	__u16 args_bytes;        /* the arguments are args[0 .. args_bytes), each ended by a NUL */
	__u16 padding;
	char exe[EXE_BYTES + NAME_BYTES];
	char cgroup[CGROUP_BYTES + NAME_BYTES];
	char args[ARGS_BYTES];
};

enum owner_flag {
	/* Connected or sent through; with a probe on the queue: a packet of it was queued, or answered for. */
	OWNER_USED = 1 << 0,
	OWNER_SHARES_PORT = 1 << 1, /* SO_REUSEADDR or SO_REUSEPORT: others may have its port, too */
	OWNER_OPENED = 1 << 2,      /* seen being made, so `opener` is known */
};

/* Who uses a socket: the process that last connected it or sent through it, else its creator. */
struct owner {
	struct image_key image;
	__u64 created_ns;  /* monotonic; when the socket was first seen here, before its first packet */
	__u64 released_ns; /* monotonic; 0 while the socket is open */
	__u32 tid;
	__u32 uid;         /* file-system uid, as the kernel stamps it on the socket */
	__u32 gid;
	__u32 netns;       /* inode number of the process's network namespace */
	__u32 flags;       /* enum owner_flag */
	__u32 padding;
	char comm[COMM_BYTES];
	struct image_key opener; /* who made the socket, whoever uses it now; pid 0: not known */
};

/*
 * A flow as the packet will name it. IPv4 addresses fill the first four bytes. Where the probe on the
 * queue writes it, `sport` may also be the identifier of an ICMP echo; what has no ports has 0.
 */
struct flow_key {
	__u64 netns_cookie;
	__u8 saddr_be[16]; /* zero: left to the routing table */
	__u8 daddr_be[16];
	__u16 sport;
	__u16 dport;
	__u8 family;       /* 4 or 6 */
	__u8 proto;
	__u16 padding;
};

/* In place of a cookie. Real ones count up from 1. */
#define COOKIE_KERNEL (~0ULL)         /* the kernel sends, by no program's socket */
#define COOKIE_UNNUMBERED (~0ULL - 1) /* a program's socket that has no cookie yet */

/* Who sends with a tuple. The kernel gives a port away again as soon as its socket is closed, when a
 * packet of the old socket may still wait in the queue; so whose it was before is kept. */
struct flow_value {
	__u64 cookie;
	__u64 since_ns;                /* monotonic; when `cookie` took over */
	__u64 last_ns;                 /* when it was here last */
	__u64 previous_ns;             /* when one of those before was here last; 0: never */
	__u64 previous[MAX_PREVIOUS];  /* latest first; 0: nobody */
};

/*
 * A flow that left one network namespace for another over a pair of virtual interfaces, as the packet
 * names it where it comes out. Two namespaces may well use the same tuple: the interface tells them apart.
 */
struct crossing_key {
	struct flow_key flow; /* its netns_cookie: of the namespace that the packet comes to */
	__u32 ifindex;        /* there, of the interface that it comes in by */
	__u32 padding;
};

struct crossing_value {
	struct flow_value claim; /* first: the two are written alike */
	__u64 inode;             /* of the socket of claim.cookie, as /proc/PID/fd names it; 0: none */
};

/* A local port. */
struct port_key {
	__u64 netns_cookie;
	__u16 sport;
	__u16 proto;
	__u32 padding;
};

struct port_value {
	__u64 cookie;
	__u64 shared; /* 1: another open socket had the same key, so this answers nothing */
};

/* The protocol of raw sockets, whose packets say nothing else of them. */
struct raw_key {
	__u64 netns_cookie;
	__u32 proto;
	__u32 padding;
};

struct raw_value {
	__u64 cookie; /* of the one that was made last */
	__s64 open;   /* how many are open; of one alone it is known whose packets they are */
	__u64 closed_ns; /* monotonic; when one was closed last */
};

/* Told through the ring buffer when a socket has been closed. */
struct release {
	__u64 cookie;
};

/*
 * Rules on opening a socket past netfilter (AF_PACKET, AF_XDP). The hook itself decides: nothing can
 * wait there for an answer. User space writes the rules into one of two banks, and then has the hook
 * look there: it meets the old rules or the new ones, and never some of each.
 */
enum opening_action { OPENING_END, OPENING_ALLOW, OPENING_REFUSE };

/* What a rule may ask for; each has a bit in `tests` and in `negated`. */
enum opening_field {
	OPENING_UID,
	OPENING_USER, /* the uid once more: a rule may have both */
	OPENING_GID,
	OPENING_GROUP,
	OPENING_EXE,
	OPENING_CGROUP,
	OPENING_FIELDS,
};

enum opening_kind { OPENING_PACKET = 1 << 0, OPENING_XDP = 1 << 1 };

struct opening_settings {
	__u64 netns_cookie; /* where openings are looked at; 0: nowhere */
	__u32 mntns;        /* inode number of the mount namespace that paths in rules are of */
	__u32 bank;         /* 0 or 1: which half of opening_rules is in force */
	__u32 unattributed; /* enum opening_action: what becomes of who is not known at all */
	__u32 padding;
};

struct opening_rule {
	__u32 action;  /* OPENING_END: the rules end here */
	__u32 kinds;   /* of enum opening_kind */
	__u32 tests;
	__u32 negated;
	__u32 generation;
};

struct opening_number {
	__u32 slot;    /* the rule's place in opening_rules, both banks counted */
	__u32 field;
	__u64 value;
};

/* A path, of which the first `bits` (slot and field included) have to be the same. */
struct opening_text {
	__u32 bits;
	__u32 slot_and_field; /* slot << 16 | field */
	char text[OPENING_TEXT_BYTES];
};

#define OPENING_NO_RULE (~0U)

/* Told through the ring buffer: somebody has opened such a socket, or was refused it. */
struct opening {
	struct owner opener;
	__u32 family;
	__u32 type;
	__u32 protocol;   /* as the program gave it: big endian of AF_PACKET, else its number */
	__u32 action;     /* enum opening_action; OPENING_END: nobody judged */
	__u32 rule;       /* its place in its bank; OPENING_NO_RULE: none decided */
	__u32 generation; /* of the rules that judged; 0 where there were none */
};

/* What begins each sample in the ring buffer `names`. */
enum name_sample_kind {
	NAME_DNS = 1,
	NAME_LIBC = 2,
};

enum dns_flag {
	DNS_RECEIVED = 1 << 0, /* by this socket; else it was sent */
	DNS_CUT = 1 << 1,      /* longer than the sample has room for */
};

/*
 * A packet from or to port 53, by the addresses that the socket itself knows where it is connected: on its
 * way a packet may get others (NAT). The payload is behind it; the sample's size may be larger than that.
 */
struct dns_sample {
	__u32 kind;          /* NAME_DNS */
	__u32 flags;         /* enum dns_flag */
	__u64 seen_ns;       /* monotonic */
	__u64 cookie;
	__u64 netns_cookie;
	__u8 local_be[16];   /* IPv4 addresses fill the first four bytes */
	__u8 remote_be[16];
	__u32 seq;           /* of TCP, else 0 */
	__u32 ack;
	__u16 local_port;
	__u16 payload_bytes; /* how many are here */
	__u8 family;         /* 4 or 6 */
	__u8 proto;          /* TCP or UDP */
	__u8 tcp_flags;
	__u8 padding;
};

/* What the C library has given to a program that asked it for addresses. */
struct libc_sample {
	__u32 kind;        /* NAME_LIBC */
	__u32 addresses;   /* how many there are */
	__u64 seen_ns;     /* monotonic */
	struct owner asker;
	char name[LIBC_NAME_BYTES]; /* ended by a NUL */
	__u8 family[LIBC_ADDRESSES]; /* 4 or 6, of each address */
	__u8 address_be[LIBC_ADDRESSES][16];
};

/* A question that a socket has sent. */
struct question_key {
	__u64 cookie;
	__u32 id;        /* of the DNS message; ANY_QUESTION: all that a TCP connection carries */
	__u32 padding;
};

#define ANY_QUESTION (~0U)

struct question {
	__u64 since_ns; /* monotonic; the time from which `left` counts */
	__s64 left;     /* how many packets are still to be copied */
};

/* A thread that has asked the C library and waits for the answer. */
enum libc_kind {
	LIBC_LIST, /* it will be a list of struct addrinfo */
	LIBC_HOST, /* it will be a struct hostent */
};

struct libc_call_key {
	__u64 thread; /* process and thread, as bpf_get_current_pid_tgid() has them */
	__u32 kind;   /* enum libc_kind: for a list of IPv4 alone, the library asks itself for a host */
	__u32 padding;
};

struct libc_call {
	__u64 result; /* where the program will find the pointer to it */
	char name[LIBC_NAME_BYTES];
};

/*
 * The kernel's own answer: what the rules say of a program and a destination, whatever else a flow may
 * have. User space writes it down when it has decided such a flow by itself; see verdicts.h.
 */
enum verdict_action {
	VERDICT_NONE,   /* user space must say */
	VERDICT_ACCEPT,
	VERDICT_REJECT, /* aloud */
	VERDICT_DROP,
	VERDICT_ACTIONS = 0xff,
	PASS_FIRST = 1 << 8, /* of a pass: the flow's first packet got it already, so none was queued */
};

/* With the family of a key: the verdict is for all of these, and the key has 0 in their place. */
enum verdict_reach { ANY_ADDRESS = 1 << 4, ANY_PORT = 1 << 5 };

struct verdict_settings {
	__u32 generation; /* verdicts of any other one do not count, and none does of 0; it only goes up */
	__u16 by_cgroup;  /* 1: rules look at cgroups, so these belong to the key */
	__u16 claims;     /* 1: what answers sees each packet that may be queued, so it claims the tuple */
	__u64 woken_ns;   /* monotonic; when user space was last woken to read of flows */
};

/* The daemon, which must be there: without it nothing may leave that `fail: closed` holds back. */
struct verdict_keeper {
	__u64 task;     /* where its task_struct is, or was */
	__u64 start_ns;
	__u32 pid;      /* 0: there has been none */
	__u32 padding;
};

struct verdict_key {
	__u64 exe_inode;
	__u64 exe_changed_ns;
	__u64 exe_hash;
	__u64 cgroup_id;   /* 0 where no rule looks at it */
	__u32 exe_device;
	__u32 mntns;
	__u32 uid;
	__u32 gid;
	__u32 netns;
	__u8 daddr_be[16]; /* IPv4 addresses fill the first four bytes */
	__u16 dport;
	__u8 family;       /* 4 or 6, with enum verdict_reach */
	__u8 proto;
};

struct verdict {
	__u64 until_ns;   /* monotonic; it does not count from then on */
	__u32 generation;
	__u32 action;     /* enum verdict_action */
	__u32 number;     /* by which user space knows the decision */
	__u32 padding;
};

/* A flow of one socket: what it has got once counts for what it sends on. */
struct pass_key {
	__u64 cookie;
	struct flow_key flow; /* its netns_cookie is 0 */
};

struct pass {
	struct image_key user; /* of the socket: a verdict for one process is none for another */
	__u64 until_ns;
	__u32 generation;
	__u32 action; /* with PASS_FIRST, perhaps */
};

/*
 * Told through the ring buffer: the first packet of a flow has got a verdict that was here already. From
 * `daddr_be` on it is the same to the byte for what a program does again and again, from `number` on for
 * what it does elsewhere, too: user space looks at that once.
 * Who uses the socket has made it, too, or nothing would be told here.
 */
struct cached {
	__u64 seen_ns;     /* monotonic */
	__u16 sport;
	__u16 padding;
	__u8 daddr_be[16]; /* IPv4 addresses fill the first four bytes */
	__u32 number;
	__u32 generation;
	__u32 action;      /* enum verdict_action */
	__u32 ifindex;     /* by which it would leave; 0: not known */
	__u8 saddr_be[16];
	__u16 dport;
	__u8 family;       /* 4 or 6 */
	__u8 proto;
	struct image_key image;
	__u32 tid;
	__u32 uid;
	__u32 gid;
	__u32 netns;
	char comm[COMM_BYTES];
};

enum counter {
	COUNT_OWNERS_FULL,
	COUNT_IMAGES_FULL,
	COUNT_RELEASES_LOST,
	COUNT_OPENINGS_LOST,
	COUNT_NAMES_LOST,
	COUNT_NAMES_UNASKED,
	COUNT_CACHED_LOST,
	COUNTERS,
};

_Static_assert(sizeof(struct image_key) == 32, "layout.py: IMAGE_KEY");
_Static_assert(sizeof(struct image) == 3160, "layout.py: IMAGE");
_Static_assert(sizeof(struct owner) == 120, "layout.py: OWNER");
_Static_assert(sizeof(struct flow_key) == 48, "layout.py: FLOW_KEY");
_Static_assert(sizeof(struct flow_value) == 64, "layout.py: FLOW_VALUE");
_Static_assert(sizeof(struct crossing_key) == 56, "layout.py: CROSSING_KEY");
_Static_assert(sizeof(struct crossing_value) == 72, "layout.py: CROSSING_VALUE");
_Static_assert(sizeof(struct port_key) == 16, "layout.py: PORT_KEY");
_Static_assert(sizeof(struct raw_key) == 16, "layout.py: RAW_KEY");
_Static_assert(sizeof(struct raw_value) == 24, "layout.py: RAW_VALUE");
_Static_assert(sizeof(struct port_value) == 16, "layout.py: PORT_VALUE");
_Static_assert(sizeof(struct opening_settings) == 24, "layout.py: OPENING_CONFIG");
_Static_assert(sizeof(struct opening_rule) == 20, "layout.py: OPENING_RULE");
_Static_assert(sizeof(struct opening_number) == 16, "layout.py: OPENING_NUMBER");
_Static_assert(sizeof(struct opening_text) == 180, "layout.py: OPENING_TEXT");
_Static_assert(sizeof(struct opening) == 144, "layout.py: OPENING");
_Static_assert(sizeof(struct dns_sample) == 80, "layout.py: DNS_SAMPLE");
_Static_assert(sizeof(struct libc_sample) == 664, "layout.py: LIBC_SAMPLE");
_Static_assert(sizeof(struct verdict_settings) == 16, "layout.py: VERDICT_SETTINGS");
_Static_assert(sizeof(struct verdict_key) == 72, "layout.py: VERDICT_KEY");
_Static_assert(sizeof(struct verdict) == 24, "layout.py: VERDICT");
_Static_assert(sizeof(struct pass_key) == 56, "layout.py: PASS_KEY");
_Static_assert(sizeof(struct pass) == 48, "layout.py: PASS");
_Static_assert(sizeof(struct cached) == 128, "layout.py: CACHED");

#endif
