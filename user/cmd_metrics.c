/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * metrics: prints them once, or puts them into a file that another program collects. Reads only,
 * but for that file.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "cmd.h"
#include "scrape.h"

static int parse_format(const char *word, enum metrics_format *ret_format, struct err *e)
{
    char shown[64];

    if (!word || !strcmp(word, "prometheus"))
        *ret_format = METRICS_PROMETHEUS;
    else if (!strcmp(word, "openmetrics"))
        *ret_format = METRICS_OPENMETRICS;
    else {
        err_set(e, 0, EXIT_USAGE, "\"%s\" is no format of metrics",
                text_escape(word, shown, sizeof(shown)));
        err_hint(e, "--format prometheus, or --format openmetrics");
        return -EINVAL;
    }
    return 0;
}

/* ---- into a file ---- */

static int fail_directory(const char *dir, int error, struct err *e)
{
    char shown[512];

    text_escape(dir, shown, sizeof(shown));
    err_set(e, 0, error == EACCES ? EXIT_DENIED : EXIT_REFUSED, "%s: %s", shown, strerror(error));
    if (error == ENOENT)
        err_hint(e, "make the directory first, which the collector must read: mkdir -p %s", shown);
    return -error;
}

/* The directory of @path, and the name in it. */
static int open_directory(const char *path, const char **ret_name, int *ret_fd, struct err *e)
{
    const char *slash = strrchr(path, '/');
    char dir[PATH_MAX] = ".";
    int fd;

    *ret_name = slash ? slash + 1 : path;
    if (!**ret_name || !strcmp(*ret_name, ".") || !strcmp(*ret_name, "..") ||
        strlen(path) >= sizeof(dir)) {
        err_set(e, 0, EXIT_USAGE, "--textfile wants the name of a file");
        err_hint(e, "smtpgate metrics --textfile /var/lib/prometheus/node-exporter/smtpgate.prom");
        return -EINVAL;
    }
    if (slash)
        snprintf(dir, sizeof(dir), "%.*s", slash == path ? 1 : (int)(slash - path), path);
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail_directory(dir, errno, e);
    *ret_fd = fd;
    return 0;
}

/* Only a file is replaced: a device or a link of that name (/dev/null, /dev/stdout) is wanted. */
static int check_name(int dir, const char *name, const char *shown, struct err *e)
{
    struct stat st;

    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || S_ISREG(st.st_mode))
        return 0;
    err_set(e, 0, EXIT_REFUSED, "%s is %s; it stays as it was", shown,
            S_ISLNK(st.st_mode) ? "a symbolic link, which is not followed"
                                : "there and is no regular file");
    err_hint(e, "name a file; to print the metrics: smtpgate metrics");
    return -EEXIST;
}

/* Hidden, and not ending in .prom: collectors take all that does. Nobody can know it in advance. */
static int make_temporary(int dir, const char *name, char temporary[NAME_MAX + 1])
{
    uint64_t random;
    int fd;

    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return -EIO;
    if (snprintf(temporary, NAME_MAX + 1, ".%s.%016llx", name, (unsigned long long)random) >
        NAME_MAX)
        return -ENAMETOOLONG;
    fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : fd;
}

static int write_all(int fd, const char *text, size_t length)
{
    while (length) {
        ssize_t n = write(fd, text, length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        text += n;
        length -= (size_t)n;
    }
    return 0;
}

/* A power cut may leave an empty file, which the next round mends: nothing waits for the disk. */
static int replace(int dir, const char *name, const char *text, size_t length)
{
    char temporary[NAME_MAX + 1];
    int fd = make_temporary(dir, name, temporary), r;

    if (fd < 0)
        return fd;
    r = write_all(fd, text, length);
    if (r == 0 && fchmod(fd, 0644) < 0)
        r = -errno;
    if (close(fd) < 0 && r == 0)
        r = -errno;
    if (r == 0 && renameat(dir, temporary, dir, name) < 0)
        r = -errno;
    if (r < 0)
        unlinkat(dir, temporary, 0);
    return r;
}

static int write_textfile(const struct cmd_context *ctx, const char *path, const char *text,
                          size_t length, struct err *e)
{
    _cleanup_close_ int dir = -1;
    const char *name;
    char shown[512];
    int r = open_directory(path, &name, &dir, e);

    if (r < 0)
        return r;
    text_escape(path, shown, sizeof(shown));
    r = check_name(dir, name, shown, e);
    if (r < 0)
        return r;
    r = ctx->dry_run ? 0 : replace(dir, name, text, length);
    if (r < 0)
        return err_set(e, r, r == -EACCES || r == -EPERM ? EXIT_DENIED : EXIT_REFUSED,
                       "%s: %s; what was there before is as it was", shown, strerror(-r));
    if (ctx->dry_run)
        out_done(&ctx->out, "would write %s\n", shown);
    out_json(&ctx->out, json_pack("{s:s, s:I}", "file", shown, "bytes", (json_int_t)length));
    return 0;
}

/* ---- as JSON ---- */

struct rows {
    json_t *families, *samples; /* @samples: those of the last family */
};

static void family_json(const struct metrics_family *family, void *arg)
{
    struct rows *rows = arg;
    char name[METRICS_NAME_MAX];

    rows->samples = json_array();
    json_array_append_new(rows->families, json_pack("{s:s, s:s, s:s, s:o}", "name",
                                                    metrics_sample_name(family, name), "type",
                                                    metrics_type_name(family->type), "help",
                                                    family->help, "samples", rows->samples));
}

/* JSON's numbers here have a sign: a counter that is wrong shall not look like a negative one. */
static json_t *value_json(const struct metrics_sample *sample)
{
    if (sample->infinite)
        return json_null();
    return json_integer(sample->value > INT64_MAX ? INT64_MAX : (json_int_t)sample->value);
}

static void sample_json(const struct metrics_sample *sample, void *arg)
{
    struct rows *rows = arg;
    json_t *labels = json_object();
    size_t i;

    for (i = 0; i < sample->n_labels; i++)
        json_object_set_new(labels, sample->labels[i].name, json_string(sample->labels[i].value));
    json_array_append_new(rows->samples,
                          json_pack("{s:o, s:o}", "labels", labels, "value", value_json(sample)));
}

static json_t *metrics_json(const struct metrics *metrics)
{
    struct rows rows = {.families = json_array()};
    const struct metrics_sink sink = {family_json, sample_json, &rows};

    metrics_walk(metrics, &sink);
    return json_pack("{s:o}", "metrics", rows.families);
}

/* ---- the command ---- */

static int print(const struct cmd_context *ctx, const struct metrics *metrics,
                 enum metrics_format format, struct err *e)
{
    const char *path = ctx->options[OPT_TEXTFILE];
    _cleanup_free_ char *text = NULL;
    size_t length;
    int r = metrics_render(metrics, format, &text, &length);

    if (r < 0)
        return cmd_fail_memory(e);
    if (path)
        return write_textfile(ctx, path, text, length, e);
    out_text(&ctx->out, "%s", text);
    out_json(&ctx->out, ctx->out.json ? metrics_json(metrics) : NULL);
    return 0;
}

int cmd_metrics(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_scrape_ struct metrics metrics = {0};
    enum metrics_format format;
    struct err trouble;
    int r = parse_format(ctx->options[OPT_METRICS_FORMAT], &format, e);

    if (r == 0)
        r = scrape(ctx->state, ctx->bpffs, &metrics, &trouble, e);
    if (r < 0)
        return r;
    if (trouble.message[0])
        out_warn(&ctx->out, "%s; only what the kernel knows is told\n", trouble.message);
    return print(ctx, &metrics, format, e);
}
