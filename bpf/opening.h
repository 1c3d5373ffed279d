/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sockets past netfilter: what AF_PACKET and AF_XDP send, no rule ever sees. So the rules are asked
 * once, when such a socket is opened, and have to answer at once. The rules' own words are kept: the
 * first that matches decides, and what is not known is matched by none, under not: either.
 *
 * Only openings in the one network namespace that user space names are looked at. The socket belongs
 * to the namespace of who opens it.
 */
#ifndef NFSNITCH_OPENING_H
#define NFSNITCH_OPENING_H

enum { REFUSED = -1 }; /* -EPERM, what a program without CAP_NET_RAW gets */

/* What the rules say of an opening. */
struct opening_ruling {
	__u32 action;
	__u32 rule;
	__u32 generation;
};

static __always_inline __u32 opening_kind_of(int family)
{
	if (family == AF_PACKET)
		return OPENING_PACKET;
	return family == AF_XDP ? OPENING_XDP : 0;
}

/* The configuration, if an opening by the current process is to be looked at. */
static __always_inline struct opening_settings *opening_config_here(int family, int kern)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct opening_settings *config;
	__u32 zero = 0;

	if (!opening_kind_of(family) || kern)
		return NULL;
	config = bpf_map_lookup_elem(&opening_config, &zero);
	if (!config || !config->netns_cookie ||
	    config->netns_cookie != BPF_CORE_READ(task, nsproxy, net_ns, net_cookie))
		return NULL;
	return config;
}

static __always_inline bool names_number(__u32 slot, __u32 field, __u64 value)
{
	struct opening_number key = { .slot = slot, .field = field, .value = value };

	return bpf_map_lookup_elem(&opening_numbers, &key);
}

/* `bytes` has the text in [start, end). Answers false for what is too long for any rule. */
static __noinline bool names_text(__u32 slot, __u32 field, const char *text, __u32 length)
{
	struct opening_text key = {
		.bits = 8 * (sizeof(key) - sizeof(key.bits)),
		.slot_and_field = slot << 16 | field,
	};

	length &= 255;
	if (length >= OPENING_TEXT_BYTES) /* so that there is a NUL behind it */
		return false;
	bpf_probe_read_kernel(key.text, length, text);
	return bpf_map_lookup_elem(&opening_texts, &key);
}

/* Whether the executable is known by a path that means the same file to whoever wrote the rules. */
static __always_inline bool knows_exe(const struct image *image, const struct opening_settings *config)
{
	__u32 spoilt = IMAGE_EXE_TRUNCATED | IMAGE_TORN;

	return (image->flags & IMAGE_EXE_KNOWN) && !(image->flags & spoilt) &&
	       image->mntns == config->mntns &&
	       EXE_BYTES - image->exe_start < OPENING_TEXT_BYTES;
}

static __always_inline bool knows_cgroup(const struct image *image)
{
	return (image->flags & IMAGE_CGROUP_KNOWN) && !(image->flags & IMAGE_CGROUP_TRUNCATED) &&
	       CGROUP_BYTES - image->cgroup_start < OPENING_TEXT_BYTES;
}

static __always_inline bool names_exe(__u32 slot, const struct image *image)
{
	__u32 start = image->exe_start & (EXE_BYTES - 1);

	return names_text(slot, OPENING_EXE, image->exe + start, EXE_BYTES - start);
}

static __always_inline bool names_cgroup(__u32 slot, const struct image *image)
{
	__u32 start = image->cgroup_start & (CGROUP_BYTES - 1);
	const char root[] = "/";

	if (image->cgroup_start >= CGROUP_BYTES)
		return names_text(slot, OPENING_CGROUP, root, 1);
	return names_text(slot, OPENING_CGROUP, image->cgroup + start, CGROUP_BYTES - start);
}

/* Whether a test of a rule holds, if the rule has it; `named` is whether the rule names the value. */
static __always_inline bool holds(const struct opening_rule *rule, __u32 field, bool named)
{
	return named != !!(rule->negated & 1U << field);
}

#define HAS_TEST(rule, field) ((rule)->tests & 1U << (field))

/* Not static, so that the verifier checks it once and not for each of the rules that may be. */
GLOBAL_SUBPROGRAM int opening_rule_matches(const struct opening_rule *rule, __u32 slot,
					   const struct owner *opener, const struct image *image,
					   const struct opening_settings *config)
{
	if (!rule || !opener || !image || !config)
		return false;
	if (HAS_TEST(rule, OPENING_UID) &&
	    !holds(rule, OPENING_UID, names_number(slot, OPENING_UID, opener->uid)))
		return false;
	if (HAS_TEST(rule, OPENING_USER) &&
	    !holds(rule, OPENING_USER, names_number(slot, OPENING_USER, opener->uid)))
		return false;
	if (HAS_TEST(rule, OPENING_GID) &&
	    !holds(rule, OPENING_GID, names_number(slot, OPENING_GID, opener->gid)))
		return false;
	if (HAS_TEST(rule, OPENING_GROUP) &&
	    !holds(rule, OPENING_GROUP, names_number(slot, OPENING_GROUP, opener->gid)))
		return false;
	if (HAS_TEST(rule, OPENING_EXE) &&
	    (!knows_exe(image, config) || !holds(rule, OPENING_EXE, names_exe(slot, image))))
		return false;
	return !HAS_TEST(rule, OPENING_CGROUP) ||
	       (knows_cgroup(image) && holds(rule, OPENING_CGROUP, names_cgroup(slot, image)));
}

/* Sets what the first rule that matches says; else that it is allowed. */
static __always_inline void judge_opening(struct opening_ruling *ruling, __u32 kind,
					  const struct owner *opener,
					  const struct opening_settings *config)
{
	__u32 first = config->bank & 1 ? MAX_OPENING_RULES : 0;
	struct image *image = bpf_map_lookup_elem(&images, &opener->image);

	ruling->action = OPENING_ALLOW;
	ruling->rule = OPENING_NO_RULE;
	for (__u32 i = 0; i < MAX_OPENING_RULES; i++) {
		__u32 slot = first + i;
		struct opening_rule *rule = bpf_map_lookup_elem(&opening_rules, &slot);

		if (!rule || rule->action == OPENING_END)
			return;
		ruling->generation = rule->generation;
		if (!image) {
			ruling->action = config->unattributed;
			return;
		}
		if ((rule->kinds & kind) &&
		    opening_rule_matches(rule, slot, opener, image, config)) {
			ruling->action = rule->action;
			ruling->rule = i;
			return;
		}
	}
}

static __always_inline void submit_opening(const struct owner *opener, int family, int type,
					   int protocol, const struct opening_ruling *ruling)
{
	struct opening *opening = bpf_ringbuf_reserve(&openings, sizeof(*opening), 0);

	if (!opening) {
		count(COUNT_OPENINGS_LOST);
		return;
	}
	opening->opener = *opener;
	opening->family = family;
	opening->type = type;
	opening->protocol = protocol;
	opening->action = ruling->action;
	opening->rule = ruling->rule;
	opening->generation = ruling->generation;
	bpf_ringbuf_submit(opening, 0);
}

/* Before the socket is made. What is not refused may still fail; so that is not told of here. */
static __always_inline int refuse_opening(int family, int type, int protocol, int kern)
{
	struct opening_settings *config = opening_config_here(family, kern);
	struct opening_ruling ruling = {};
	struct owner opener = {};

	if (!config)
		return 0;
	describe_current(&opener);
	judge_opening(&ruling, opening_kind_of(family), &opener, config);
	if (ruling.action != OPENING_REFUSE)
		return 0;
	submit_opening(&opener, family, type, protocol, &ruling);
	return REFUSED;
}

/* The socket is there. `judged`: the rules were asked before, and would say the same again. */
static __always_inline int tell_of_opening(int family, int type, int protocol, int kern, bool judged)
{
	struct opening_settings *config = opening_config_here(family, kern);
	struct opening_ruling ruling = { .rule = OPENING_NO_RULE };
	struct owner opener = {};

	if (!config)
		return DONE;
	describe_current(&opener);
	if (judged)
		judge_opening(&ruling, opening_kind_of(family), &opener, config);
	if (ruling.action == OPENING_REFUSE) /* other rules came in between: it is open all the same */
		ruling.action = OPENING_END;
	submit_opening(&opener, family, type, protocol, &ruling);
	return DONE;
}

#endif
