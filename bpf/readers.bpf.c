// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What lists the maps `owners` and `images` to whoever may read a file: iterators, pinned beside the
 * maps. Reading them takes no capability and no bpf() call, and writing is not possible.
 *
 * An object of its own: these know nothing of the kernel's structures but where the entries are, and
 * where they cannot be had nothing else is lost.
 */
#include <stddef.h>

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "layout.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct seq_file;

struct bpf_iter_meta { /* include/linux/bpf.h */
	struct seq_file *seq;
};

struct bpf_iter__bpf_map_elem { /* kernel/bpf/map_iter.c */
	struct bpf_iter_meta *meta;
	void *map;
	void *key;
	void *value;
};

#pragma clang attribute pop

/* Before each row, so that a reader of another version can tell. */
struct row_head {
	__u32 layout_version;
	__u32 row_bytes; /* of the whole row */
};

_Static_assert(sizeof(struct row_head) == 8, "layout.py: ROW_HEAD");

static __always_inline int write_row(struct bpf_iter__bpf_map_elem *ctx, __u32 key_bytes,
				     __u32 value_bytes)
{
	struct row_head head = {
		.layout_version = LAYOUT_VERSION,
		.row_bytes = sizeof(head) + key_bytes + value_bytes,
	};
	struct seq_file *seq = ctx->meta->seq;
	void *key = ctx->key, *value = ctx->value;

	if (!key || !value) /* behind the last one */
		return 0;
	bpf_seq_write(seq, &head, sizeof(head));
	bpf_seq_write(seq, key, key_bytes);
	bpf_seq_write(seq, value, value_bytes);
	return 0;
}

SEC("iter/bpf_map_elem")
int nfsnitch_list_owners(struct bpf_iter__bpf_map_elem *ctx)
{
	return write_row(ctx, sizeof(__u64), sizeof(struct owner));
}

SEC("iter/bpf_map_elem")
int nfsnitch_list_images(struct bpf_iter__bpf_map_elem *ctx)
{
	return write_row(ctx, sizeof(struct image_key), sizeof(struct image));
}

char LICENSE[] SEC("license") = "GPL";
