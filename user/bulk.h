/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whole lists from and to files, in our formats and in those of the programs that kept such a list
 * before. A file is read as a stream: memory does not grow with it. What is read is handed on entry
 * by entry; what cannot be taken over is named with its place, and never left out in silence. Must
 * not know the store, the command line or what becomes of the entries.
 *
 *     list      WHO until=TIME account=NAME # remark                          (listfile.h)
 *     csv       RFC 4180 with a header line: who,account,until,remark in any order; id, kind,
 *               created, last_seen, connections are passed over; "expires" is another name of until
 *     json      an object an entry (JSON Lines), or the one object that "smtpgate -j list" and
 *               "-j export" print; keys as the columns of csv
 *     ipset     what "ipset save" prints, of sets of addresses or networks
 *     nft       what "nft list set" and "nft list ruleset" print, and "add element"
 *     postfix   a cidr: table; its rows that permit
 *
 * An empty cell, "" and null are "not given": the same as to leave the column or the key out.
 */
#ifndef SMTPGATE_BULK_H
#define SMTPGATE_BULK_H

#include <stdio.h>

#include "bulk_formats.h"

/*
 * "list", "csv", "json", "ipset", "nft" or "postfix". -EINVAL, EXIT_USAGE.
 */
int bulk_format_parse(const char *name, enum bulk_format *ret_format, struct err *e);

/*
 * Reads @file to its end and tells @sink. Empty lines and comments in front are passed over in any
 * format. BULK_AUTO looks at the first line behind them:
 *     { or [                                            json
 *     create, add, -exist ... with a set's name         ipset
 *     table, set, add element, flush ruleset ...        nft
 *     names of columns, one of them "who"               csv
 *     !, if, or a second word that is an action         postfix (OK, permit, REJECT, DUNNO ...)
 *     all else                                          list
 * @now (Unix seconds) is what "timeout 3600" counts from. 0 also when there were problems; -EIO
 * etc. when the file could not be read, -ENOMEM, or what @sink returned below 0. @ret_format (may
 * be NULL) is the format that was read.
 */
int bulk_read(FILE *file, enum bulk_format format, int64_t now, const struct bulk_sink *sink,
              enum bulk_format *ret_format, struct err *e);

#endif
