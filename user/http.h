/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small HTTP server that answers GET and HEAD, by libmicrohttpd, which is loaded when it is
 * wanted: it brings a TLS library along, which no other command shall pay for. Knows nothing of
 * what is served, and is meant for a process without rights.
 */
#ifndef SMTPGATE_HTTP_H
#define SMTPGATE_HTTP_H

#include <stddef.h>

#include "err.h"
#include "util.h"

struct http;

struct http_answer {
    unsigned int status;
    const char *type; /* Content-Type */
    const char *body; /* stays until the next call */
    size_t length;
};

/* @accept: the request's header of that name, "" without one. */
typedef void http_get_fn(const char *path, const char *accept, struct http_answer *ret_answer,
                         void *arg);

/* Takes the listening sockets over, also after an error. */
int http_open(const int *listeners, size_t n, http_get_fn *get, void *arg, struct http **ret_http,
              struct err *e);
/* Until @until can be read, or its other end is closed. */
int http_serve(struct http *http, int until, struct err *e);
void http_close(struct http *http);
DEFINE_CLEANUP(struct http *, http_close)

#endif
