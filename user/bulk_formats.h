/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The formats, one file each: a reader takes all of an input and tells its sink, a printer makes
 * one line of one entry. Pure. Must not know where bytes come from, or how a format was chosen.
 */
#ifndef SMTPGATE_BULK_FORMATS_H
#define SMTPGATE_BULK_FORMATS_H

#include "bulk_input.h"

enum bulk_format {
    BULK_AUTO,
    BULK_LIST,
    BULK_CSV,
    BULK_JSON,
    BULK_IPSET,
    BULK_NFT,
    BULK_POSTFIX,
};

/* 0, -ENOMEM, or what the sink returned below 0. */
int bulk_read_list(struct bulk_input *in);
int bulk_read_csv(struct bulk_input *in);
int bulk_read_json(struct bulk_input *in);
int bulk_read_ipset(struct bulk_input *in);
int bulk_read_nft(struct bulk_input *in);
int bulk_read_postfix(struct bulk_input *in);

/* The format of the bytes to come; takes empty lines and comments away. */
enum bulk_format bulk_detect(struct bulk_input *in);

/* What an entry of the list has beyond what can be given; 0 is not known. */
struct bulk_row {
    struct listfile_entry entry;
    int64_t id, created;
};

/* Room for an entry in any format, all of it escaped. */
#define BULK_TEXT_MAX 4096

/*
 * One line without its end; @format is BULK_LIST, BULK_CSV or BULK_JSON. Read back it is the same
 * entry. Returns @buf.
 */
const char *bulk_print(enum bulk_format format, const struct bulk_row *row,
                       char buf[BULK_TEXT_MAX]);

/* The line that stands in front of all entries, or NULL. */
const char *bulk_header(enum bulk_format format);

#endif
