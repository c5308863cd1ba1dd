/* SPDX-License-Identifier: GPL-2.0-only */
/* See firewall.h. */
#include "firewall.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

#include "pace.h"
#include "util.h"

#define TEXT_MAX (16U << 20)
#define WAIT_MS  5000 /* for one */
#define LOOK_MS  10
#define PATH_LEN 64

/* Names in the order in which they are looked for, and words behind them. */
static const struct tool {
    const char *names[2];
    const char *words[4];
    const char *by_hand;
} tools[] = {
    [FIREWALL_NFT] = {{"nft"}, {"-j", "list", "ruleset"}, "nft list ruleset"},
    [FIREWALL_NFT_TERSE] = {{"nft"}, {"-jt", "list", "ruleset"}, "nft list ruleset"},
    [FIREWALL_IPTABLES] = {{"iptables-nft-save", "iptables-save"}, {0}, "iptables-nft-save"},
    [FIREWALL_IP6TABLES] = {{"ip6tables-nft-save", "ip6tables-save"}, {0}, "ip6tables-nft-save"},
    [FIREWALL_IPTABLES_LEGACY] = {{"iptables-legacy-save", "iptables-save"},
                                  {0},
                                  "iptables-legacy-save"},
    [FIREWALL_IP6TABLES_LEGACY] = {{"ip6tables-legacy-save", "ip6tables-save"},
                                   {0},
                                   "ip6tables-legacy-save"},
};

static bool find(const struct tool *tool, char path[PATH_LEN])
{
    static const char *const dirs[] = {"/usr/sbin", "/sbin", "/usr/bin"};
    size_t i, j;

    for (i = 0; i < ARRAY_SIZE(tool->names) && tool->names[i]; i++)
        for (j = 0; j < ARRAY_SIZE(dirs); j++) {
            snprintf(path, PATH_LEN, "%s/%s", dirs[j], tool->names[i]);
            if (access(path, X_OK) == 0)
                return true;
        }
    return false;
}

/* ---- the other process ---- */

/* Does not return. @parent: who ends before this runs is not waited for by anybody. */
static void become(const char *path, const struct tool *tool, int out, pid_t parent)
{
    char *argv[ARRAY_SIZE(tool->words) + 2] = {(char *)path}, *env[] = {NULL};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    size_t i;

    for (i = 0; i < ARRAY_SIZE(tool->words) && tool->words[i]; i++)
        argv[i + 1] = (char *)tool->words[i];
    if (null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0 &&
        dup2(null, STDERR_FILENO) >= 0 && chdir("/") == 0 &&
        prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent)
        execve(path, argv, env);
    _exit(127);
}

/* ---- and here ---- */

struct text {
    char *bytes;
    size_t used, room;
};

static int make_room(struct text *text)
{
    size_t room = text->room ? text->room * 2 : 16384;
    char *bytes;

    if (text->used + 1 < text->room)
        return 0;
    if (room > TEXT_MAX)
        return -EFBIG;
    bytes = realloc(text->bytes, room);
    if (!bytes)
        return -ENOMEM;
    text->bytes = bytes;
    text->room = room;
    return 0;
}

/* Until the other end is closed. */
static int read_all(int fd, int64_t end, struct text *text)
{
    struct pollfd wanted = {.fd = fd, .events = POLLIN};
    int64_t left;

    while ((left = end - pace_now()) > 0) {
        int r = poll(&wanted, 1, (int)left);
        ssize_t n;

        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            break;
        r = make_room(text);
        if (r < 0)
            return r;
        n = read(fd, text->bytes + text->used, text->room - text->used - 1);
        if (n <= 0)
            return n < 0 ? -errno : 0;
        text->used += (size_t)n;
    }
    return -ETIMEDOUT;
}

/* One that has closed what it prints to may still run: it has until @end. */
static int wait_for(pid_t child, int64_t end, int *ret_status)
{
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};

    while (waitpid(child, ret_status, WNOHANG) == 0) {
        if (pace_now() >= end)
            return -ETIMEDOUT;
        nanosleep(&pause, NULL);
    }
    return 0;
}

static void end_now(pid_t child)
{
    kill(child, SIGKILL);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
}

static int run(const char *path, const struct tool *tool, int64_t end, struct text *text,
               int *ret_status)
{
    _cleanup_close_ int from = -1, to = -1;
    pid_t child, parent = getpid();
    int r, ends[2], status = 0;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    from = ends[0];
    to = ends[1];
    child = fork();
    if (child < 0)
        return -errno;
    if (child == 0)
        become(path, tool, to, parent);
    close(TAKE_FD(to)); /* so that the end is seen */
    r = read_all(from, end, text);
    if (r == 0)
        r = wait_for(child, end, &status);
    if (r < 0)
        end_now(child);
    *ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128; /* as the shell has it */
    return r;
}

static int fail(int r, const struct tool *tool, const char *path, int status, struct err *e)
{
    if (r == -ETIMEDOUT)
        err_set(e, r, EXIT_REFUSED, "%s did not come to an end in time", path);
    else if (r < 0)
        err_set(e, r, EXIT_REFUSED, "cannot run %s: %s", path, strerror(-r));
    else
        err_set(e, r, EXIT_REFUSED, "%s failed (exit status %d)", path, status);
    err_hint(e, "%s", tool->by_hand);
    return r < 0 ? r : -EIO;
}

int firewall_print(enum firewall_tool tool, int64_t *left_ms, char **ret_text, struct err *e)
{
    int64_t start = pace_now();
    struct text text = {0};
    char path[PATH_LEN];
    int r, status = 0;

    if (!find(&tools[tool], path))
        return -ENOENT;
    r = make_room(&text);
    if (r == 0)
        r = run(path, &tools[tool], start + (*left_ms < WAIT_MS ? *left_ms : WAIT_MS), &text,
                &status);
    *left_ms -= pace_now() - start;
    if (r == 0 && status == 0 && strnlen(text.bytes, text.used) == text.used) {
        text.bytes[text.used] = '\0';
        *ret_text = text.bytes;
        return 0;
    }
    free(text.bytes);
    return r == -EFBIG ? r : fail(r, &tools[tool], path, status, e);
}

/* ---- without any tool ---- */

/* The first word of a line of @path is @word, or ends in it; UNKNOWN: it cannot be read. */
static enum firewall_there find_line(const char *path, const char *word)
{
    FILE *file = fopen(path, "re");
    enum firewall_there there = file ? FIREWALL_NO : FIREWALL_UNKNOWN;
    _cleanup_free_ char *line = NULL;
    size_t room = 0, len = strlen(word);

    while (file && there == FIREWALL_NO && getline(&line, &room, file) > 0) {
        size_t first = strcspn(line, " \n");

        if (first >= len && !memcmp(line + first - len, word, len))
            there = FIREWALL_YES;
    }
    if (file)
        fclose(file);
    return there;
}

static enum firewall_there may_have_nf_tables(void)
{
    enum firewall_there loaded = find_line("/proc/modules", "nf_tables"), built_in;
    struct utsname host;
    char path[128];

    if (loaded == FIREWALL_YES || uname(&host) < 0)
        return loaded == FIREWALL_YES ? loaded : FIREWALL_UNKNOWN;
    snprintf(path, sizeof(path), "/lib/modules/%.64s/modules.builtin", host.release);
    built_in = find_line(path, "/nf_tables.ko");
    return loaded == FIREWALL_NO ? built_in : FIREWALL_UNKNOWN;
}

/* The file is there with the module, and lists the tables of this network namespace. */
static enum firewall_there may_have_legacy(const char *path)
{
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return FIREWALL_NO;
    return find_line(path, "");
}

enum firewall_there firewall_may_have(enum firewall_tool tool)
{
    switch (tool) {
    case FIREWALL_IPTABLES_LEGACY:
        return may_have_legacy("/proc/net/ip_tables_names");
    case FIREWALL_IP6TABLES_LEGACY:
        return may_have_legacy("/proc/net/ip6_tables_names");
    case FIREWALL_NFT:
    case FIREWALL_NFT_TERSE:
    case FIREWALL_IPTABLES:
    case FIREWALL_IP6TABLES:
    default:
        return may_have_nf_tables();
    }
}
