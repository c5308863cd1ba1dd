/* SPDX-License-Identifier: GPL-2.0-only */
/* See cut.h. */
#include "cut.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "util.h"

/* ---- the split ---- */

struct ref {
    const struct session *session;
};

/* By address, then port: what belongs together lies together. */
static int compare_refs(const void *a, const void *b)
{
    const struct session *one = ((const struct ref *)a)->session;
    const struct session *two = ((const struct ref *)b)->session;
    int order = addr_cmp(&one->remote, &two->remote);

    return order ? order : (int)one->local_port - (int)two->local_port;
}

static int compare_sources(const void *a, const void *b)
{
    const struct cut_source *one = a, *two = b;

    if (one->fate != two->fate)
        return one->fate < two->fate ? -1 : 1;
    if (one->sessions != two->sessions)
        return one->sessions > two->sessions ? -1 : 1;
    return addr_cmp(&one->address, &two->address);
}

static int ask(const struct cut_rule *rule, const struct addr *address, uint16_t port, bool *ret_in,
               struct err *e)
{
    int r = rule->lets_in(rule->context, address, port, e);

    if (r < 0)
        return r;
    *ret_in = r > 0;
    return 0;
}

static int judge(const struct cut_rule *before, const struct cut_rule *after,
                 const struct addr *address, uint16_t port, enum cut_fate *ret_fate, struct err *e)
{
    static const enum cut_fate fates[2][2] = {{CUT_HANGING, CUT_ADMITTED}, {CUT_CUT, CUT_KEPT}};
    bool was_in, is_in;
    int r = ask(before, address, port, &was_in, e);

    if (r == 0)
        r = ask(after, address, port, &is_in, e);
    if (r == 0)
        *ret_fate = fates[was_in][is_in];
    return r;
}

/* Those of its address are at the end, one for each fate at most. */
static struct cut_source *find_source(struct cut *cut, const struct addr *address,
                                      enum cut_fate fate)
{
    struct cut_source *source;
    size_t i = cut->count;

    while (i > 0 && !addr_cmp(&cut->sources[i - 1].address, address))
        if (cut->sources[--i].fate == fate)
            return &cut->sources[i];
    source = &cut->sources[cut->count++];
    *source = (struct cut_source){.address = *address, .fate = fate};
    cut->n_sources[fate]++;
    return source;
}

static void add_sessions(struct cut *cut, const struct session *first, size_t count,
                         enum cut_fate fate)
{
    struct cut_source *source = find_source(cut, &first->remote, fate);

    source->sessions += count;
    cut->n_sessions[fate] += count;
    if (source->n_ports < SESSION_PORTS_MAX)
        source->ports[source->n_ports++] = first->local_port;
}

/* In the order of compare_refs(). */
static int add_all(struct cut *cut, const struct ref *sorted, size_t count,
                   const struct cut_rule *before, const struct cut_rule *after, struct err *e)
{
    size_t i, next;

    for (i = 0; i < count; i = next) {
        const struct session *first = sorted[i].session;
        enum cut_fate fate;
        int r = judge(before, after, &first->remote, first->local_port, &fate, e);

        if (r < 0)
            return r;
        for (next = i + 1; next < count && !compare_refs(&sorted[i], &sorted[next]); next++)
            ;
        add_sessions(cut, first, next - i, fate);
    }
    return 0;
}

int cut_split(const struct session *sessions, size_t count, const struct cut_rule *before,
              const struct cut_rule *after, struct cut *ret_cut, struct err *e)
{
    _cleanup_free_ struct ref *sorted = calloc(count + 1, sizeof(*sorted));
    _cleanup_cut_ struct cut cut = {.sources = calloc(count + 1, sizeof(struct cut_source))};
    size_t i, n = 0;
    int r;

    if (!sorted || !cut.sources)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
    for (i = 0; i < count; i++)
        if (session_is_proven(&sessions[i]))
            sorted[n++].session = &sessions[i];
    qsort(sorted, n, sizeof(*sorted), compare_refs);
    r = add_all(&cut, sorted, n, before, after, e);
    if (r < 0)
        return r;
    qsort(cut.sources, cut.count, sizeof(*cut.sources), compare_sources);
    *ret_cut = cut;
    cut = (struct cut){0};
    return 0;
}

void cut_free(struct cut *cut)
{
    free(cut->sources);
    memset(cut, 0, sizeof(*cut));
}

/* ---- what is shown ---- */

struct text {
    char *buf;
    size_t size;
    size_t used;
};

static void put(struct text *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What does not fit is left out; the sizes of cut.h hold the longest there can be. */
static void put(struct text *text, const char *fmt, ...)
{
    size_t room = text->size - text->used;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(text->buf + text->used, room, fmt, ap);
    va_end(ap);
    if (n > 0)
        text->used += (size_t)n < room ? (size_t)n : room - 1;
}

static void put_ports(struct text *text, const uint16_t *ports, unsigned int n_ports)
{
    for (unsigned int i = 0; i < n_ports; i++)
        put(text, "%s%u", i ? ", " : "", ports[i]);
}

static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

/* The first of a fate; they lie one behind the other. */
static const struct cut_source *first_of(const struct cut *cut, enum cut_fate fate)
{
    size_t at = 0;

    for (int i = 0; i < (int)fate; i++)
        at += cut->n_sources[i];
    return &cut->sources[at];
}

static int width_of(size_t number)
{
    return snprintf(NULL, 0, "%zu", number);
}

static void put_source(struct text *text, const struct cut_source *source, int address_width,
                       int number_width)
{
    char address[ADDR_TEXT_MAX];

    put(text, "  %-*s  %*zu session%s (", address_width, addr_print(&source->address, address),
        number_width, source->sessions, plural(source->sessions));
    put_ports(text, source->ports, source->n_ports);
    put(text, ")\n");
}

const char *cut_print(const struct cut *cut, enum cut_fate fate, char buf[CUT_TEXT_MAX])
{
    const struct cut_source *sources = first_of(cut, fate);
    size_t i, n = cut->n_sources[fate], left = cut->n_sessions[fate];
    struct text text = {.buf = buf, .size = CUT_TEXT_MAX};
    char address[ADDR_TEXT_MAX];
    int width = 0;

    buf[0] = '\0';
    if (!n)
        return buf;
    if (n > CUT_LINES_MAX)
        n = CUT_LINES_MAX;
    for (i = 0; i < n; i++) {
        int len = (int)strlen(addr_print(&sources[i].address, address));

        width = len > width ? len : width;
    }
    for (i = 0; i < n; i++) {
        put_source(&text, &sources[i], width, width_of(sources[0].sessions));
        left -= sources[i].sessions;
    }
    n = cut->n_sources[fate] - n;
    if (n)
        put(&text, "  and %zu more source%s with %zu session%s\n", n, plural(n), left,
            plural(left));
    return buf;
}

static json_t *ports_json(const struct cut_source *source)
{
    json_t *ports = json_array();

    for (unsigned int i = 0; ports && i < source->n_ports; i++)
        json_array_append_new(ports, json_integer(source->ports[i]));
    return ports;
}

json_t *cut_json(const struct cut *cut, enum cut_fate fate)
{
    const struct cut_source *sources = first_of(cut, fate);
    json_t *all = json_array();

    for (size_t i = 0; all && i < cut->n_sources[fate]; i++) {
        char address[ADDR_TEXT_MAX];
        json_t *one = json_pack("{s:s, s:I, s:o}", "address",
                                addr_print(&sources[i].address, address), "sessions",
                                (json_int_t)sources[i].sessions, "ports", ports_json(&sources[i]));

        if (json_array_append_new(all, one) < 0) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

/* ---- whoever runs the command ---- */

int cut_judge_self(const struct actor *actor, const uint16_t *ports, size_t n_ports,
                   const struct cut_rule *before, const struct cut_rule *after,
                   struct cut_self *ret_self, struct err *e)
{
    struct cut_self self = {0};
    size_t i;

    for (i = 0; actor->has_ssh_client && i < n_ports && i < SESSION_PORTS_MAX; i++) {
        enum cut_fate fate;
        int r = judge(before, after, &actor->ssh_client, ports[i], &fate, e);

        if (r < 0)
            return r;
        if (fate != CUT_CUT)
            continue;
        self.ports[self.n_ports++] = ports[i];
        self.shell |= ports[i] == actor->ssh_port;
    }
    *ret_self = self;
    return 0;
}

const char *cut_print_self(const struct actor *actor, const struct cut_self *self,
                           char buf[CUT_SELF_MAX])
{
    struct text text = {.buf = buf, .size = CUT_SELF_MAX};
    char address[ADDR_TEXT_MAX];

    buf[0] = '\0';
    if (!self->n_ports)
        return buf;
    put(&text, "your own address %s loses port%s ", addr_print(&actor->ssh_client, address),
        plural(self->n_ports));
    put_ports(&text, self->ports, self->n_ports);
    if (self->shell)
        put(&text, ": this SSH session, on port %u, ends with it", actor->ssh_port);
    return buf;
}
