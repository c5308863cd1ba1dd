/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fills the record that metrics are written from: the view, the policy service's answers, packets
 * whose source was not written down. For the metrics command and the exporter; knows nothing of
 * where the text goes.
 *
 * Who looks from outside must not lose sight when something is wrong: where the store cannot be
 * read, what the kernel says is told alone.
 */
#ifndef SMTPGATE_SCRAPE_H
#define SMTPGATE_SCRAPE_H

#include "err.h"
#include "metrics.h"

/*
 * @ret_trouble: why the store could not be read; its message is empty where all is well. An error
 * where nothing can be told.
 */
int scrape(const char *state, const char *bpffs, struct metrics *ret_metrics,
           struct err *ret_trouble, struct err *e);
void scrape_free(struct metrics *metrics);
#define _cleanup_scrape_ __attribute__((cleanup(scrape_free)))

#endif
