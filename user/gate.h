/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The gate: the kernel half as pinned in bpffs: maps, the program on each interface, counters. The
 * only user of libbpf. Knows prefixes and interface numbers, nothing of entries or of the store.
 *
 * Links are pinned; a pin whose device lives is only ever updated, never unpinned and made anew:
 * between the two the port would be open.
 */
#ifndef SMTPGATE_GATE_H
#define SMTPGATE_GATE_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "delta.h"
#include "err.h"
#include "mode.h"
#include "prefix.h"
#include "smtpgate_types.h"
#include "util.h"

struct gate;

/* libbpf's own words go to stderr, or nowhere; they are never written for a person. */
void gate_set_verbose(bool verbose);

/*
 * Opens what is pinned below @bpffs. Nothing there, or only part of it, is not an error (see
 * gate_is_whole); not being permitted to look is, and so is what a newer version put there
 * (-ENOTSUP). Makes and changes nothing.
 */
int gate_open(const char *bpffs, bool writable, struct gate **ret_gate, struct err *e);
/* Also when a newer version's ABI is in force, which gate_open() refuses: to take it off. */
int gate_open_any(const char *bpffs, bool writable, struct gate **ret_gate, struct err *e);
/*
 * To look at, for who can tell something without the kernel: where that may not be looked at, the
 * gate is as if nothing were there, and hidden.
 */
int gate_open_if_permitted(const char *bpffs, struct gate **ret_gate, struct err *e);
bool gate_is_hidden(const struct gate *gate);
/* Says that it is; -EPERM, EXIT_DENIED. */
int gate_fail_hidden(struct err *e);
void gate_close(struct gate *gate);
DEFINE_CLEANUP(struct gate *, gate_close)

/* The maps that decide are there, of this ABI's shape, and were filled once. */
bool gate_is_whole(const struct gate *gate);

/* A shared map is missing, if only one that decides nothing: an older version did not have it. */
bool gate_lacks_maps(const struct gate *gate);

/*
 * Something in the kernel belongs to a store: settings that bear its number, or a pinned link.
 */
bool gate_is_claimed(const struct gate *gate);

/* The store whose number the settings bear, or those of an older ABI that is to be taken over from;
 * 0 none. */
uint64_t gate_store_id(const struct gate *gate);

/* The directory of the maps is there, if only with a part of them. */
bool gate_is_present(const struct gate *gate);

/* Sees to it that the directory is on a bpffs, mounting one on /sys/fs/bpf if need be. */
int gate_need_bpffs(const struct gate *gate, struct err *e);

/* The directories of the pins, if there are any, are only root's or the caller's own to change. */
int gate_check_owner(const struct gate *gate, struct err *e);

/*
 * Makes and pins the shared maps that are missing. The new ones are empty: nothing uses them before
 * gate_attach(), the caller fills them first.
 */
int gate_make_maps(struct gate *gate, struct err *e);

/* Unpins what older ABIs left, once no link's program uses it any more. */
void gate_drop_older(const struct gate *gate);

/* Unpins the maps that gate_make_maps() made: what was to use them failed. */
void gate_drop_new_maps(struct gate *gate);

/* ---- what it stands on ---- */

/* What the kernel can do, as far as a process with these rights can tell: ask as root. */
struct gate_kernel {
    bool xdp;   /* programs */
    bool tries; /* BPF_MAP_TYPE_LPM_TRIE, and so on */
    bool lru;
    bool per_cpu;
    bool frags; /* multi-buffer XDP: packets of more than one page */
};

void gate_ask_kernel(struct gate_kernel *ret_kernel);

/* Where the pins are, and what is wrong with them. */
struct gate_pins {
    bool on_bpffs; /* the directory, or the nearest one above it that is there */
    bool present;  /* gate_is_present() */
    bool safe;     /* only root can change it */
    bool filled;   /* the settings say so, for this ABI */
    /* Names, " "-separated: not there, and there but of another shape. */
    char missing[128], odd[128];
    bool decides; /* a missing or odd one is needed to decide */
    uint32_t uid; /* whose the directory is */
};

void gate_read_pins(const struct gate *gate, struct gate_pins *ret_pins);

/* The program that an interface carries, whosever it is; @id 0: none. */
struct gate_device {
    uint32_t id;
    char name[16];
};

void gate_read_device(uint32_t ifindex, struct gate_device *ret_device);

/* ---- settings; gate_is_whole() or gate_make_maps() first ---- */

struct gate_state {
    uint64_t store_id;
    uint64_t applied; /* revision in force; 0 a change is or was under way */
    uint64_t mode;    /* the raw word */
};

/*
 * ---- time ----
 *
 * Deadlines in the kernel are moments of CLOCK_BOOTTIME, which runs on whatever is done to the wall
 * clock. They are made with one offset between the two, which the gate keeps; what is told here is
 * always Unix seconds.
 *
 * The offset only grows: a wall clock that is set back prolongs nothing, and one that stands before
 * @floor (Unix seconds: when the store was last changed; a machine's clock may be dead) is taken to
 * stand there. One that is set forward is followed by gate_adjust_clock(), after which all
 * deadlines have to be made anew.
 */

/* The wall clock has gone forward by more than a moment since the deadlines were made. */
bool gate_clock_is_behind(const struct gate *gate, int64_t floor);
void gate_adjust_clock(struct gate *gate, int64_t floor);
/* Follows the wall clock, wherever it stands. */
void gate_reset_clock(struct gate *gate);
/* The time, Unix seconds. @gate may be NULL, or have no clock yet. */
int64_t gate_now(const struct gate *gate, int64_t floor);
/* The end of a prefix as the kernel would tell it: before the boot is at the boot. */
int64_t gate_round_until(const struct gate *gate, int64_t until);

void gate_read_state(const struct gate *gate, struct gate_state *ret_state);
void gate_set_store_id(struct gate *gate, uint64_t store_id);
/* The maps hold a list: from here on a program may use them. */
void gate_set_filled(struct gate *gate);
void gate_set_applied(struct gate *gate, uint64_t revision);
/* The mode, what follows and when, in one word. */
void gate_set_mode(struct gate *gate, const struct mode_plan *plan);
bool gate_mode_is(const struct gate *gate, const struct mode_plan *plan);
/* What is in force now: a deadline that has passed is gone from it. */
struct mode_plan gate_mode(const struct gate *gate);
/* @slots has 65536 bytes, by port: 0 not guarded, else 1 + counter slot. */
void gate_set_ports(struct gate *gate, const uint8_t *slots);
bool gate_ports_are(const struct gate *gate, const uint8_t *slots);
/* As gate_set_ports() takes them. */
void gate_read_ports(const struct gate *gate, uint8_t *ret_slots);

/*
 * ---- the summary in front of the tries ----
 *
 * Cells that say for most sources that no prefix covers them (include/smtpgate_blocks.h). A prefix
 * that is added is told of by itself; those that are gone leave cells that send the program to the
 * trie in vain, until the summary is made anew from the list.
 */

struct gate_blocks;

/* The pinned maps hold one, and it can be written. */
bool gate_has_blocks(const struct gate *gate);
/* Prefixes that went since it was made; UINT64_MAX: it never was. */
uint64_t gate_stale_blocks(const struct gate *gate);
/* Whether all of a prefix's addresses are looked for in the trie: 0 no, 1 yes. Some dozen calls. */
int gate_tells(const struct gate *gate, const struct prefix *prefix, struct err *e);
/*
 * The same for many, from a copy (some 30 ms) of what is in force. NULL where there is nothing yet,
 * and all is looked for. The caller frees it.
 */
int gate_read_blocks(const struct gate *gate, struct gate_blocks **ret_blocks, struct err *e);
int gate_blocks_tell(struct gate_blocks *blocks, const struct prefix *prefix);
/* gate_has_blocks() first. An empty one, to be filled with the whole list; freed by the caller. */
int gate_new_blocks(const struct gate *gate, struct gate_blocks **ret_blocks, struct err *e);
void gate_free_blocks(struct gate_blocks *blocks);
DEFINE_CLEANUP(struct gate_blocks *, gate_free_blocks)
void gate_add_to_blocks(struct gate_blocks *blocks, const struct prefix *prefix);
/* Puts it in force. The tries must hold the prefixes that were added to it, and no others. */
void gate_put_blocks(struct gate *gate, const struct gate_blocks *blocks);

/* ---- the tries ---- */

struct gate_use {
    uint64_t last_seen;   /* Unix seconds; 0 never */
    uint64_t connections; /* attempts let in */
};

/*
 * Adding a prefix that is there already is no error and changes nothing; @ret_added (may be NULL)
 * tells. A transient ENOMEM is retried for some 60 ms. @until: Unix seconds or UNTIL_FOREVER.
 */
int gate_add_prefix(struct gate *gate, const struct prefix *prefix, int64_t until, bool *ret_added,
                    struct err *e);
/* Of one that is there, in place: wants no memory, loses no count. */
int gate_set_until(struct gate *gate, const struct prefix *prefix, int64_t until, struct err *e);
/* Deleting one that is not there is no error. */
int gate_delete_prefix(struct gate *gate, const struct prefix *prefix, struct err *e);
/* Every prefix of both tries, in no order. The tries must not be changed meanwhile. */
int gate_each_prefix(struct gate *gate,
                     int (*fn)(const struct prefix *prefix, int64_t until, void *arg), void *arg,
                     struct err *e);
/* The same, and how each was used. */
int gate_each_use(struct gate *gate,
                  int (*fn)(const struct prefix *prefix, int64_t until, const struct gate_use *use,
                            void *arg),
                  void *arg, struct err *e);
/* The use of a prefix that is there, or of the longest there is around it; -ENOENT none. */
int gate_lookup(struct gate *gate, const struct prefix *prefix, struct gate_use *ret_use,
                struct err *e);
/* Whether the program would find @addr listed. */
int gate_lets_in(struct gate *gate, const struct addr *addr, bool *ret_in, struct err *e);

/* ---- unlisted sources ---- */

/* One that came, to one port. */
struct gate_source {
    struct addr addr;
    uint16_t port;           /* 0: could not be known */
    enum sg_verdict verdict; /* of the last packet */
    uint64_t packets;        /* that were written down; more may have come */
    uint64_t attempts;
    uint64_t first_seen; /* Unix seconds */
    uint64_t last_seen;
};

/*
 * Every source in the table once, in no order. It is read in pieces while the program goes on: one
 * that comes or goes meanwhile may or may not be met. Callbacks return 0 to go on; anything else
 * ends the walk and is returned. No table, no sources.
 */
int gate_each_source(const struct gate *gate,
                     int (*fn)(const struct gate_source *source, void *arg), void *arg,
                     struct err *e);

/* Packets of unlisted sources that were not written down, by verdict. */
int gate_read_untracked(const struct gate *gate, uint64_t ret_packets[SG_VERDICT_COUNT],
                        struct err *e);

/* ---- interfaces ---- */

enum gate_xdp {
    GATE_XDP_NONE,
    GATE_XDP_NATIVE,
    GATE_XDP_GENERIC,
};

/* "native", "generic", "none"; contract */
const char *gate_xdp_name(enum gate_xdp xdp);

enum gate_link_state {
    GATE_LINK_ABSENT,    /* no pin */
    GATE_LINK_DEAD,      /* the pin's device was deleted */
    GATE_LINK_HERE,      /* on a device of this network namespace */
    GATE_LINK_ELSEWHERE, /* alive, on a device of another network namespace */
};

struct gate_link {
    enum gate_link_state state;
    uint32_t ifindex; /* HERE only */
    char name[IF_NAMESIZE];
    enum gate_xdp xdp;
    bool in_force; /* the program decides by the pinned list and settings */
    bool current;  /* and uses all pinned maps; an older version's does not */
};

int gate_read_link(struct gate *gate, uint32_t id, struct gate_link *ret_link, struct err *e);

/* Numbers of all pinned links; the caller frees @ret_ids. */
int gate_list_links(struct gate *gate, uint32_t **ret_ids, size_t *ret_count, struct err *e);

struct gate_attached {
    enum gate_xdp xdp;
    bool replaced;     /* a live link was updated in place */
    bool new_counters; /* the counters were made, too */
    int native_error;  /* errno for which auto fell back to generic, else 0 */
};

/*
 * Loads the program with the shared maps and the interface's counters and puts it on @ifindex:
 * updates link @id if it lives there (@want NATIVE or GENERIC must then be what it is), else makes
 * it. @want NONE is auto: native, then generic. Each is asked for explicitly: the kernel falls back
 * silently when it may choose. @ifindex 0: only update, wherever the link lives.
 */
int gate_attach(struct gate *gate, uint32_t id, uint32_t ifindex, const char *name,
                enum gate_xdp want, struct gate_attached *ret_attached, struct err *e);

/* Takes back what gate_attach() made new, as @attached says. */
void gate_undo_attach(struct gate *gate, uint32_t id, const struct gate_attached *attached);

/* Takes link @id off its device. No pin is no error. The counters stay. */
int gate_detach(struct gate *gate, uint32_t id, struct err *e);

/* Sums interface @id's counters over the CPUs; all zero when there are none. */
int gate_read_counters(struct gate *gate, uint32_t id, struct sg_counters *ret_counters,
                       struct err *e);

#endif
