/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See gate.h. Must know nothing of entries, accounts or SQLite.
 *
 * An interface's program is an instance of its own: the shared maps, its own counter map, and the
 * read-only constant that says whether the kernel can do multi-buffer XDP.
 */
#include "gate.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#include "blocks.h"
#include "counters.h"
#include "smtpgate.skel.h"
#include "trust.h"

#if defined(__x86_64__) || defined(__i386__)
#define LOADS_REORDER false
#else
#define LOADS_REORDER true
#endif

#define BPFFS_ROOT   "/sys/fs/bpf"
#define PIN_PATH_MAX 512

enum map {
    MAP_CONFIG,
    MAP_ALLOW4,
    MAP_ALLOW6,
    MAP_BLOCKS,
    MAP_SOURCES,
    MAP_BUDGET,
    MAP_NEWCOMERS,
    SHARED_MAPS,                    /* how many of them all interfaces share */
    MAPS_THAT_DECIDE = MAP_SOURCES, /* the first of them */
    MAP_COUNTERS = SHARED_MAPS,
};

static const char *const map_pins[SHARED_MAPS] = {SG_PIN_CONFIG,   SG_PIN_ALLOW4,  SG_PIN_ALLOW6,
                                                  SG_PIN_BLOCKS,   SG_PIN_SOURCES, SG_PIN_BUDGET,
                                                  SG_PIN_NEWCOMERS};

struct gate {
    char dir[PIN_PATH_MAX / 2];
    bool hidden;            /* what there is may not be looked at */
    bool writable;          /* decides what @config is: a shared mapping or a copy */
    int maps[SHARED_MAPS];  /* -1 missing */
    bool made[SHARED_MAPS]; /* by us */
    struct sg_config *config;
    uint8_t *blocks;               /* a shared mapping, of a writer only */
    int setter;                    /* the program that changes ends in place; -1 not loaded yet */
    uint32_t newer, older;         /* the highest ABI of such that has pins; 0 none */
    uint64_t older_id, older_done; /* what the older one's settings say: store_id and applied */
};

static void cleanup_skeleton(struct smtpgate_bpf **skel)
{
    smtpgate_bpf__destroy(*skel);
}

#define _cleanup_skeleton_ __attribute__((cleanup(cleanup_skeleton)))

/* ---- words ---- */

static int fail_denied(int r, const char *what, struct err *e)
{
    err_set(e, r, EXIT_DENIED, "not permitted to %s", what);
    err_hint(e, "run it as root (sudo)");
    return r;
}

/* What a program takes is less than root. */
static int fail_load_denied(int r, const char *what, struct err *e)
{
    fail_denied(r, what, e);
    err_hint(e, "run it as root (sudo), or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON");
    return r;
}

static int fail_kernel(int r, const char *what, struct err *e)
{
    if (r == -EPERM || r == -EACCES)
        return fail_denied(r, what, e);
    err_set(e, r, EXIT_REFUSED, "the kernel refused to %s: %s", what, strerror(-r));
    err_hint(e, "-v shows the kernel's and libbpf's own words");
    return r;
}

static int log_nothing(enum libbpf_print_level level, const char *fmt, va_list ap)
{
    (void)level, (void)fmt, (void)ap;
    return 0;
}

static int log_stderr(enum libbpf_print_level level, const char *fmt, va_list ap)
{
    (void)level;
    return vfprintf(stderr, fmt, ap);
}

void gate_set_verbose(bool verbose)
{
    libbpf_set_print(verbose ? log_stderr : log_nothing);
}

/* ---- opening ---- */

static void abi_path(const struct gate *gate, uint32_t abi, const char *name,
                     char path[PIN_PATH_MAX])
{
    snprintf(path, PIN_PATH_MAX, "%s/" SG_PIN_DIR_FMT "%s%s", gate->dir, abi, *name ? "/" : "",
             name);
}

static void pin_path(const struct gate *gate, const char *name, char path[PIN_PATH_MAX])
{
    abi_path(gate, SG_ABI, name, path);
}

static void count_path(const struct gate *gate, uint32_t id, char path[PIN_PATH_MAX])
{
    char name[32];

    snprintf(name, sizeof(name), SG_PIN_COUNT_FMT, id);
    pin_path(gate, name, path);
}

static void link_path(const struct gate *gate, uint32_t id, char path[PIN_PATH_MAX])
{
    char name[32];

    snprintf(name, sizeof(name), SG_PIN_LINK_FMT, id);
    snprintf(path, PIN_PATH_MAX, "%s/%s", gate->dir, name);
}

static void prog_path(const struct gate *gate, uint32_t id, __u32 prog_id, char path[PIN_PATH_MAX])
{
    char name[32];

    snprintf(name, sizeof(name), SG_PIN_PROG_FMT, id, prog_id);
    pin_path(gate, name, path);
}

static int get_pin(const struct gate *gate, const char *path)
{
    LIBBPF_OPTS(bpf_obj_get_opts, opts, .file_flags = gate->writable ? 0 : BPF_F_RDONLY);

    return bpf_obj_get_opts(path, &opts);
}

/* A pin of another shape is none of ours: treated as missing, replaced by gate_make_maps(). */
static int map_has_shape(int fd, enum map which)
{
    struct bpf_map_info info = {0};
    __u32 len = sizeof(info);

    if (bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
        return -errno;
    switch (which) {
    case MAP_CONFIG:
        return info.type == BPF_MAP_TYPE_ARRAY && info.key_size == sizeof(__u32) &&
               info.value_size == sizeof(struct sg_config) && (info.map_flags & BPF_F_MMAPABLE);
    case MAP_ALLOW4:
        return info.type == BPF_MAP_TYPE_LPM_TRIE && info.key_size == sizeof(struct sg_key4) &&
               info.value_size == sizeof(struct sg_allow);
    case MAP_ALLOW6:
        return info.type == BPF_MAP_TYPE_LPM_TRIE && info.key_size == sizeof(struct sg_key6) &&
               info.value_size == sizeof(struct sg_allow);
    case MAP_BLOCKS:
        return info.type == BPF_MAP_TYPE_ARRAY && info.value_size == sizeof(struct sg_blocks) &&
               info.max_entries == SG_BLOCK_ELEMENTS && (info.map_flags & BPF_F_MMAPABLE);
    case MAP_SOURCES: /* how many it holds is no part of the shape */
        return info.type == BPF_MAP_TYPE_LRU_HASH &&
               info.key_size == sizeof(struct sg_source_key) &&
               info.value_size == sizeof(struct sg_source);
    case MAP_BUDGET:
        return info.type == BPF_MAP_TYPE_PERCPU_ARRAY &&
               info.value_size == sizeof(struct sg_budget);
    case MAP_NEWCOMERS:
        return info.type == BPF_MAP_TYPE_ARRAY && info.value_size == sizeof(struct sg_newcomers);
    case MAP_COUNTERS:
        return info.type == BPF_MAP_TYPE_PERCPU_ARRAY &&
               info.value_size == sizeof(struct sg_counters);
    default:
        return false;
    }
}

/*
 * A writer maps the settings. A reader gets a copy: the kernel maps a shared page only from a
 * descriptor that may write.
 */
static int map_config(struct gate *gate, struct err *e)
{
    const __u32 zero = 0;
    void *at;
    int r;

    if (!gate->writable) {
        _cleanup_free_ struct sg_config *copy = malloc(sizeof(*copy));

        r = copy ? bpf_map_lookup_elem(gate->maps[MAP_CONFIG], &zero, copy) : -ENOMEM;
        if (r < 0)
            return fail_kernel(r, "read the gate's settings", e);
        gate->config = TAKE_PTR(copy);
        return 0;
    }
    at = mmap(NULL, sizeof(struct sg_config), PROT_READ | PROT_WRITE, MAP_SHARED,
              gate->maps[MAP_CONFIG], 0);
    if (at == MAP_FAILED)
        return fail_kernel(-errno, "map the gate's settings", e);
    gate->config = at;
    return 0;
}

static int map_blocks(struct gate *gate, struct err *e)
{
    void *at;

    if (!gate->writable || gate->blocks || gate->maps[MAP_BLOCKS] < 0)
        return 0;
    at = mmap(NULL, BLOCKS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, gate->maps[MAP_BLOCKS], 0);
    if (at == MAP_FAILED)
        return fail_kernel(-errno, "map the summary of the list", e);
    gate->blocks = at;
    return 0;
}

static int open_maps(struct gate *gate, struct err *e)
{
    struct stat st;
    unsigned int i;
    int r;

    for (i = 0; i < SHARED_MAPS; i++) {
        char path[PIN_PATH_MAX];
        int fd;

        pin_path(gate, map_pins[i], path);
        fd = get_pin(gate, path);
        if (fd == -ENOSYS && lstat(gate->dir, &st) < 0 && errno == ENOENT)
            fd = -ENOENT; /* a kernel (or emulator) without bpf(2) holds no gate */
        if (fd == -EPERM || fd == -EACCES)
            return fail_denied(fd, "look at the gate in the kernel", e);
        if (fd < 0 && fd != -ENOENT)
            return fail_kernel(fd, "look at the gate", e);
        r = fd < 0 ? 0 : map_has_shape(fd, (enum map)i);
        if (r <= 0 && fd >= 0)
            close(fd);
        if (r < 0)
            return fail_kernel(r, "look at the gate", e);
        gate->maps[i] = r ? fd : -1;
    }
    r = gate->maps[MAP_CONFIG] >= 0 ? map_config(gate, e) : 0;
    return r < 0 ? r : map_blocks(gate, e);
}

/* ---- other ABIs ---- */

/* The number in the name of an ABI's directory; 0 for any other. */
static uint32_t abi_of(const char *name)
{
    uint32_t abi;
    char rest;

    return sscanf(name, SG_PIN_DIR_FMT "%c", &abi, &rest) == 1 ? abi : 0;
}

static void find_other_abis(struct gate *gate)
{
    struct dirent *entry;
    DIR *dir = opendir(gate->dir);

    while (dir && (entry = readdir(dir))) {
        uint32_t abi = abi_of(entry->d_name);

        if (abi > SG_ABI && abi > gate->newer)
            gate->newer = abi;
        if (abi < SG_ABI && abi > gate->older)
            gate->older = abi;
    }
    if (dir)
        closedir(dir);
}

/* Only the words that stand at the same place in every ABI. */
static void read_older(struct gate *gate)
{
    _cleanup_free_ struct sg_config *config = NULL;
    struct bpf_map_info info = {0};
    __u32 len = sizeof(info);
    char path[PIN_PATH_MAX];
    _cleanup_close_ int fd = -1;
    const __u32 zero = 0;

    abi_path(gate, gate->older, SG_PIN_CONFIG, path);
    fd = gate->older ? get_pin(gate, path) : -1;
    if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) < 0 || info.type != BPF_MAP_TYPE_ARRAY ||
        info.value_size < sizeof(*config))
        return;
    config = malloc(info.value_size);
    if (!config || bpf_map_lookup_elem(fd, &zero, config) < 0)
        return;
    gate->older_id = config->store_id;
    gate->older_done = config->applied;
}

static int fail_newer(const struct gate *gate, struct err *e)
{
    char path[PIN_PATH_MAX];

    abi_path(gate, gate->newer, "", path);
    err_set(e, 0, EXIT_REFUSED,
            "the gate in the kernel is a newer smtpgate's (ABI %u, this one knows %u); nothing"
            " changed, the gate stays as it is",
            gate->newer, SG_ABI);
    err_hint(e,
             "install the newer smtpgate again; or to go on with this one, without a gap: rm -r %s,"
             " then: smtpgate sync",
             path);
    return -ENOTSUP;
}

static int new_gate(const char *bpffs, struct gate **ret_gate, struct err *e)
{
    _cleanup_(gate_close) struct gate *gate = calloc(1, sizeof(*gate));

    if (!gate)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
    memset(gate->maps, -1, sizeof(gate->maps));
    gate->setter = -1;
    if (snprintf(gate->dir, sizeof(gate->dir), "%s", bpffs) >= (int)sizeof(gate->dir))
        return err_set(e, -ENAMETOOLONG, EXIT_USAGE, "the bpffs directory's name is too long");
    *ret_gate = TAKE_PTR(gate);
    return 0;
}

int gate_open_any(const char *bpffs, bool writable, struct gate **ret_gate, struct err *e)
{
    _cleanup_(gate_close) struct gate *gate = NULL;
    int r = new_gate(bpffs, &gate, e);

    if (r < 0)
        return r;
    gate->writable = writable;
    find_other_abis(gate);
    read_older(gate);
    r = open_maps(gate, e);
    if (r < 0)
        return r;
    *ret_gate = TAKE_PTR(gate);
    return 0;
}

int gate_open(const char *bpffs, bool writable, struct gate **ret_gate, struct err *e)
{
    _cleanup_(gate_close) struct gate *gate = NULL;
    int r = gate_open_any(bpffs, writable, &gate, e);

    if (r == 0 && gate->newer)
        r = fail_newer(gate, e);
    if (r < 0)
        return r;
    *ret_gate = TAKE_PTR(gate);
    return 0;
}

int gate_open_if_permitted(const char *bpffs, struct gate **ret_gate, struct err *e)
{
    int r = gate_open(bpffs, false, ret_gate, e);

    if (r != -EPERM && r != -EACCES)
        return r;
    r = new_gate(bpffs, ret_gate, e);
    if (r == 0)
        (*ret_gate)->hidden = true;
    return r;
}

bool gate_is_hidden(const struct gate *gate)
{
    return gate->hidden;
}

int gate_fail_hidden(struct err *e)
{
    return fail_denied(-EPERM, "look at the gate in the kernel", e);
}

void gate_close(struct gate *gate)
{
    unsigned int i;

    if (!gate)
        return;
    if (gate->config && gate->writable)
        munmap(gate->config, sizeof(*gate->config));
    else
        free(gate->config);
    if (gate->blocks)
        munmap(gate->blocks, BLOCKS_BYTES);
    for (i = 0; i < SHARED_MAPS; i++)
        cleanup_close(&gate->maps[i]);
    cleanup_close(&gate->setter);
    free(gate);
}

bool gate_is_whole(const struct gate *gate)
{
    return gate->maps[MAP_CONFIG] >= 0 && gate->maps[MAP_ALLOW4] >= 0 &&
           gate->maps[MAP_ALLOW6] >= 0 &&
           __atomic_load_n(&gate->config->abi, __ATOMIC_ACQUIRE) == SG_ABI;
}

bool gate_lacks_maps(const struct gate *gate)
{
    unsigned int i;

    for (i = 0; i < SHARED_MAPS; i++)
        if (gate->maps[i] < 0)
            return true;
    return false;
}

uint64_t gate_store_id(const struct gate *gate)
{
    uint64_t id = gate->config ? __atomic_load_n(&gate->config->store_id, __ATOMIC_RELAXED) : 0;

    return id ? id : gate->older_id;
}

static bool has_links(const struct gate *gate)
{
    struct dirent *entry;
    bool linked = false;
    DIR *dir = opendir(gate->dir);

    while (dir && !linked && (entry = readdir(dir)))
        linked = !strncmp(entry->d_name, "link_", 5);
    if (dir)
        closedir(dir);
    return linked;
}

bool gate_is_claimed(const struct gate *gate)
{
    return gate_store_id(gate) || has_links(gate);
}

bool gate_is_present(const struct gate *gate)
{
    char path[PIN_PATH_MAX];
    struct stat st;

    pin_path(gate, "", path);
    return stat(path, &st) == 0;
}

/* ---- making the maps ---- */

static bool is_bpffs(const char *path)
{
    struct statfs fs;

    return statfs(path, &fs) == 0 && fs.f_type == BPF_FS_MAGIC;
}

/* The nearest directory above or at @path that exists. */
static void nearest_dir(const char *path, char dir[PIN_PATH_MAX])
{
    struct stat st;
    char *slash;

    snprintf(dir, PIN_PATH_MAX, "%s", path);
    while (stat(dir, &st) < 0 && (slash = strrchr(dir, '/')) && slash != dir)
        *slash = '\0';
}

/*
 * Whoever owns the directory can unpin the links. On a bpffs that all may write to (mount's
 * default) somebody may have made it before the first attach.
 */
static int check_owner(const char *path, struct err *e)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : fail_kernel(-errno, "look at the gate in the kernel", e);
    if (S_ISDIR(st.st_mode) && (st.st_uid == 0 || st.st_uid == geteuid()) &&
        !(st.st_mode & (S_IWGRP | S_IWOTH)))
        return 0;
    err_set(e, 0, EXIT_REFUSED,
            "%s belongs to user %u or can be written to by others, who could take the gate off",
            path, (unsigned int)st.st_uid);
    err_hint(e, "rm -r %s, see to it that only root may make it, and attach again", path);
    return -EPERM;
}

int gate_check_owner(const struct gate *gate, struct err *e)
{
    char dir[PIN_PATH_MAX];
    int r = check_owner(gate->dir, e);

    pin_path(gate, "", dir);
    if (r == 0)
        r = check_owner(dir, e);
    return r == 0 ? trust_dir(gate->dir, e) : r; /* and what is above it */
}

int gate_need_bpffs(const struct gate *gate, struct err *e)
{
    const char *path = gate->dir;
    char dir[PIN_PATH_MAX];
    bool below_root = !strncmp(path, BPFFS_ROOT "/", sizeof(BPFFS_ROOT));
    int r = gate_check_owner(gate, e);

    if (r < 0)
        return r;

    nearest_dir(path, dir);
    if (is_bpffs(dir))
        return 0;
    if (below_root && mount("bpf", BPFFS_ROOT, "bpf", 0, "mode=0700") == 0)
        return 0;
    if (below_root && (errno == EPERM || errno == EACCES))
        return fail_denied(-errno, "mount bpffs on " BPFFS_ROOT, e);
    if (below_root) {
        err_set(e, 0, EXIT_REFUSED, "no bpffs on " BPFFS_ROOT " and mounting it failed: %s",
                strerror(errno));
        err_hint(e, "mount -t bpf -o mode=0700 bpf " BPFFS_ROOT);
        return -ENODEV;
    }
    err_set(e, 0, EXIT_REFUSED, "%s is not on a bpffs, where the kernel keeps pinned programs",
            path);
    err_hint(e, "mkdir -p %s && mount -t bpf -o mode=0700 bpf %s", path, path);
    return -ENODEV;
}

/* The helper and the flag came together, in 5.18. */
static bool knows_frags(void)
{
    return libbpf_probe_bpf_helper(BPF_PROG_TYPE_XDP, BPF_FUNC_xdp_load_bytes, NULL) == 1;
}

void gate_ask_kernel(struct gate_kernel *ret_kernel)
{
    *ret_kernel = (struct gate_kernel){
        .xdp = libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_XDP, NULL) == 1,
        .tries = libbpf_probe_bpf_map_type(BPF_MAP_TYPE_LPM_TRIE, NULL) == 1,
        .lru = libbpf_probe_bpf_map_type(BPF_MAP_TYPE_LRU_HASH, NULL) == 1,
        .per_cpu = libbpf_probe_bpf_map_type(BPF_MAP_TYPE_PERCPU_ARRAY, NULL) == 1,
        .frags = knows_frags(),
    };
}

static void add_name(char *names, size_t size, const char *name)
{
    size_t used = strlen(names);

    snprintf(names + used, size - used, "%s%s", used ? " " : "", name);
}

void gate_read_pins(const struct gate *gate, struct gate_pins *ret_pins)
{
    struct gate_pins pins = {.present = gate_is_present(gate)};
    char path[PIN_PATH_MAX];
    struct stat st;
    unsigned int i;

    nearest_dir(gate->dir, path);
    pins.on_bpffs = is_bpffs(path);
    pins.uid = lstat(gate->dir, &st) == 0 ? st.st_uid : 0;
    pins.safe = gate_check_owner(gate, NULL) == 0;
    pins.filled = gate->config && gate->config->abi == SG_ABI;
    for (i = 0; pins.present && i < SHARED_MAPS; i++) {
        if (gate->maps[i] >= 0)
            continue;
        pin_path(gate, map_pins[i], path);
        if (lstat(path, &st) == 0)
            add_name(pins.odd, sizeof(pins.odd), map_pins[i]);
        else
            add_name(pins.missing, sizeof(pins.missing), map_pins[i]);
        pins.decides |= i < MAPS_THAT_DECIDE;
    }
    *ret_pins = pins;
}

static int make_dirs(const char *path, struct err *e)
{
    char part[PIN_PATH_MAX];
    char *at;

    snprintf(part, sizeof(part), "%s", path);
    for (at = part + 1; at; at = *at ? at + 1 : NULL) {
        char *slash = strchr(at, '/');

        if (slash)
            *slash = '\0';
        if (mkdir(part, 0700) < 0 && errno != EEXIST)
            return fail_kernel(-errno, "make the gate's directory in bpffs", e);
        if (!slash)
            return 0;
        *slash = '/';
        at = slash;
    }
    return 0;
}

static struct bpf_map *skeleton_map(struct smtpgate_bpf *skel, unsigned int which)
{
    struct bpf_map *const maps[SHARED_MAPS] = {
        skel->maps.config,  skel->maps.allow4, skel->maps.allow6,   skel->maps.blocks,
        skel->maps.sources, skel->maps.budget, skel->maps.newcomers};

    return maps[which];
}

/* Opens the object with those shared maps that exist already in place of new ones. */
static int open_skeleton(const struct gate *gate, struct smtpgate_bpf **ret_skel, struct err *e)
{
    _cleanup_skeleton_ struct smtpgate_bpf *skel = smtpgate_bpf__open();
    unsigned int i;
    int r;

    if (!skel)
        return fail_kernel(-errno, "open the program", e);
    for (i = 0; i < SHARED_MAPS; i++) {
        if (gate->maps[i] < 0)
            continue;
        r = bpf_map__reuse_fd(skeleton_map(skel, i), gate->maps[i]);
        if (r < 0)
            return fail_kernel(r, "share the maps", e);
    }
    *ret_skel = TAKE_PTR(skel);
    return 0;
}

static int pin_map(const struct gate *gate, struct bpf_map *map, const char *name, struct err *e)
{
    char path[PIN_PATH_MAX];

    pin_path(gate, name, path);
    unlink(path); /* one of another shape */
    if (bpf_obj_pin(bpf_map__fd(map), path) < 0)
        return fail_kernel(-errno, "pin a map", e);
    return 0;
}

int gate_make_maps(struct gate *gate, struct err *e)
{
    _cleanup_skeleton_ struct smtpgate_bpf *skel = NULL;
    char dir[PIN_PATH_MAX];
    unsigned int i;
    int r;

    if (!gate_lacks_maps(gate))
        return 0;
    /* Whatever was in force, it is not in the new ones. */
    if (gate->config)
        gate_set_applied(gate, 0);
    r = gate_need_bpffs(gate, e);
    if (r < 0)
        return r;
    pin_path(gate, "", dir);
    r = make_dirs(dir, e);
    if (r == 0)
        r = gate_check_owner(gate, e); /* somebody may have been quicker */
    if (r < 0)
        return r;
    r = open_skeleton(gate, &skel, e);
    if (r < 0)
        return r;
    bpf_program__set_autoload(skel->progs.smtpgate, false);
    bpf_program__set_autoload(skel->progs.sg_set_until, false);
    bpf_map__set_autocreate(skel->maps.count, false);
    bpf_map__set_autocreate(skel->maps.known, false);
    r = smtpgate_bpf__load(skel);
    if (r == -EPERM || r == -EACCES)
        return fail_load_denied(r, "make the maps", e);
    if (r < 0)
        return fail_kernel(r, "make the maps", e);
    for (i = 0; i < SHARED_MAPS; i++) {
        if (gate->maps[i] >= 0)
            continue;
        r = pin_map(gate, skeleton_map(skel, i), map_pins[i], e);
        if (r < 0)
            return r;
        gate->maps[i] = fcntl(bpf_map__fd(skeleton_map(skel, i)), F_DUPFD_CLOEXEC, 3);
        if (gate->maps[i] < 0)
            return fail_kernel(-errno, "keep a map open", e);
        gate->made[i] = true;
    }
    r = gate->config ? 0 : map_config(gate, e);
    return r < 0 ? r : map_blocks(gate, e);
}

/*
 * Before the last one lets go of a trie: the kernel frees what is in it in one go, which takes the
 * CPU for half a second with a million prefixes; one by one it goes on with other things in
 * between.
 */
static void empty_trie(int fd)
{
    struct sg_key6 key; /* the longer of the two */

    while (bpf_map_get_next_key(fd, NULL, &key) == 0 && bpf_map_delete_elem(fd, &key) == 0)
        ;
}

static void unpin_directory(const char *path)
{
    struct dirent *entry;
    DIR *dir = opendir(path);

    while (dir && (entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(path);
}

/* The tries are not emptied first: a packet may still be on its way through the old program. */
void gate_drop_older(const struct gate *gate)
{
    uint32_t abi;

    for (abi = gate->older; abi > 0; abi--) {
        char path[PIN_PATH_MAX];

        abi_path(gate, abi, "", path);
        unpin_directory(path);
    }
}

void gate_drop_new_maps(struct gate *gate)
{
    char path[PIN_PATH_MAX];
    unsigned int i;

    if (gate->made[MAP_ALLOW4] && !has_links(gate))
        empty_trie(gate->maps[MAP_ALLOW4]);
    if (gate->made[MAP_ALLOW6] && !has_links(gate))
        empty_trie(gate->maps[MAP_ALLOW6]);

    for (i = 0; i < SHARED_MAPS; i++) {
        pin_path(gate, map_pins[i], path);
        if (gate->made[i])
            unlink(path);
    }
    pin_path(gate, "", path);
    rmdir(path); /* both only if they are empty */
    rmdir(gate->dir);
}

/* ---- settings ---- */

void gate_read_state(const struct gate *gate, struct gate_state *ret_state)
{
    const struct sg_config *own = gate->config;

    *ret_state = (struct gate_state){.applied = gate->older_done, .store_id = gate->older_id};
    if (!own || (!own->store_id && gate->older_id))
        return;
    ret_state->applied = __atomic_load_n(&own->applied, __ATOMIC_ACQUIRE);
    ret_state->store_id = __atomic_load_n(&own->store_id, __ATOMIC_RELAXED);
    ret_state->mode = __atomic_load_n(&own->mode, __ATOMIC_RELAXED);
}

void gate_set_store_id(struct gate *gate, uint64_t store_id)
{
    __atomic_store_n(&gate->config->store_id, store_id, __ATOMIC_RELEASE);
}

void gate_set_filled(struct gate *gate)
{
    __atomic_store_n(&gate->config->abi, SG_ABI, __ATOMIC_RELEASE);
}

void gate_set_applied(struct gate *gate, uint64_t revision)
{
    __atomic_store_n(&gate->config->applied, revision, __ATOMIC_SEQ_CST);
}

/* ---- time ---- */

/* A difference below is the reading of two clocks one after the other, or slewing's rounding. */
#define CLOCK_STEP_MS 500

static int64_t read_ms(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* From CLOCK_BOOTTIME to the wall clock, or to @floor if that is later. */
static int64_t wall_offset(int64_t floor)
{
    int64_t boot = read_ms(CLOCK_BOOTTIME), wall = read_ms(CLOCK_REALTIME);

    if (floor > INT64_MAX / 1000)
        floor = 0;
    return (wall > floor * 1000 ? wall : floor * 1000) - boot;
}

static int64_t clock_of(const struct gate *gate)
{
    return gate->config ? __atomic_load_n(&gate->config->clock, __ATOMIC_RELAXED) : 0;
}

bool gate_clock_is_behind(const struct gate *gate, int64_t floor)
{
    return wall_offset(floor) > clock_of(gate) + CLOCK_STEP_MS;
}

void gate_adjust_clock(struct gate *gate, int64_t floor)
{
    if (gate_clock_is_behind(gate, floor))
        __atomic_store_n(&gate->config->clock, wall_offset(floor), __ATOMIC_RELEASE);
}

void gate_reset_clock(struct gate *gate)
{
    int64_t wall = wall_offset(0);

    if (wall < clock_of(gate) - CLOCK_STEP_MS || wall > clock_of(gate) + CLOCK_STEP_MS)
        __atomic_store_n(&gate->config->clock, wall, __ATOMIC_RELEASE);
}

/* From CLOCK_BOOTTIME to the time that is told. */
static int64_t told_offset(const struct gate *gate, int64_t floor)
{
    int64_t wall = wall_offset(floor), kept = gate ? clock_of(gate) : 0;

    return kept && wall <= kept + CLOCK_STEP_MS ? kept : wall;
}

int64_t gate_now(const struct gate *gate, int64_t floor)
{
    return (read_ms(CLOCK_BOOTTIME) + told_offset(gate, floor)) / 1000;
}

/* A deadline in ms of CLOCK_BOOTTIME, of @bits; 0 is none, so one before the boot is 1. */
static uint64_t deadline_of(const struct gate *gate, int64_t until, unsigned int bits)
{
    int64_t ms = until < INT64_MAX / 1000 ? until * 1000 - clock_of(gate) : INT64_MAX;
    int64_t most = (INT64_C(1) << bits) - 1;

    return (uint64_t)(ms < 1 ? 1 : ms > most ? most : ms);
}

static int64_t until_of(const struct gate *gate, uint64_t deadline)
{
    return ((int64_t)deadline + clock_of(gate)) / 1000;
}

#define UNTIL_BITS (64 - SG_UNTIL_DEADLINE_SHIFT)
#define MODE_BITS  (64 - SG_MODE_DEADLINE_SHIFT)

int64_t gate_round_until(const struct gate *gate, int64_t until)
{
    return until == UNTIL_FOREVER ? until : until_of(gate, deadline_of(gate, until, UNTIL_BITS));
}

static bool is_over(uint64_t deadline)
{
    return deadline && read_ms(CLOCK_BOOTTIME) >= (int64_t)deadline;
}

/* ---- the mode ---- */

static uint64_t mode_word(const struct gate *gate, const struct mode_plan *plan)
{
    if (!plan->until)
        return plan->mode;
    return plan->mode | (uint64_t)plan->then << SG_MODE_NEXT_SHIFT |
           deadline_of(gate, plan->until, MODE_BITS) << SG_MODE_DEADLINE_SHIFT;
}

void gate_set_mode(struct gate *gate, const struct mode_plan *plan)
{
    __atomic_store_n(&gate->config->mode, mode_word(gate, plan), __ATOMIC_RELEASE);
}

bool gate_mode_is(const struct gate *gate, const struct mode_plan *plan)
{
    return __atomic_load_n(&gate->config->mode, __ATOMIC_RELAXED) == mode_word(gate, plan);
}

/* As the program takes it. */
static enum sg_mode known_mode(uint64_t word)
{
    word &= SG_MODE_MASK;
    return word == SG_MODE_OFF || word == SG_MODE_OBSERVE || word == SG_MODE_PAUSED
               ? (enum sg_mode)word
               : SG_MODE_ENFORCE;
}

struct mode_plan gate_mode(const struct gate *gate)
{
    uint64_t word = __atomic_load_n(&gate->config->mode, __ATOMIC_RELAXED);
    uint64_t deadline = word >> SG_MODE_DEADLINE_SHIFT;
    enum sg_mode then = known_mode(word >> SG_MODE_NEXT_SHIFT);

    if (!deadline)
        then = known_mode(word);
    if (!deadline || is_over(deadline))
        return (struct mode_plan){.mode = then, .then = then};
    return (struct mode_plan){
        .mode = known_mode(word), .then = then, .until = until_of(gate, deadline)};
}

/* ---- ports ---- */

void gate_set_ports(struct gate *gate, const uint8_t *slots)
{
    unsigned int port;

    /* Newly guarded ports first: at no time fewer are guarded than before and after. */
    for (port = 0; port <= UINT16_MAX; port++)
        if (slots[port])
            __atomic_store_n(&gate->config->ports[port], slots[port], __ATOMIC_RELEASE);
    for (port = 0; port <= UINT16_MAX; port++)
        if (!slots[port] && gate->config->ports[port])
            __atomic_store_n(&gate->config->ports[port], 0, __ATOMIC_RELEASE);
}

bool gate_ports_are(const struct gate *gate, const uint8_t *slots)
{
    return !memcmp(gate->config->ports, slots, sizeof(gate->config->ports));
}

void gate_read_ports(const struct gate *gate, uint8_t *ret_slots)
{
    memcpy(ret_slots, gate->config->ports, sizeof(gate->config->ports));
}

/* ---- the summary in front of the tries ---- */

static struct sg_blocks_head *blocks_head(const struct gate *gate)
{
    return (struct sg_blocks_head *)(void *)gate->blocks;
}

bool gate_has_blocks(const struct gate *gate)
{
    return gate->blocks;
}

uint64_t gate_stale_blocks(const struct gate *gate)
{
    if (!gate->blocks)
        return 0;
    return blocks_head(gate)->filled ? blocks_head(gate)->stale : UINT64_MAX;
}

/* Before a prefix goes into its trie. */
static void mark_blocks(struct gate *gate, const struct prefix *prefix)
{
    if (gate->blocks && blocks_head(gate)->filled)
        blocks_mark(gate->blocks, blocks_head(gate)->seed, prefix);
}

/* After one is gone or ends sooner: programs remember whom they let in. */
static void start_generation(struct gate *gate)
{
    if (gate->blocks)
        __atomic_fetch_add(&blocks_head(gate)->generation, 1, __ATOMIC_SEQ_CST);
}

struct gate_blocks {
    uint64_t seed;
    uint8_t bits[BLOCKS_BYTES];
};

int gate_new_blocks(const struct gate *gate, struct gate_blocks **ret_blocks, struct err *e)
{
    _cleanup_(gate_free_blocks) struct gate_blocks *blocks = calloc(1, sizeof(*blocks));

    if (!blocks)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
    if (blocks_head(gate)->filled)
        blocks->seed = blocks_head(gate)->seed;
    else if (getentropy(&blocks->seed, sizeof(blocks->seed)) < 0)
        return fail_kernel(-errno, "give random numbers", e);
    *ret_blocks = TAKE_PTR(blocks);
    return 0;
}

void gate_free_blocks(struct gate_blocks *blocks)
{
    free(blocks);
}

void gate_add_to_blocks(struct gate_blocks *blocks, const struct prefix *prefix)
{
    blocks_mark(blocks->bits, blocks->seed, prefix);
}

/*
 * Word by word. Cells that were made from this very list only ever say less than those in force,
 * and both are true. In ones that were not filled nobody has looked.
 */
void gate_put_blocks(struct gate *gate, const struct gate_blocks *blocks)
{
    struct sg_blocks_head *head = blocks_head(gate);
    size_t i;

    for (i = sizeof(*head); i < BLOCKS_BYTES; i += sizeof(uint64_t)) {
        uint64_t *now = (uint64_t *)(void *)(gate->blocks + i), want;

        memcpy(&want, blocks->bits + i, sizeof(want));
        if (*now != want)
            __atomic_store_n(now, want, __ATOMIC_RELEASE);
    }
    head->seed = blocks->seed;
    head->stale = 0;
    __atomic_store_n(&head->filled, 1, __ATOMIC_SEQ_CST);
    /* Whoever took a prefix away may have been killed before it said so. */
    start_generation(gate);
}

/* What one call brings. */
#define BLOCKS_PIECE 4096

int gate_read_blocks(const struct gate *gate, struct gate_blocks **ret_blocks, struct err *e)
{
    _cleanup_(gate_free_blocks) struct gate_blocks *blocks = calloc(1, sizeof(*blocks));
    _cleanup_free_ __u32 *keys = calloc(BLOCKS_PIECE, sizeof(*keys));
    struct sg_blocks_head head = {0};
    __u32 done = 0, count, batch;
    int r = gate->maps[MAP_BLOCKS] < 0 ? -ENOENT : 0;

    if (!blocks || !keys)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
    for (; r == 0 && done < SG_BLOCK_ELEMENTS; done += count) {
        count = BLOCKS_PIECE;
        r = bpf_map_lookup_batch(gate->maps[MAP_BLOCKS], done ? &batch : NULL, &batch, keys,
                                 blocks->bits + (size_t)done * SG_BLOCK_BYTES, &count, NULL);
        if (r == -ENOENT && done + count == SG_BLOCK_ELEMENTS)
            r = 0; /* the last piece */
    }
    memcpy(&head, blocks->bits, sizeof(head));
    if (r < 0 && gate->maps[MAP_BLOCKS] >= 0)
        return fail_kernel(r, "read the summary of the list", e);
    blocks->seed = head.seed;
    *ret_blocks = head.filled ? TAKE_PTR(blocks) : NULL;
    return 0;
}

static int look_up_bit(uint32_t bit, void *arg)
{
    const int *map = arg;
    const __u32 element = bit / SG_BLOCK_BITS;
    struct sg_blocks blocks;
    int r = bpf_map_lookup_elem(*map, &element, &blocks);

    return r < 0 ? r : blocks.bits[bit / 8 % SG_BLOCK_BYTES] >> bit % 8 & 1;
}

static int copied_bit(uint32_t bit, void *arg)
{
    const struct gate_blocks *blocks = arg;

    return blocks->bits[bit / 8] >> bit % 8 & 1;
}

int gate_blocks_tell(struct gate_blocks *blocks, const struct prefix *prefix)
{
    return blocks_tell(copied_bit, blocks, blocks->seed, prefix);
}

int gate_tells(const struct gate *gate, const struct prefix *prefix, struct err *e)
{
    struct sg_blocks_head head;
    const __u32 zero = 0;
    int r, map = gate->maps[MAP_BLOCKS];

    if (map < 0)
        return 1;
    r = bpf_map_lookup_elem(map, &zero, &head);
    if (r == 0)
        r = head.filled ? blocks_tell(look_up_bit, &map, head.seed, prefix) : 1;
    return r < 0 ? fail_kernel(r, "read the summary of the list", e) : r;
}

/* Whether the program would ask a trie for @addr; 0 no, 1 yes. */
static int blocks_admit(const struct gate *gate, const struct addr *addr)
{
    struct sg_blocks_head head;
    const __u32 zero = 0;
    int r, map = gate->maps[MAP_BLOCKS];

    if (map < 0)
        return 1;
    r = bpf_map_lookup_elem(map, &zero, &head);
    if (r < 0 || !head.filled)
        return r < 0 ? r : 1;
    return blocks_send_on(look_up_bit, &map, head.seed, addr);
}

/* ---- the tries ---- */

union trie_key {
    struct sg_key4 ip4;
    struct sg_key6 ip6;
};

static int trie_of(const struct gate *gate, const struct prefix *prefix, union trie_key *key)
{
    memset(key, 0, sizeof(*key));
    if (prefix->addr.family == ADDR_IP4) {
        key->ip4.prefixlen = prefix->len;
        memcpy(key->ip4.addr, prefix->addr.bytes, sizeof(key->ip4.addr));
        return gate->maps[MAP_ALLOW4];
    }
    key->ip6.prefixlen = prefix->len;
    memcpy(key->ip6.addr, prefix->addr.bytes, sizeof(key->ip6.addr));
    return gate->maps[MAP_ALLOW6];
}

static uint64_t until_word(const struct gate *gate, const struct prefix *prefix, int64_t until)
{
    uint64_t deadline = until == UNTIL_FOREVER ? 0 : deadline_of(gate, until, UNTIL_BITS);

    return deadline << SG_UNTIL_DEADLINE_SHIFT | prefix->len;
}

int gate_add_prefix(struct gate *gate, const struct prefix *prefix, int64_t until, bool *ret_added,
                    struct err *e)
{
    struct timespec pause = {.tv_nsec = 1000000};
    const struct sg_allow value = {.until = until_word(gate, prefix, until)};
    union trie_key key;
    int fd = trie_of(gate, prefix, &key);
    unsigned int tries;
    int r;

    mark_blocks(gate, prefix);
    for (tries = 0; tries < 6; tries++, pause.tv_nsec *= 2) {
        r = bpf_map_update_elem(fd, &key, &value, BPF_NOEXIST);
        if (r != -ENOMEM)
            break;
        nanosleep(&pause, NULL);
    }
    if (r == -EEXIST || r == 0) {
        if (ret_added)
            *ret_added = r == 0;
        return 0;
    }
    if (r == -ENOSPC)
        return err_set(e, r, EXIT_REFUSED, "the kernel's table is full (%u prefixes)", SG_TRIE_MAX);
    if (r == -ENOMEM)
        return err_set(e, r, EXIT_REFUSED, "the kernel has no memory for one more prefix");
    return fail_kernel(r, "add a prefix", e);
}

static int load_setter(struct gate *gate, struct err *e)
{
    _cleanup_skeleton_ struct smtpgate_bpf *skel = NULL;
    int r = gate->setter < 0 ? open_skeleton(gate, &skel, e) : 0;

    if (r < 0 || gate->setter >= 0)
        return r;
    bpf_program__set_autoload(skel->progs.smtpgate, false);
    bpf_map__set_autocreate(skel->maps.count, false);
    bpf_map__set_autocreate(skel->maps.known, false);
    r = smtpgate_bpf__load(skel);
    if (r < 0)
        return fail_kernel(r, "load the program that sets ends", e);
    gate->setter = fcntl(bpf_program__fd(skel->progs.sg_set_until), F_DUPFD_CLOEXEC, 3);
    return gate->setter < 0 ? fail_kernel(-errno, "keep a program open", e) : 0;
}

int gate_set_until(struct gate *gate, const struct prefix *prefix, int64_t until, struct err *e)
{
    struct sg_set_until wish = {
        .until = until_word(gate, prefix, until),
        .family = prefix->addr.family == ADDR_IP4 ? SG_FAMILY_IP4 : SG_FAMILY_IP6,
    };
    LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = &wish, .data_size_in = sizeof(wish));
    int r = load_setter(gate, e);

    if (r < 0)
        return r;
    memcpy(wish.addr, prefix->addr.bytes, addr_len(prefix->addr.family));
    r = bpf_prog_test_run_opts(gate->setter, &opts);
    if (r == 0 && opts.retval != XDP_PASS)
        r = -ENOENT;
    start_generation(gate);
    return r < 0 ? fail_kernel(r, "change the end of a prefix", e) : 0;
}

int gate_delete_prefix(struct gate *gate, const struct prefix *prefix, struct err *e)
{
    union trie_key key;
    int r = bpf_map_delete_elem(trie_of(gate, prefix, &key), &key);

    start_generation(gate);
    if (r == 0 && gate->blocks)
        blocks_head(gate)->stale++;
    return r < 0 && r != -ENOENT ? fail_kernel(r, "delete a prefix", e) : 0;
}

/* CLOCK_BOOTTIME nanoseconds as Unix seconds: by the same clock as all else that is told. */
static uint64_t boot_to_unix(const struct gate *gate, uint64_t boot_ns)
{
    int64_t at = ((int64_t)(boot_ns / 1000000) + told_offset(gate, 0)) / 1000;

    return !boot_ns ? 0 : at < 1 ? 1 : (uint64_t)at;
}

static struct gate_use use_of(const struct gate *gate, const struct sg_allow *value)
{
    return (struct gate_use){.last_seen = boot_to_unix(gate, value->last_seen),
                             .connections = value->connections};
}

static int each_use(const struct gate *gate, enum map map, enum addr_family family,
                    int (*fn)(const struct prefix *prefix, int64_t until,
                              const struct gate_use *use, void *arg),
                    void *arg, struct err *e)
{
    union trie_key key, next;
    struct sg_allow value;
    bool first = true;
    int r;

    while ((r = bpf_map_get_next_key(gate->maps[map], first ? NULL : &key, &next)) == 0) {
        struct prefix prefix = {.addr = {.family = family}};
        struct gate_use use;
        uint64_t deadline;

        r = bpf_map_lookup_elem(gate->maps[map], &next, &value);
        if (r < 0)
            break;
        prefix.len = (uint8_t)next.ip4.prefixlen; /* stands first in both */
        memcpy(prefix.addr.bytes, family == ADDR_IP4 ? next.ip4.addr : next.ip6.addr,
               addr_len(family));
        deadline = value.until >> SG_UNTIL_DEADLINE_SHIFT;
        use = use_of(gate, &value);
        r = fn(&prefix, deadline ? until_of(gate, deadline) : UNTIL_FOREVER, &use, arg);
        if (r)
            return r;
        key = next;
        first = false;
    }
    return r == -ENOENT ? 0 : fail_kernel(r, "read the list", e);
}

int gate_each_use(struct gate *gate,
                  int (*fn)(const struct prefix *prefix, int64_t until, const struct gate_use *use,
                            void *arg),
                  void *arg, struct err *e)
{
    int r = each_use(gate, MAP_ALLOW4, ADDR_IP4, fn, arg, e);

    return r ? r : each_use(gate, MAP_ALLOW6, ADDR_IP6, fn, arg, e);
}

struct without_use {
    int (*fn)(const struct prefix *prefix, int64_t until, void *arg);
    void *arg;
};

static int leave_use(const struct prefix *prefix, int64_t until, const struct gate_use *use,
                     void *arg)
{
    const struct without_use *wanted = arg;

    (void)use;
    return wanted->fn(prefix, until, wanted->arg);
}

int gate_each_prefix(struct gate *gate,
                     int (*fn)(const struct prefix *prefix, int64_t until, void *arg), void *arg,
                     struct err *e)
{
    struct without_use wanted = {fn, arg};

    return gate_each_use(gate, leave_use, &wanted, e);
}

int gate_lookup(struct gate *gate, const struct prefix *prefix, struct gate_use *ret_use,
                struct err *e)
{
    struct sg_allow value;
    union trie_key key;
    int r = bpf_map_lookup_elem(trie_of(gate, prefix, &key), &key, &value);

    if (r == -ENOENT)
        return r;
    if (r < 0)
        return fail_kernel(r, "read the list", e);
    *ret_use = use_of(gate, &value);
    return 0;
}

/* As the program does it: from a prefix that has ended to the next shorter one. */
int gate_lets_in(struct gate *gate, const struct addr *addr, bool *ret_in, struct err *e)
{
    struct prefix prefix = {.addr = *addr, .len = (uint8_t)(addr_len(addr->family) * 8)};
    struct sg_allow value = {0};
    union trie_key key;
    int admit = blocks_admit(gate, addr);

    if (admit < 0)
        return fail_kernel(admit, "read the summary of the list", e);
    if (!admit) {
        *ret_in = false;
        return 0;
    }

    for (;;) {
        int r = bpf_map_lookup_elem(trie_of(gate, &prefix, &key), &key, &value);
        uint64_t len = value.until & SG_UNTIL_LEN_MASK;
        bool over = r == 0 && is_over(value.until >> SG_UNTIL_DEADLINE_SHIFT);

        if (r < 0 && r != -ENOENT)
            return fail_kernel(r, "read the list", e);
        if (r < 0 || !over || !len || len > prefix.len) {
            *ret_in = r == 0 && !over;
            return 0;
        }
        prefix.len = (uint8_t)(len - 1);
    }
}

/* ---- unlisted sources ---- */

/* What one call brings; a bucket of the table has to fit, and holds one or a few. */
#define SOURCES_PIECE 1024

struct piece {
    struct sg_source_key keys[SOURCES_PIECE];
    struct sg_source values[SOURCES_PIECE];
};

/* False for what only another version's program can have written. */
static bool source_from(const struct gate *gate, const struct sg_source_key *key,
                        const struct sg_source *value, struct gate_source *source)
{
    if ((key->family != SG_FAMILY_IP4 && key->family != SG_FAMILY_IP6) ||
        value->verdict >= SG_VERDICT_COUNT)
        return false;
    *source = (struct gate_source){
        .addr.family = key->family == SG_FAMILY_IP4 ? ADDR_IP4 : ADDR_IP6,
        .port = key->port,
        .verdict = (enum sg_verdict)value->verdict,
        .packets = value->packets,
        .attempts = value->attempts,
        .first_seen = boot_to_unix(gate, value->first_seen),
        .last_seen = boot_to_unix(gate, value->last_seen),
    };
    memcpy(source->addr.bytes, key->addr, addr_len(source->addr.family));
    return true;
}

/*
 * By buckets, which stay where they are: a walk from key to key begins anew when the key it stands
 * on is pushed out, and need not end in a flood.
 */
int gate_each_source(const struct gate *gate,
                     int (*fn)(const struct gate_source *source, void *arg), void *arg,
                     struct err *e)
{
    _cleanup_free_ struct piece *piece = malloc(sizeof(*piece));
    __u32 i, count, bucket;
    bool first = true;
    int r = 0;

    if (!piece)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
    while (r == 0 && gate->maps[MAP_SOURCES] >= 0) {
        count = SOURCES_PIECE;
        r = bpf_map_lookup_batch(gate->maps[MAP_SOURCES], first ? NULL : &bucket, &bucket,
                                 piece->keys, piece->values, &count, NULL);
        if (r < 0 && r != -ENOENT)
            return fail_kernel(r, "read the sources", e);
        for (i = 0; i < count; i++) {
            struct gate_source source;
            int end = source_from(gate, &piece->keys[i], &piece->values[i], &source)
                          ? fn(&source, arg)
                          : 0;

            if (end)
                return end;
        }
        first = false;
    }
    return 0;
}

/* A per-CPU map's one element, for all CPUs; the caller frees @ret_values. */
static int read_per_cpu(int fd, size_t size, void **ret_values, int *ret_cpus, const char *what,
                        struct err *e)
{
    _cleanup_free_ void *values = NULL;
    const __u32 zero = 0;
    int r, cpus = libbpf_num_possible_cpus();

    if (cpus < 1)
        return fail_kernel(cpus < 0 ? cpus : -EINVAL, what, e);
    values = calloc((size_t)cpus, size);
    if (!values)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
    r = bpf_map_lookup_elem(fd, &zero, values);
    if (r < 0)
        return fail_kernel(r, what, e);
    *ret_values = TAKE_PTR(values);
    *ret_cpus = cpus;
    return 0;
}

int gate_read_untracked(const struct gate *gate, uint64_t ret_packets[SG_VERDICT_COUNT],
                        struct err *e)
{
    _cleanup_free_ void *values = NULL;
    const struct sg_budget *budgets;
    int cpu, cpus, verdict, r = 0;

    if (gate->maps[MAP_BUDGET] >= 0)
        r = read_per_cpu(gate->maps[MAP_BUDGET], sizeof(*budgets), &values, &cpus,
                         "read the untracked packets", e);
    if (r < 0)
        return r;
    memset(ret_packets, 0, SG_VERDICT_COUNT * sizeof(*ret_packets));
    budgets = values;
    for (cpu = 0; budgets && cpu < cpus; cpu++)
        for (verdict = 0; verdict < SG_VERDICT_COUNT; verdict++)
            ret_packets[verdict] += budgets[cpu].untracked[verdict];
    return 0;
}

/* ---- interfaces ---- */

const char *gate_xdp_name(enum gate_xdp xdp)
{
    return xdp == GATE_XDP_NATIVE ? "native" : xdp == GATE_XDP_GENERIC ? "generic" : "none";
}

/*
 * The program behind a link, by a pin of its own: by its number only CAP_SYS_ADMIN can ask for it,
 * which is all of root. An older version pinned none.
 */
static int open_program(const struct gate *gate, uint32_t id, __u32 prog_id)
{
    char path[PIN_PATH_MAX];
    int fd;

    prog_path(gate, id, prog_id, path);
    fd = get_pin(gate, path);
    return fd < 0 ? bpf_prog_get_fd_by_id(prog_id) : fd;
}

/* The maps a program uses, against those that are pinned now. */
static bool program_uses(int prog, const int *fds, size_t n)
{
    struct bpf_prog_info info = {0};
    __u32 ids[16] = {0}, len = sizeof(info);
    size_t i, j;

    if (prog < 0)
        return false;
    info.map_ids = (__u64)(uintptr_t)ids;
    info.nr_map_ids = ARRAY_SIZE(ids);
    if (bpf_obj_get_info_by_fd(prog, &info, &len) < 0 || info.nr_map_ids > ARRAY_SIZE(ids))
        return false;
    for (i = 0; i < n; i++) {
        struct bpf_map_info map = {0};

        len = sizeof(map);
        if (fds[i] < 0 || bpf_obj_get_info_by_fd(fds[i], &map, &len) < 0)
            return false;
        for (j = 0; j < info.nr_map_ids && ids[j] != map.id; j++)
            ;
        if (j == info.nr_map_ids)
            return false;
    }
    return true;
}

static void compare_maps(const struct gate *gate, uint32_t id, __u32 prog_id,
                         struct gate_link *link)
{
    _cleanup_close_ int prog = open_program(gate, id, prog_id);
    char path[PIN_PATH_MAX];
    _cleanup_close_ int count = -1;

    count_path(gate, id, path);
    count = get_pin(gate, path);

    /* Without a summary the tries decide alone: what an older version attached. */
    link->in_force = program_uses(prog, gate->maps, MAP_BLOCKS) &&
                     (gate->maps[MAP_BLOCKS] < 0 || program_uses(prog, &gate->maps[MAP_BLOCKS], 1));
    link->current = program_uses(prog, gate->maps, SHARED_MAPS) && program_uses(prog, &count, 1);
}

/*
 * Program numbers are unique in the system, so a match means it is this device. A question that
 * failed is an error, not an answer; only a device that is not here is NONE.
 */
static int xdp_of(uint32_t ifindex, __u32 prog_id, enum gate_xdp *ret_xdp)
{
    LIBBPF_OPTS(bpf_xdp_query_opts, opts);
    int r = bpf_xdp_query((int)ifindex, 0, &opts);

    if (r < 0 && r != -ENODEV)
        return r;
    *ret_xdp = GATE_XDP_NONE;
    if (r < 0)
        return 0;
    if (opts.drv_prog_id == prog_id ||
        (opts.attach_mode == XDP_ATTACHED_DRV && opts.prog_id == prog_id))
        *ret_xdp = GATE_XDP_NATIVE;
    else if (opts.skb_prog_id == prog_id ||
             (opts.attach_mode == XDP_ATTACHED_SKB && opts.prog_id == prog_id))
        *ret_xdp = GATE_XDP_GENERIC;
    return 0;
}

static int read_link_fd(const struct gate *gate, uint32_t id, int fd, struct gate_link *link,
                        struct err *e)
{
    struct bpf_link_info info = {0};
    __u32 len = sizeof(info);
    int r = bpf_obj_get_info_by_fd(fd, &info, &len);

    if (r < 0)
        return fail_kernel(r, "look at a link", e);
    if (info.type != BPF_LINK_TYPE_XDP || !info.xdp.ifindex) {
        link->state = GATE_LINK_DEAD;
        return 0;
    }
    compare_maps(gate, id, info.prog_id, link);
    r = xdp_of(info.xdp.ifindex, info.prog_id, &link->xdp);
    if (r < 0)
        return fail_kernel(r, "tell where the gate is attached", e);
    if (link->xdp == GATE_XDP_NONE || !if_indextoname(info.xdp.ifindex, link->name)) {
        link->state = GATE_LINK_ELSEWHERE;
        return 0;
    }
    link->state = GATE_LINK_HERE;
    link->ifindex = info.xdp.ifindex;
    return 0;
}

static bool is_program_of(const struct gate *gate, uint32_t id, __u32 prog_id)
{
    char path[PIN_PATH_MAX];
    struct stat st;

    prog_path(gate, id, prog_id, path);
    return prog_id && stat(path, &st) == 0;
}

/*
 * For who may not open the link: the device that carries its program, by the numbers that everybody
 * may read. Which tables that uses cannot be asked then; it was pinned beside these.
 */
static int find_program(const struct gate *gate, uint32_t id, struct gate_link *link)
{
    struct if_nameindex *all = if_nameindex(), *one;
    struct gate_device device;

    if (!all)
        return -errno;
    link->state = GATE_LINK_DEAD;
    for (one = all; one->if_index && link->state == GATE_LINK_DEAD; one++) {
        gate_read_device(one->if_index, &device);
        if (!is_program_of(gate, id, device.id) ||
            xdp_of(one->if_index, device.id, &link->xdp) < 0 || link->xdp == GATE_XDP_NONE)
            continue;
        link->state = GATE_LINK_HERE;
        link->ifindex = one->if_index;
        snprintf(link->name, sizeof(link->name), "%s", one->if_name);
        link->in_force = link->current = true;
    }
    if_freenameindex(all);
    return 0;
}

int gate_read_link(struct gate *gate, uint32_t id, struct gate_link *ret_link, struct err *e)
{
    struct gate_link link = {.state = GATE_LINK_ABSENT};
    char path[PIN_PATH_MAX];
    _cleanup_close_ int fd = -1;
    int r;

    link_path(gate, id, path);
    fd = gate->hidden ? -ENOENT : bpf_obj_get(path); /* links know no read-only access */
    if (fd == -ENOENT) {
        *ret_link = link;
        return 0;
    }
    if (fd < 0 && fd != -EACCES)
        return fail_kernel(fd, "look at a link", e);
    r = fd < 0 ? find_program(gate, id, &link) : read_link_fd(gate, id, fd, &link, e);
    if (r < 0 && fd < 0)
        return fail_kernel(r, "look at the interfaces", e);
    if (r < 0)
        return r;
    *ret_link = link;
    return 0;
}

int gate_list_links(struct gate *gate, uint32_t **ret_ids, size_t *ret_count, struct err *e)
{
    _cleanup_free_ uint32_t *ids = NULL;
    size_t count = 0;
    struct dirent *entry;
    DIR *dir = opendir(gate->dir);

    if (!dir && errno != ENOENT && !gate->hidden)
        return fail_kernel(-errno, "look at the gate in the kernel", e);
    while (dir && (entry = readdir(dir))) {
        uint32_t id, *more;
        char rest;

        if (sscanf(entry->d_name, SG_PIN_LINK_FMT "%c", &id, &rest) != 1 || !id)
            continue;
        more = reallocarray(ids, count + 1, sizeof(*ids));
        if (!more) {
            closedir(dir);
            return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
        }
        ids = more;
        ids[count++] = id;
    }
    if (dir)
        closedir(dir);
    *ret_ids = TAKE_PTR(ids);
    *ret_count = count;
    return 0;
}

/* Loads an instance of the program for interface @id; its counter map is made if missing. */
static int load_program(const struct gate *gate, uint32_t id, struct smtpgate_bpf **ret_skel,
                        struct err *e)
{
    _cleanup_skeleton_ struct smtpgate_bpf *skel = NULL;
    _cleanup_close_ int count = -1;
    char path[PIN_PATH_MAX];
    int r;

    r = open_skeleton(gate, &skel, e);
    if (r < 0)
        return r;
    count_path(gate, id, path);
    count = bpf_obj_get(path);
    if (count >= 0 && map_has_shape(count, MAP_COUNTERS) == 0) {
        cleanup_close(&count);
        count = -1;
        unlink(path);
    }
    r = count >= 0 ? bpf_map__reuse_fd(skel->maps.count, count) : 0;
    if (r < 0)
        return fail_kernel(r, "share the counters", e);
    skel->rodata->sg_loads_reorder = LOADS_REORDER;
    skel->rodata->sg_frags = knows_frags();
    if (skel->rodata->sg_frags)
        bpf_program__set_flags(skel->progs.smtpgate, BPF_F_XDP_HAS_FRAGS);
    bpf_program__set_autoload(skel->progs.sg_set_until, false);
    r = smtpgate_bpf__load(skel);
    if (r == -EPERM || r == -EACCES)
        return fail_load_denied(r, "load the program", e);
    if (r < 0)
        return fail_kernel(r, "load the program", e);
    *ret_skel = TAKE_PTR(skel);
    return 0;
}

/*
 * After the link, so that an attach that fails leaves no counters behind. Killed in between, the
 * link does not count as current and sync loads the program again.
 */
static int pin_counters(const struct gate *gate, uint32_t id, const struct smtpgate_bpf *skel,
                        struct gate_attached *attached, struct err *e)
{
    char path[PIN_PATH_MAX];

    count_path(gate, id, path);
    if (bpf_obj_pin(bpf_map__fd(skel->maps.count), path) == 0)
        attached->new_counters = true;
    else if (errno != EEXIST)
        return fail_kernel(-errno, "pin the counters", e);
    return 0;
}

/* The pins of the programs of interface @id, but for that of @kept (0: all of them). */
static void unpin_programs(const struct gate *gate, uint32_t id, __u32 kept)
{
    char path[PIN_PATH_MAX];
    struct dirent *entry;
    DIR *dir;

    pin_path(gate, "", path);
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        uint32_t of, prog_id;
        char rest;

        if (sscanf(entry->d_name, SG_PIN_PROG_FMT "%c", &of, &prog_id, &rest) != 2 || of != id ||
            prog_id == kept)
            continue;
        prog_path(gate, id, prog_id, path);
        unlink(path);
    }
    if (dir)
        closedir(dir);
}

/*
 * Only for who looks without CAP_SYS_ADMIN (open_program) or may not open links (find_program): the
 * gate holds without it. While it is pinned its number is nobody else's.
 */
static void pin_program(const struct gate *gate, uint32_t id, int prog_fd)
{
    struct bpf_prog_info info = {0};
    __u32 len = sizeof(info);
    char path[PIN_PATH_MAX];

    if (bpf_obj_get_info_by_fd(prog_fd, &info, &len) < 0)
        return;
    prog_path(gate, id, info.id, path);
    (void)!bpf_obj_pin(prog_fd, path);
    unpin_programs(gate, id, info.id);
}

static void share(int dir, const char *name, gid_t group, mode_t mode)
{
    if (fchownat(dir, name, (uid_t)-1, group, AT_SYMLINK_NOFOLLOW) == 0)
        (void)!fchmodat(dir, name, mode, 0);
}

/*
 * With a directory that hands its group on (setgid), that group may read the tables. Not the links,
 * which can only be opened for writing, nor the programs: who can open one can run it, and count
 * packets that never came.
 */
static void share_maps(const struct gate *gate)
{
    char path[PIN_PATH_MAX];
    struct dirent *entry;
    struct stat st;
    DIR *dir;

    if (stat(gate->dir, &st) < 0 || !(st.st_mode & S_ISGID))
        return;
    pin_path(gate, "", path);
    share(AT_FDCWD, path, st.st_gid, S_ISGID | 0750);
    dir = opendir(path);
    while (dir && (entry = readdir(dir)))
        if (entry->d_name[0] != '.' && strncmp(entry->d_name, "prog_", 5) != 0)
            share(dirfd(dir), entry->d_name, st.st_gid, 0640);
    if (dir)
        closedir(dir);
}

void gate_read_device(uint32_t ifindex, struct gate_device *ret_device)
{
    LIBBPF_OPTS(bpf_xdp_query_opts, opts);
    struct gate_device device = {0};
    struct bpf_prog_info info = {0};
    __u32 len = sizeof(info);
    _cleanup_close_ int prog = -1;

    if (bpf_xdp_query((int)ifindex, 0, &opts) == 0)
        device.id = opts.prog_id       ? opts.prog_id
                    : opts.drv_prog_id ? opts.drv_prog_id
                                       : opts.skb_prog_id;
    prog = device.id ? bpf_prog_get_fd_by_id(device.id) : -1;
    if (prog >= 0 && bpf_obj_get_info_by_fd(prog, &info, &len) == 0)
        snprintf(device.name, sizeof(device.name), "%s", info.name);
    *ret_device = device;
}

/* Says whose program it is; the kernel only says "busy". */
static int fail_occupied(uint32_t ifindex, const char *name, struct err *e)
{
    struct gate_device device;

    gate_read_device(ifindex, &device);
    err_set(e, 0, EXIT_REFUSED,
            "%s carries another XDP program already (%s, id %u) and an interface takes one", name,
            device.name[0] ? device.name : "without a name", device.id);
    err_hint(e,
             "see it with: bpftool net show dev %s; then stop the program that put it there, or: ip"
             " link set dev %s xdp off",
             name, name);
    return -EBUSY;
}

static int fail_attach(int r, uint32_t ifindex, const char *name, enum gate_xdp xdp, struct err *e)
{
    if (r == -EPERM || r == -EACCES)
        return fail_load_denied(r, "attach an XDP program", e);
    if (r == -EBUSY || r == -EEXIST)
        return fail_occupied(ifindex, name, e);
    if (r == -ENODEV)
        return err_set(e, r, EXIT_REFUSED, "%s went away while it was being attached", name);
    if (r == -EOPNOTSUPP) {
        err_set(e, r, EXIT_REFUSED, "the driver of %s has no native XDP", name);
        err_hint(e, "smtpgate attach %s --mode generic", name);
    } else if (r == -ERANGE || (r == -EINVAL && xdp == GATE_XDP_NATIVE)) {
        err_set(e, r, EXIT_REFUSED,
                "the driver of %s refuses native XDP with its present settings (%s; often the MTU,"
                " LRO or the number of queues)",
                name, strerror(-r));
        err_hint(e, "smtpgate attach %s --mode generic, or lower the MTU: ip link show %s", name,
                 name);
    } else {
        fail_kernel(r, "attach the program", e);
    }
    return r;
}

static int make_link_once(struct gate *gate, uint32_t id, int prog_fd, uint32_t ifindex,
                          enum gate_xdp xdp)
{
    LIBBPF_OPTS(bpf_link_create_opts, opts,
                .flags = xdp == GATE_XDP_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);
    char path[PIN_PATH_MAX];
    _cleanup_close_ int fd = bpf_link_create(prog_fd, (int)ifindex, BPF_XDP, &opts);

    if (fd < 0)
        return fd;
    link_path(gate, id, path);
    if (bpf_obj_pin(fd, path) < 0)
        return -errno;
    return 0;
}

/* By name: the program of a link whose pin is gone has no other. */
static bool carries_gate(uint32_t ifindex)
{
    struct gate_device device;

    gate_read_device(ifindex, &device);
    return !strcmp(device.name, "smtpgate");
}

/*
 * The kernel takes a link off its device some time after its pin has gone, by a work queue: whoever
 * detaches and attaches at once would find the gate itself in the way.
 */
static int make_link(struct gate *gate, uint32_t id, int prog_fd, uint32_t ifindex,
                     enum gate_xdp xdp)
{
    struct timespec pause = {.tv_nsec = 5000000};
    unsigned int tries;
    int r = make_link_once(gate, id, prog_fd, ifindex, xdp);

    for (tries = 0; r == -EBUSY && tries < 6 && carries_gate(ifindex); tries++) {
        nanosleep(&pause, NULL);
        pause.tv_nsec *= 2;
        r = make_link_once(gate, id, prog_fd, ifindex, xdp);
    }
    return r;
}

/* What a driver says when it cannot, as opposed to when somebody is in the way. */
static bool means_no_native(int r)
{
    return r == -EOPNOTSUPP || r == -EINVAL || r == -ERANGE || r == -ENOMEM || r == -ENOSPC;
}

static int create_link(struct gate *gate, uint32_t id, int prog_fd, uint32_t ifindex,
                       const char *name, enum gate_xdp want, struct gate_attached *attached,
                       struct err *e)
{
    enum gate_xdp xdp = want == GATE_XDP_NONE ? GATE_XDP_NATIVE : want;
    int r = make_link(gate, id, prog_fd, ifindex, xdp);

    if (want == GATE_XDP_NONE && means_no_native(r)) {
        attached->native_error = -r;
        xdp = GATE_XDP_GENERIC;
        r = make_link(gate, id, prog_fd, ifindex, xdp);
    }
    if (r < 0)
        return fail_attach(r, ifindex, name, xdp, e);
    attached->xdp = xdp;
    return 0;
}

static int update_link(struct gate *gate, uint32_t id, int prog_fd, struct err *e)
{
    char path[PIN_PATH_MAX];
    _cleanup_close_ int fd = -1;
    int r;

    link_path(gate, id, path);
    fd = bpf_obj_get(path);
    r = fd < 0 ? fd : bpf_link_update(fd, prog_fd, NULL);
    return r < 0 ? fail_kernel(r, "replace the program in place", e) : 0;
}

static int fail_mode_change(const char *name, enum gate_xdp xdp, struct err *e)
{
    const char *is = xdp == GATE_XDP_NATIVE ? "native" : "generic";
    const char *want = xdp == GATE_XDP_NATIVE ? "generic" : "native";

    err_set(e, 0, EXIT_REFUSED,
            "%s is attached in %s mode, and the kernel cannot change a live"
            " attachment to %s without a gap; nothing changed",
            name, is, want);
    err_hint(e,
             "if a moment without the gate is acceptable: smtpgate detach %s, then smtpgate"
             " attach %s --mode %s",
             name, name, want);
    return -EBUSY;
}

int gate_attach(struct gate *gate, uint32_t id, uint32_t ifindex, const char *name,
                enum gate_xdp want, struct gate_attached *ret_attached, struct err *e)
{
    _cleanup_skeleton_ struct smtpgate_bpf *skel = NULL;
    struct gate_attached attached = {0};
    struct gate_link link;
    int r, prog_fd;
    bool live;

    r = gate_read_link(gate, id, &link, e);
    if (r < 0)
        return r;
    live = link.state == GATE_LINK_HERE || link.state == GATE_LINK_ELSEWHERE;
    if (ifindex ? live && link.ifindex != ifindex : !live)
        return err_set(e, -EXDEV, EXIT_REFUSED, "link %u is not on %s", id, name);
    if (live && want != GATE_XDP_NONE && want != link.xdp)
        return fail_mode_change(name, link.xdp, e);
    r = load_program(gate, id, &skel, e);
    if (r < 0)
        return r;
    prog_fd = bpf_program__fd(skel->progs.smtpgate);
    if (live) {
        attached.xdp = link.xdp;
        attached.replaced = true;
        r = update_link(gate, id, prog_fd, e);
    } else {
        r = gate_detach(gate, id, e); /* a dead pin */
        if (r == 0)
            r = create_link(gate, id, prog_fd, ifindex, name, want, &attached, e);
    }
    if (r < 0)
        return r;
    r = pin_counters(gate, id, skel, &attached, e);
    if (r < 0)
        gate_undo_attach(gate, id, &attached);
    if (r < 0)
        return r;
    pin_program(gate, id, prog_fd);
    share_maps(gate);
    *ret_attached = attached;
    return 0;
}

void gate_undo_attach(struct gate *gate, uint32_t id, const struct gate_attached *attached)
{
    char path[PIN_PATH_MAX];

    link_path(gate, id, path);
    if (!attached->replaced) {
        unlink(path);
        unpin_programs(gate, id, 0);
    }
    count_path(gate, id, path);
    if (attached->new_counters)
        unlink(path);
}

int gate_detach(struct gate *gate, uint32_t id, struct err *e)
{
    char path[PIN_PATH_MAX];

    link_path(gate, id, path);
    if (unlink(path) < 0 && errno != ENOENT)
        return fail_kernel(-errno, "take the program off", e);
    unpin_programs(gate, id, 0);
    return 0;
}

int gate_read_counters(struct gate *gate, uint32_t id, struct sg_counters *ret_counters,
                       struct err *e)
{
    _cleanup_free_ void *values = NULL;
    const struct sg_counters *per_cpu;
    struct bpf_map_info info = {0};
    __u32 len = sizeof(info);
    char path[PIN_PATH_MAX];
    _cleanup_close_ int fd = -1;
    int r, cpu, cpus = 0;

    count_path(gate, id, path);
    fd = get_pin(gate, path);
    memset(ret_counters, 0, sizeof(*ret_counters));
    if (fd == -ENOENT)
        return 0;
    if (fd < 0)
        return fail_kernel(fd, "read the counters", e);
    r = bpf_obj_get_info_by_fd(fd, &info, &len);
    if (r < 0 || info.value_size != sizeof(*per_cpu))
        return fail_kernel(r < 0 ? r : -EINVAL, "read the counters", e);
    r = read_per_cpu(fd, sizeof(*per_cpu), &values, &cpus, "read the counters", e);
    if (r < 0)
        return r;
    per_cpu = values;
    for (cpu = 0; cpu < cpus; cpu++)
        counters_add(ret_counters, &per_cpu[cpu]);
    return 0;
}
