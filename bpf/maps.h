/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The maps of the program. Their meaning and layout are said in smtpgate_abi.h; here is only what
 * the kernel needs to create them.
 *
 * No pinning attributes: which maps are pinned where, shared and reused is the loader's knowledge.
 */
#ifndef SMTPGATE_MAPS_H
#define SMTPGATE_MAPS_H

#include "smtpgate_abi.h"

/* Others change single words under the running program: read each once, and whole. */
#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, __u32);
    __type(value, struct sg_config);
} config SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(max_entries, SG_TRIE_MAX);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct sg_key4);
    __type(value, struct sg_allow);
} allow4 SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(max_entries, SG_TRIE_MAX);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct sg_key6);
    __type(value, struct sg_allow);
} allow6 SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, SG_BLOCK_ELEMENTS);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, __u32);
    __type(value, struct sg_blocks);
} blocks SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct sg_counters);
} count SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, SG_SOURCES_MAX);
    __type(key, struct sg_source_key);
    __type(value, struct sg_source);
} sources SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct sg_budget);
} budget SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct sg_newcomers);
} newcomers SEC(".maps");

#endif /* SMTPGATE_MAPS_H */
