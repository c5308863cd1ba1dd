/* SPDX-License-Identifier: GPL-2.0-only */
/* See policy.h. Pure. */
#include "policy.h"

#include <stdio.h>
#include <string.h>

#include "text.h"

static void spoil(struct policy_request *request, const char *why)
{
    if (!request->malformed)
        request->why = why;
    request->malformed = true;
}

/* Keeps one of the attributes that matter. */
static void keep_value(struct policy_request *request, bool *seen, const char *value, char *ret_buf,
                       size_t size)
{
    if (*seen)
        spoil(request, "an attribute stands there twice");
    *seen = true;
    if (strlen(value) >= size) {
        spoil(request, "a value is too long");
        return;
    }
    memcpy(ret_buf, value, strlen(value) + 1);
}

static void take_attribute(struct policy_request *request, const char *name, const char *value)
{
    char kind[32] = "";

    if (!strcmp(name, "sasl_username")) {
        keep_value(request, &request->has_login, value, request->login, sizeof(request->login));
    } else if (!strcmp(name, "client_address")) {
        keep_value(request, &request->has_address, value, request->address,
                   sizeof(request->address));
    } else if (!strcmp(name, "request")) {
        keep_value(request, &request->has_request, value, kind, sizeof(kind));
        if (strcmp(kind, "smtpd_access_policy") != 0)
            spoil(request, "it is no smtpd_access_policy request");
    }
}

/* One line, without its end. */
static void take_line(struct policy_parser *parser)
{
    char *equals;

    parser->line[parser->used] = '\0';
    if (memchr(parser->line, '\0', parser->used)) {
        spoil(&parser->request, "a NUL byte");
        return;
    }
    equals = strchr(parser->line, '=');
    if (!equals) {
        spoil(&parser->request, "a line without =");
        return;
    }
    *equals = '\0';
    take_attribute(&parser->request, parser->line, equals + 1);
}

enum policy_event policy_parse(struct policy_parser *parser, const char *bytes, size_t len,
                               size_t *ret_taken)
{
    size_t at;

    for (at = 0; at < len; at++) {
        bool empty = parser->used == 0;

        if (bytes[at] != '\n') {
            if (parser->used == POLICY_LINE_MAX)
                break;
            parser->line[parser->used++] = bytes[at];
            continue;
        }
        if (!empty) {
            if (++parser->attributes > POLICY_ATTRIBUTES_MAX)
                break;
            take_line(parser);
            parser->used = 0;
            continue;
        }
        if (!parser->request.has_request)
            spoil(&parser->request, "no request attribute");
        *ret_taken = at + 1;
        return POLICY_REQUEST;
    }
    *ret_taken = at;
    return at < len ? POLICY_ABUSE : POLICY_MORE;
}

void policy_next(struct policy_parser *parser)
{
    parser->used = 0;
    parser->attributes = 0;
    parser->request = (struct policy_request){0};
}

bool policy_is_amid(const struct policy_parser *parser)
{
    return parser->used || parser->attributes;
}

size_t policy_answer(const char *action, const char *text, char answer[POLICY_ANSWER_MAX])
{
    char shown[POLICY_ANSWER_MAX - 64];

    text_escape_ascii(text, shown, sizeof(shown));
    return (size_t)snprintf(answer, POLICY_ANSWER_MAX, "action=%.32s%s%s\n\n", action,
                            *shown ? " " : "", shown);
}
