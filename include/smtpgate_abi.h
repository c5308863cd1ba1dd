/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The one contract between the XDP program and the user program: map keys and values, the reasons
 * a packet leaves the gate for, verdicts, modes, limits and pin names. Both sides include this
 * file, so nothing needs to be kept in sync.
 *
 * It must know nothing of libbpf, of the store or of packets. The includer provides the __u8 ..
 * __u64 and __s64 types first (user code: <linux/types.h>; BPF code: vmlinux.h).
 *
 * Rules: reasons, verdicts, modes and families are append-only, their numbers are never reused.
 * Any change to the size or the meaning of a map's key or value is a new SG_ABI, and with it a new
 * pin directory that is filled before the interfaces are switched over to it. A new map is none.
 */
#ifndef SMTPGATE_ABI_H
#define SMTPGATE_ABI_H

#include "smtpgate_blocks.h"

/* Overridden by the test that fakes the next one. */
#ifndef SG_ABI
#define SG_ABI 1
#endif

/*
 * Why a packet left the gate. X(name, class, text)
 *
 * The class says what happens next:
 *   PASS     not the gate's business, whoever sent it
 *   JUDGE    TCP to a guarded port: passes only from a listed source
 *   UNCLEAR  could be TCP to a guarded port and cannot be known: passes only from a listed source,
 *            dropped when not even the source can be read
 */
#define SG_REASONS(X)                                                            \
    X(not_ip, PASS, "neither IPv4 nor IPv6")                                     \
    X(l2_cut, PASS, "Ethernet header or VLAN tag cut short")                     \
    X(other_protocol, PASS, "not TCP")                                           \
    X(other_port, PASS, "TCP to a port that is not guarded")                     \
    X(later_fragment, PASS, "later fragment, useless without its first")         \
    X(listed, JUDGE, "TCP to a guarded port from a listed source")               \
    X(unlisted, JUDGE, "TCP to a guarded port from an unlisted source")          \
    X(vlan_depth, UNCLEAR, "more VLAN tags than are walked")                     \
    X(ip_header, UNCLEAR, "IP header malformed or cut short")                    \
    X(chain_long, UNCLEAR, "more extension headers than are walked")             \
    X(chain_cut, UNCLEAR, "extension headers cut short by the end of the frame") \
    X(first_fragment, UNCLEAR, "first fragment that ends before the TCP ports")  \
    X(tcp_cut, UNCLEAR, "TCP header cut short before the ports")                 \
    X(expired, JUDGE, "TCP to a guarded port from a source whose entry expired")

enum sg_reason {
#define X(name, class, text) SG_REASON_##name,
    SG_REASONS(X)
#undef X
        SG_REASON_COUNT
};

enum sg_verdict {
    SG_VERDICT_PASS = 0,
    SG_VERDICT_DROP = 1,
    SG_VERDICT_WOULD_DROP = 2, /* observe mode: passed, and would have been dropped */
    SG_VERDICT_COUNT
};

/*
 * 0 is the closed one on purpose: a zeroed or unknown mode word never opens the gate.
 */
enum sg_mode {
    SG_MODE_ENFORCE = 0,
    SG_MODE_OFF = 1,
    SG_MODE_OBSERVE = 2,
    SG_MODE_PAUSED = 3,
};

/*
 * The mode word: bits 0-7 the mode, 8-15 the one to follow it, 16-63 when, in milliseconds of
 * CLOCK_BOOTTIME; 0 never. One aligned word, so that no packet sees half a change. An unknown
 * number counts as SG_MODE_ENFORCE.
 */
#define SG_MODE_MASK           0xffULL
#define SG_MODE_NEXT_SHIFT     8
#define SG_MODE_DEADLINE_SHIFT 16

enum sg_family {
    SG_FAMILY_NONE = 0, /* not IP, or not known to be */
    SG_FAMILY_IP4 = 1,
    SG_FAMILY_IP6 = 2,
    SG_FAMILY_COUNT
};

/* Head-room for later reasons and ports, so that adding one changes no map. */
#define SG_REASON_SLOTS 32
#define SG_PORT_SLOTS   64

/*
 * Guarded at once. Fewer than SG_PORT_SLOTS: a port keeps its counter slot for life, also after it
 * is no longer guarded, so that its counters stay its own.
 */
#define SG_PORTS_MAX 16

/* Guarded from the start, and when the settings are lost. */
#define SG_DEFAULT_PORTS(X) X(25) X(465) X(587)

/*
 * Prefixes a trie takes. Nodes are allocated one by one, the limit costs nothing; on kernels before
 * 5.11 the product with the node's size is charged to RLIMIT_MEMLOCK and must stay below 4 GiB.
 */
#define SG_TRIE_MAX (1U << 23)

/*
 * Map "config": array, one element, BPF_F_MMAPABLE. User space writes single aligned words and
 * bytes through a mapping, so that no packet sees half a setting.
 *
 * abi, store_id and applied stand where they are in every ABI: whoever takes over from an older one
 * asks by them whose list is in force there.
 */
struct sg_config {
    __u64 abi;      /* SG_ABI; anything else: not filled yet */
    __u64 store_id; /* which store this kernel state was made from; random, never 0 */
    __u64 applied;  /* revision of the store that is in force; 0 while a change is under way */
    __u64 mode;     /* the mode word */
    __s64 clock; /* what the deadlines were made with: ms from CLOCK_BOOTTIME to the wall clock */
    __u64 reserved[3];
    __u8 ports[65536]; /* by TCP port, host order: 0 not guarded, else 1 + counter slot */
};

/*
 * Maps "allow4" and "allow6": LPM tries. Bits beyond prefixlen are zero; the kernel keeps what it
 * is given, so the writer masks them. Addresses in network byte order.
 *
 * The kernel lays a value right behind its key: four bytes more here put it on a multiple of eight.
 * Its counter is added to atomically, and where that is not on one, arm64 panics, and so do x86
 * processors that detect split locks.
 */
struct sg_key4 {
    __u32 prefixlen; /* 0..32 */
    __u8 addr[4];
    __u8 zero[4];
};

struct sg_key6 {
    __u32 prefixlen; /* 0..128 */
    __u8 addr[16];
};

/*
 * sg_allow.until: bits 0-7 the prefix's own length, bits 8-63 when it ends, in milliseconds of
 * CLOCK_BOOTTIME; 0 never. A trie finds the longest prefix only: from one that has ended the
 * program looks again with a shorter length, for which it must know how long this one is.
 */
#define SG_UNTIL_LEN_MASK       0xffULL
#define SG_UNTIL_DEADLINE_SHIFT 8

struct sg_allow {
    __u64 until;
    __u64 last_seen;   /* last connection attempt let in; CLOCK_BOOTTIME ns, 0 never */
    __u64 connections; /* connection attempts (SYN without ACK) let in */
};

/*
 * What the program "sg_set_until" is given as its packet: it changes until in place, by one aligned
 * store. (To replace the element wants memory, which may not be there when access is to end, and
 * would lose connections that are counted meanwhile.) It answers XDP_PASS, or XDP_DROP where there
 * is no such prefix.
 */
struct sg_set_until {
    __u64 until; /* its length is the prefix's */
    __u8 family; /* enum sg_family */
    __u8 pad[7];
    __u8 addr[16]; /* 4 of them with IPv4 */
};

/*
 * Map "blocks": array, BPF_F_MMAPABLE: the summary in front of the tries (smtpgate_blocks.h), which
 * tells in a few loads that a source is not listed. Element 0 is the head.
 *
 * Rules for who changes a list: cells are written before the prefix goes into its trie, and cleared
 * after it is gone, if at all; generation is raised after a prefix is gone or ends sooner, as the
 * programs remember sources that they have found listed (bpf/known.h).
 */
struct sg_blocks {
    __u8 bits[SG_BLOCK_BYTES]; /* from the lowest of the first byte on */
};

struct sg_blocks_head {
    __u64 filled;     /* 0: the cells say nothing yet, ask the tries */
    __u64 seed;       /* of the hashed levels; stays what it is while filled */
    __u64 generation; /* of what may be remembered */
    __u64 stale;      /* prefixes that are gone since the cells were last made from the list */
    __u64 reserved[4];
};

/*
 * Map "count_<id>", one for each interface: per-CPU array with one element. Each packet adds to
 * exactly one reason cell, so the sum over the reason cells is the packets seen.
 */
struct sg_cell {
    __u64 packets;
    __u64 bytes; /* of the frame, as XDP sees it */
};

struct sg_port_cell {
    __u64 packets;
    __u64 bytes;
    __u64 attempts; /* SYN without ACK */
};

struct sg_counters {
    struct sg_cell reason[SG_REASON_SLOTS][SG_VERDICT_COUNT][SG_FAMILY_COUNT];
    struct sg_port_cell port[SG_PORT_SLOTS][SG_VERDICT_COUNT][SG_FAMILY_COUNT];
};

/*
 * Map "sources": LRU hash of the unlisted sources that came, by guarded port. All interfaces share
 * it. What a packet of a source that is in it adds is exact; which sources are in it, and which of
 * their packets were looked at, is a matter of the budget.
 */
struct sg_source_key {
    __u8 addr[16]; /* network order; IPv4: the first four, the others are zero */
    __u16 port;    /* host order; 0: could not be known */
    __u8 family;   /* enum sg_family */
    __u8 reserved; /* 0 */
};

struct sg_source {
    __u64 first_seen; /* CLOCK_BOOTTIME ns, as of the beginning of a jiffy */
    __u64 last_seen;
    __u64 packets;
    __u64 attempts; /* SYN without ACK */
    __u64 verdict;  /* enum sg_verdict, of the last packet */
};

/*
 * 65,536 sources and ports are more than anybody reads, take 8.4 MB for good (a map of this
 * kind is made in full; that keeps the memory allocator out of the packet path), and at the rate at
 * which newcomers are let in they turn over in 4.6 minutes at the very worst.
 */
#define SG_SOURCES_MAX 65536U

/*
 * Map "budget": per-CPU array, one element. What this CPU may spend, and what it could not write
 * down: the packets in "sources" (as long as it did not have to forget any) and the untracked ones
 * together are all packets that were judged, and had a source that could be read and was unlisted.
 */
struct sg_budget {
    __u64 tick;    /* jiffies at the last packet */
    __u64 now;     /* CLOCK_BOOTTIME ns, when that jiffy was first seen here */
    __u64 touches; /* left to spend; grows with each jiffy, and is capped */
    __u64 untracked[SG_VERDICT_COUNT];
};

/*
 * Map "newcomers": array, one element, 2 MiB. What all CPUs share: how many sources came into the
 * table of late, and places at which those who would like to wait for a few seconds.
 */
#define SG_PLACES_BITS 18

struct sg_place {
    __u32 since;  /* when the one who waits here came first */
    __u16 mark;   /* who that is */
    __u8 returns; /* how often it came again */
    __u8 known;   /* when a source of this place was last met in the table */
};

struct sg_newcomers {
    __s64 recent;  /* newcomers, less what was forgiven since; may be below 0 by a few */
    __u64 drained; /* CLOCK_BOOTTIME ns up to which it was */
    struct sg_place places[1 << SG_PLACES_BITS];
};

/*
 * Pins, below the gate's bpffs directory. Links stand outside the ABI's directory: they survive a
 * change of ABI. <id> is the interface's number in the store: interface names may hold what bpffs
 * names may not (dots), and change.
 */
#define SG_PIN_DIR_FMT   "abi%u" /* SG_ABI */
#define SG_PIN_CONFIG    "config"
#define SG_PIN_ALLOW4    "allow4"
#define SG_PIN_ALLOW6    "allow6"
#define SG_PIN_BLOCKS    "blocks"
#define SG_PIN_SOURCES   "sources"
#define SG_PIN_BUDGET    "budget"
#define SG_PIN_NEWCOMERS "newcomers"
#define SG_PIN_COUNT_FMT "count_%u"
#define SG_PIN_LINK_FMT  "link_%u"
#define SG_PIN_PROG_FMT  "prog_%u_%u" /* the program behind link_%u, and its number */

#endif /* SMTPGATE_ABI_H */
