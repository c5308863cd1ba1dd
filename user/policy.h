/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Postfix's policy delegation protocol (http://www.postfix.org/SMTPD_POLICY_README.html): takes the
 * bytes of a connection apart into requests, and writes answers. Pure: values in, values out;
 * bounded in memory whatever comes. Knows nothing of lists, sockets or the store.
 *
 * A request is lines "name=value" and an empty line. Of its attributes only three matter here. What
 * cannot be one request with one meaning (an attribute twice, a NUL, no "request", ...) is
 * malformed, and is answered like trouble with the store: never by guessing.
 */
#ifndef SMTPGATE_POLICY_H
#define SMTPGATE_POLICY_H

#include <stdbool.h>
#include <stddef.h>

/* Of one line and one request. Postfix's longest values (certificate names) are about 2 KiB. */
#define POLICY_LINE_MAX       4096
#define POLICY_ATTRIBUTES_MAX 200

/* Values that are kept; with a longer one the request is malformed. */
#define POLICY_LOGIN_MAX   1023
#define POLICY_ADDRESS_MAX 63

struct policy_request {
    bool malformed;
    const char *why; /* malformed: for the log */
    bool has_request, has_login, has_address;
    char login[POLICY_LOGIN_MAX + 1];     /* sasl_username; "" not logged in */
    char address[POLICY_ADDRESS_MAX + 1]; /* client_address; "" not given */
};

/* Zero-initialise. */
struct policy_parser {
    char line[POLICY_LINE_MAX + 1];
    size_t used;
    unsigned int attributes;
    struct policy_request request;
};

enum policy_event {
    POLICY_MORE,    /* all bytes taken; a request is not complete */
    POLICY_REQUEST, /* parser->request is complete; policy_next() before going on */
    POLICY_ABUSE,   /* line or request without end: close the connection */
};

/* Takes bytes until one of the events, @ret_taken of the @len there are. */
enum policy_event policy_parse(struct policy_parser *parser, const char *bytes, size_t len,
                               size_t *ret_taken);

/* Forgets the request. */
void policy_next(struct policy_parser *parser);

/* A request has begun that is not complete. */
bool policy_is_amid(const struct policy_parser *parser);

/* Room for every answer below, with the NUL. */
#define POLICY_ANSWER_MAX 512

/*
 * "action=ACTION[ TEXT]" and the empty line. @action is of the program; @text is escaped to ASCII
 * on one line, as an SMTP reply must be. Returns the length.
 */
size_t policy_answer(const char *action, const char *text, char answer[POLICY_ANSWER_MAX]);

#endif
