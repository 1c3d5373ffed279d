/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The maps: what each is for, and who removes its entries. */
#ifndef NFSNITCH_MAPS_H
#define NFSNITCH_MAPS_H

/* Socket cookie -> who uses the socket. Written in process context. When the socket is closed, its
 * entry stays for a while if it was ever used (its last packet may still wait in the queue); user
 * space hears of it through `releases` and removes it. A full map refuses the newcomer: nobody can push another
 * process's socket out. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_OWNERS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct owner);
} owners SEC(".maps");

/* Process between two execs -> what is the same for all its sockets. Filled in once; user space
 * removes what no owner refers to and nothing has used for a while. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_IMAGES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct image_key);
	__type(value, struct image);
} images SEC(".maps");

/* One image of zeros to start a new entry from: it is too large for the stack, and a per-CPU scratch
 * buffer could be overwritten by another task when this one is preempted. Never written. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct image);
} blank_image SEC(".maps");

/* Tuple -> socket cookies. Cookies are never used again, so an entry that has outlived its socket
 * leads to no owner and does no harm; the least recently used ones make room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_FLOWS);
	__type(key, struct flow_key);
	__type(value, struct flow_value);
} flows SEC(".maps");

/* The same for what comes here from other network namespaces. Apart from `flows`, so that nobody in
 * there can push out what is kept of this one. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_CROSSINGS);
	__type(key, struct crossing_key);
	__type(value, struct crossing_value);
} crossings SEC(".maps");

/* Local port -> socket cookie, for sockets whose packets no tuple leads to. As
 * with `flows`, what has outlived its socket leads nowhere. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_PORTS);
	__type(key, struct port_key);
	__type(value, struct port_value);
} ports SEC(".maps");

/* Protocol -> raw sockets. Not to be pushed out: the count must be right. Nobody removes entries; there
 * are as many as protocols times namespaces with raw sockets. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_RAW_PROTOCOLS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct raw_key);
	__type(value, struct raw_value);
} raw_sockets SEC(".maps");

/* Closed sockets, for user space to remove their owners. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RELEASES_BYTES);
} releases SEC(".maps");

/* The rules on openings, written by user space; see layout.h. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct opening_settings);
} opening_config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * MAX_OPENING_RULES);
	__type(key, __u32);
	__type(value, struct opening_rule);
} opening_rules SEC(".maps");

/* What is in here is named by the rule; the values say nothing. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_OPENING_VALUES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct opening_number);
	__type(value, __u32);
} opening_numbers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_OPENING_VALUES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct opening_text);
	__type(value, __u32);
} opening_texts SEC(".maps");

/* Sockets past netfilter that were opened or refused, for user space to record. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, OPENINGS_BYTES);
} openings SEC(".maps");

/* Questions that were asked, so that only their answers are copied. The least recently used make room:
 * the answer to such a one is then unasked. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_QUESTIONS);
	__type(key, struct question_key);
	__type(value, struct question);
} questions SEC(".maps");

/* Names asked for and answered, for user space to read before it decides: struct dns_sample and struct
 * libc_sample. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, NAMES_BYTES);
} names SEC(".maps");

/* Threads in a function of the C library that finds names. Those that never return from it make room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_LIBC_CALLS);
	__type(key, struct libc_call_key);
	__type(value, struct libc_call);
} libc_calls SEC(".maps");

/* Of which generation verdicts count; written by user space, but for `woken_ns`. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct verdict_settings);
} verdict_config SEC(".maps");

/* Who keeps the verdicts; written by the program that it runs for that. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct verdict_keeper);
} kept_by SEC(".maps");

/* Program and destination -> what the rules say. Written by user space alone. What is pushed out, or of
 * an earlier generation, is decided there once more. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_VERDICTS);
	__type(key, struct verdict_key);
	__type(value, struct verdict);
} verdicts SEC(".maps");

/* Flow of a socket -> the verdict that it has got. The same goes for what is pushed out. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_PASSES);
	__type(key, struct pass_key);
	__type(value, struct pass);
} passes SEC(".maps");

/* Flows that got their verdict here, for user space to record. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, CACHED_BYTES);
} cached_flows SEC(".maps");

/* enum counter -> how often. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

#ifdef NFSNITCH_BCC
#include "map_ids.h" /* made by user space: what each name of a map means from here on */
#endif

static __always_inline void count(__u32 counter)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &counter);

	if (value)
		__sync_fetch_and_add(value, 1);
}

#endif
