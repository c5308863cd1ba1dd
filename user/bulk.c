/* SPDX-License-Identifier: GPL-2.0-only */
/* See bulk.h. */
#include "bulk.h"

#include <errno.h>
#include <string.h>

#include "util.h"

static const char *const names[] = {
    [BULK_AUTO] = "auto",   [BULK_LIST] = "list", [BULK_CSV] = "csv",         [BULK_JSON] = "json",
    [BULK_IPSET] = "ipset", [BULK_NFT] = "nft",   [BULK_POSTFIX] = "postfix",
};

int bulk_format_parse(const char *name, enum bulk_format *ret_format, struct err *e)
{
    char shown[40];

    for (unsigned int i = BULK_LIST; i < ARRAY_SIZE(names); i++)
        if (!strcmp(name, names[i])) {
            *ret_format = (enum bulk_format)i;
            return 0;
        }
    err_set(e, 0, EXIT_USAGE, "\"%s\" is no format", text_escape(name, shown, sizeof(shown)));
    err_hint(e, "list, csv or json; to read also ipset, nft or postfix");
    return -EINVAL;
}

struct source {
    FILE *file;
    int error; /* errno */
};

static size_t fill(void *arg, char *buf, size_t size)
{
    struct source *source = arg;
    size_t got = fread(buf, 1, size, source->file);

    if (!got && ferror(source->file))
        source->error = errno ? errno : EIO;
    return got;
}

static int read_format(struct bulk_input *in, enum bulk_format format)
{
    switch (format) {
    case BULK_CSV:
        return bulk_read_csv(in);
    case BULK_JSON:
        return bulk_read_json(in);
    case BULK_IPSET:
        return bulk_read_ipset(in);
    case BULK_NFT:
        return bulk_read_nft(in);
    case BULK_POSTFIX:
        return bulk_read_postfix(in);
    default:
        return bulk_read_list(in);
    }
}

int bulk_read(FILE *file, enum bulk_format format, int64_t now, const struct bulk_sink *sink,
              enum bulk_format *ret_format, struct err *e)
{
    _cleanup_free_ struct bulk_input *in = calloc(1, sizeof(*in));
    struct source source = {.file = file};
    enum bulk_format detected;
    int r;

    if (!in)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "not enough memory");
    in->fill = fill;
    in->fill_arg = &source;
    in->sink = sink;
    in->now = now;
    bulk_begin(in);
    /* Also where it is known: comments in front are no part of any format, JSON has none. */
    detected = bulk_detect(in);
    if (format == BULK_AUTO)
        format = detected;
    r = read_format(in, format);
    if (r == -ENOMEM)
        err_set(e, r, EXIT_REFUSED, "not enough memory");
    if (r < 0)
        return r;
    if (source.error)
        return err_set(e, -source.error, source.error == EISDIR ? EXIT_USAGE : EXIT_REFUSED,
                       "cannot read: %s", strerror(source.error));
    if (ret_format)
        *ret_format = format;
    return 0;
}
