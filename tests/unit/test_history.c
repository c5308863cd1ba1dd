// LINK: store account addr who_why prefix delta text trust err
// LIBS: -lsqlite3
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The store's history, against states that were written down when they were there: all that a
 * connection of the test's own sees, before each change. Whatever way back is taken, it must lead
 * to one of them, byte for byte, and the rows of the history must be those that the test wrote for
 * itself. Rows that nobody writes must end in an error.
 */
#include <errno.h>

#include "store_oracle.h"

/* ---- what a state looks like ---- */

static const char *const state_sql[] = {
    "SELECT id, account, family, hex(first), hex(last), kind, remark, created, expires FROM entry"
    " ORDER BY id",
    "SELECT account, family, hex(addr), len, entry FROM prefix ORDER BY 1, 2, 3, 4, 5",
    "SELECT port FROM port WHERE guarded ORDER BY port",
    "SELECT list_limit, others, realm, is_on, mode, mode_then, mode_until FROM setting",
};

static void print_rows(sqlite3 *db, const char *sql, FILE *out)
{
    sqlite3_stmt *stmt;

    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    while (sqlite3_step(stmt) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(stmt); i++)
            fprintf(out, "%s|", sqlite3_column_text(stmt, i));
        fputc('\n', out);
    }
    sqlite3_finalize(stmt);
    fputs("--\n", out);
}

/* What is committed; to be freed. */
static char *read_state(const struct place *place)
{
    sqlite3 *db = open_sql(place);
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    for (size_t i = 0; i < ARRAY_SIZE(state_sql); i++)
        print_rows(db, state_sql[i], out);
    fclose(out);
    sqlite3_close(db);
    return text;
}

static void check_state(const struct place *place, const char *expected)
{
    char *text = read_state(place);

    assert_string_equal(text, expected);
    free(text);
}

/* ---- what a test writes down ---- */

/* Without what the history has nothing to do with. */
struct settings {
    bool on;
    struct mode_plan plan;
    uint32_t limit;
    enum store_others others;
    char realm[32];
    uint16_t ports[SG_PORTS_MAX]; /* guarded, ascending */
    unsigned int n_ports;
};

/* After the change of the same index; at 0 before the first. */
struct moment {
    struct list list;
    struct settings settings;
    char *state;
};

struct row {
    int64_t at, target; /* @target: of an undo, the oldest that it takes back */
    uint32_t uid;
    const char *who, *origin, *command;
    enum store_change_kind kind;
    unsigned int added, deleted, edited;
};

#define CHANGES_MAX 400

struct past {
    struct moment moments[CHANGES_MAX + 1];
    struct row rows[CHANGES_MAX + 1];
    /* undone[i][j]: what the history says of change j after change i */
    int64_t undone[CHANGES_MAX + 1][CHANGES_MAX + 1];
    int64_t newest;
    int64_t clock;
    struct list list; /* as it is */
    struct settings settings;
};

static void reset_past(struct past *past)
{
    for (size_t i = 0; i <= CHANGES_MAX; i++)
        free(past->moments[i].state);
    memset(past, 0, sizeof(*past));
    past->settings = (struct settings){.limit = 10, .ports = {25, 465, 587}, .n_ports = 3};
}

/*
 * A change is in force until an undo goes back to before it. That undo leaves all as it was before
 * its target: also which of the older changes were in force then.
 */
static void note_row(const struct place *place, struct past *past, const struct row *row)
{
    int64_t id = ++past->newest;

    assert_true(id <= CHANGES_MAX);
    past->rows[id] = *row;
    for (int64_t i = 1; i < id; i++) {
        bool taken = row->kind == STORE_CHANGE_UNDO && i >= row->target;
        int64_t back = row->kind == STORE_CHANGE_UNDO ? row->target - 1 : id - 1;

        past->undone[id][i] = !taken                                     ? past->undone[back][i]
                              : past->rows[i].kind == STORE_CHANGE_OTHER ? 0
                                                                         : id;
    }
    past->moments[id] = (struct moment){past->list, past->settings, read_state(place)};
}

/* ---- asking the store the same ---- */

struct walk {
    const struct past *past;
    int64_t next;
};

static int compare_change(const struct store_change *change, void *arg)
{
    struct walk *walk = arg;
    const struct row *row = &walk->past->rows[walk->next];

    assert_true(walk->next > 0);
    assert_int_equal(change->id, walk->next);
    assert_int_equal(change->at, row->at);
    assert_int_equal(change->uid, row->uid);
    assert_string_equal(change->who, row->who);
    assert_string_equal(change->origin, row->origin);
    assert_string_equal(change->command, row->command);
    assert_int_equal(change->kind, row->kind);
    assert_int_equal(change->undone, walk->past->undone[walk->past->newest][walk->next]);
    assert_int_equal(change->added, row->added);
    assert_int_equal(change->deleted, row->deleted);
    assert_int_equal(change->edited, row->edited);
    walk->next--;
    return 0;
}

static void check_history(struct store *store, const struct past *past)
{
    struct walk walk = {past, past->newest};
    unsigned int limit = (unsigned int)(rand() % 5);

    assert_int_equal(store_each_change(store, limit, compare_change, &walk, NULL), 0);
    if (limit && limit < past->newest)
        assert_int_equal(walk.next, past->newest - limit);
    else
        assert_int_equal(walk.next, 0);
}

static void check_settings(struct store *store, const struct settings *expected, int64_t clock)
{
    struct store_settings settings;
    unsigned int guarded = 0;

    assert_int_equal(store_read_settings(store, &settings, NULL), 0);
    assert_int_equal(settings.on, expected->on);
    assert_int_equal(settings.plan.mode, expected->plan.mode);
    assert_int_equal(settings.plan.until, expected->plan.until);
    if (expected->plan.until)
        assert_int_equal(settings.plan.then, expected->plan.then);
    assert_int_equal(settings.limit, expected->limit);
    assert_int_equal(settings.others, expected->others);
    assert_string_equal(settings.realm, expected->realm);
    for (unsigned int i = 0; i < settings.n_ports; i++) {
        if (!settings.ports[i].guarded)
            continue;
        assert_true(guarded < expected->n_ports);
        assert_int_equal(settings.ports[i].port, expected->ports[guarded++]);
    }
    assert_int_equal(guarded, expected->n_ports);
    assert_int_equal(settings.clock, clock);
}

/* Nothing is kept of what cannot be taken back any more, and the rest is counted. */
static void check_images(const struct place *place)
{
    assert_int_equal(number(place, "SELECT count(*) FROM image WHERE change <= (SELECT max(id)"
                                   " FROM change) - 100"),
                     0);
    assert_int_equal(number(place, "SELECT count(*) FROM change c WHERE images <> (SELECT count(*)"
                                   " FROM image WHERE change = c.id)"
                                   " AND id > (SELECT max(id) FROM change) - 100"),
                     0);
}

static void check_all(const struct place *place, struct store *store, const struct past *past)
{
    static struct blocks blocks;

    check_entries(store, &past->list);
    unite(&past->list, &blocks);
    check_prefixes(store, &blocks);
    check_counts(store, &past->list, &blocks);
    check_lengths(place);
    check_settings(store, &past->settings, past->clock);
    check_history(store, past);
    check_images(place);
    if (past->newest % 8 == 0)
        assert_int_equal(store_verify(store, NULL), 0);
}

/* ---- random changes ---- */

static struct row random_row(void)
{
    static char longest[256];
    static const char *const commands[] = {"add 192.0.2.1 --remark 'w\xc3\xa4hrend'", "apply -", "",
                                           longest};
    static const char *const names[] = {"root", "alice", "j\xc3\xb6rg"};

    memset(longest, 'x', 255);
    return (struct row){.at = 1000000 + rand() % 1000,
                        .uid = rand() % 2 ? (uint32_t)rand() : UINT32_MAX,
                        .who = names[(size_t)rand() % ARRAY_SIZE(names)],
                        .origin = rand() % 2 ? "192.0.2.9" : "",
                        .command = commands[(size_t)rand() % ARRAY_SIZE(commands)]};
}

static void begin(struct store *store, const struct row *row)
{
    const struct store_author author = {row->uid, row->who, row->origin, row->command};

    assert_int_equal(store_begin(store, NULL), 0);
    store_set_author(store, &author, row->at);
}

static int port_cmp(const void *a, const void *b)
{
    return *(const uint16_t *)a - *(const uint16_t *)b;
}

static void set_random_ports(struct store *store, struct settings *settings)
{
    unsigned int i, first = (unsigned int)(rand() % 20);

    settings->n_ports = 1 + (unsigned int)(rand() % SG_PORTS_MAX);
    /* Each port keeps its place for life, so they come from a few. */
    for (i = 0; i < settings->n_ports; i++)
        settings->ports[i] = (uint16_t)((first + i * 7) % 20 ? 2500 + (first + i * 7) % 20 : 65535);
    assert_int_equal(store_set_ports(store, settings->ports, settings->n_ports, NULL), 0);
    qsort(settings->ports, settings->n_ports, sizeof(settings->ports[0]), port_cmp);
}

static void set_random_plan(struct store *store, struct settings *settings)
{
    static const enum sg_mode modes[] = {SG_MODE_ENFORCE, SG_MODE_OBSERVE, SG_MODE_PAUSED};
    struct mode_plan plan = {.mode = modes[rand() % 3], .then = modes[rand() % 2]};

    if (plan.mode == SG_MODE_PAUSED || rand() % 2)
        plan.until = 1999 + rand() % 3; /* so that some differ in one word only */
    settings->plan = plan;
    assert_int_equal(store_set_plan(store, &plan, NULL), 0);
}

static void set_random(struct store *store, struct settings *settings)
{
    static const char *const realms[] = {"", "mail.example", "b\xc3\xbc.example"};

    switch (rand() % 6) {
    case 0:
        settings->on = rand() % 2;
        assert_int_equal(store_set_on(store, settings->on, NULL), 0);
        break;
    case 1:
        set_random_plan(store, settings);
        break;
    case 2:
        settings->limit = rand() % 2 ? (uint32_t)rand() % 100 : UINT32_MAX;
        assert_int_equal(store_set_limit(store, settings->limit, NULL), 0);
        break;
    case 3:
        settings->others = rand() % 2 ? STORE_OTHERS_ANYWHERE : STORE_OTHERS_NOWHERE;
        assert_int_equal(store_set_others(store, settings->others, NULL), 0);
        break;
    case 4:
        snprintf(settings->realm, sizeof(settings->realm), "%s", realms[rand() % 3]);
        assert_int_equal(store_set_realm(store, settings->realm, NULL), 0);
        break;
    default:
        set_random_ports(store, settings);
        break;
    }
}

/* A new one, or another wish for one that is there. */
static void put_random_iface(struct store *store)
{
    struct store_iface iface = {.id = (uint32_t)rand() % 3, .name = "eth0", .wanted = true};
    uint32_t id;

    /* One as it is already would be no change. */
    snprintf(iface.name, sizeof(iface.name), "eth%d", rand());
    assert_int_equal(store_put_iface(store, &iface, &id, NULL), 0);
}

/* Of a transaction: the numbers of the entries that are not as they were before it. */
struct touched {
    int64_t ids[2 * ITEMS_MAX];
    size_t count;
};

static bool touch(struct touched *touched, int64_t id)
{
    for (size_t i = 0; i < touched->count; i++)
        if (touched->ids[i] == id)
            return false;
    assert_true(touched->count < ARRAY_SIZE(touched->ids));
    touched->ids[touched->count++] = id;
    return true;
}

/* False when that changed nothing. */
static bool change_entries(struct store *store, struct past *past, struct touched *touched,
                           struct row *row)
{
    struct list *list = &past->list;
    int64_t id;

    if (rand() % 3 == 0) {
        id = edit_random(store, list);
        /* What is new is not also edited. */
        row->edited += id && touch(touched, id);
        return id != 0;
    }
    if (rand() % 40 >= (int)list->count) {
        if (!add_random(store, list, past->settings.realm))
            return false;
        touch(touched, list->items[list->count - 1].id);
        row->added++;
        return true;
    }
    id = delete_random(store, list);
    if (id)
        touch(touched, id);
    row->deleted += id != 0;
    return id != 0;
}

/* One command's worth; @row says what it was. False when nothing was changed. */
static bool change_some(struct store *store, struct past *past, struct row *row)
{
    struct touched touched = {.count = 0};
    bool changed = false, other = false;

    for (int i = rand() % 6; i >= 0; i--) {
        switch (rand() % 10) {
        case 0:
            put_random_iface(store);
            other = true;
            break;
        case 1:
        case 2:
            set_random(store, &past->settings);
            changed = true;
            break;
        default:
            changed |= change_entries(store, past, &touched, row);
            break;
        }
    }
    row->kind = changed ? STORE_CHANGE_LIST : STORE_CHANGE_OTHER;
    return changed || other;
}

/* ---- the way back ---- */

/* What it takes to get from one list to the one before. */
static void count_way(const struct list *from, const struct list *to, struct touched *touched,
                      struct row *row)
{
    for (size_t i = 0; i < from->count; i++) {
        const struct item *item = &from->items[i], *then = find_id(to, item->id);

        if (!then) {
            row->deleted++;
            touch(touched, item->id);
        } else if (item->expires != then->expires || strcmp(item->remark, then->remark) != 0) {
            row->edited += touch(touched, item->id);
        }
    }
    for (size_t i = 0; i < to->count; i++) {
        if (find_id(from, to->items[i].id))
            continue;
        row->added++;
        touch(touched, to->items[i].id);
    }
}

/* What undoing the last @count changes must find. */
static int find_last(const struct past *past, unsigned int count, int64_t *ret_id,
                     unsigned int *ret_found)
{
    unsigned int found = 0;
    int64_t id = 0;

    for (int64_t i = past->newest; i > 0 && found < count; i--) {
        if (past->rows[i].kind != STORE_CHANGE_LIST || past->undone[past->newest][i])
            continue;
        id = i;
        found++;
    }
    *ret_id = id;
    *ret_found = found;
    return found == count ? 0 : -ENOENT;
}

/* By count or by number: where to. */
static int64_t choose_target(struct store *store, const struct past *past)
{
    unsigned int count = 1 + (unsigned int)rand() % (rand() % 8 ? 4 : 150), found, found_too = 77;
    int64_t id, id_too = 77;
    int r;

    if (rand() % 2)
        return past->newest - rand() % (rand() % 8 ? 12 : 120) + (rand() % 20 == 0);
    r = find_last(past, count, &id, &found);
    assert_int_equal(store_find_undo(store, count, &id_too, &found_too, NULL), r);
    assert_int_equal(id_too, id);
    assert_int_equal(found_too, found);
    return id;
}

/* False when it cannot be. */
static bool undo_some(struct store *store, struct past *past, struct row *row)
{
    int64_t id = choose_target(store, past);
    bool there = id >= 1 && id <= past->newest && id > past->newest - STORE_KEPT_CHANGES;
    struct touched touched = {.count = 0};

    assert_int_equal(store_undo_to(store, id, NULL), there ? 0 : -ENOENT);
    if (!there)
        return false;
    count_way(&past->list, &past->moments[id - 1].list, &touched, row);
    past->list = past->moments[id - 1].list;
    past->settings = past->moments[id - 1].settings;
    row->kind = STORE_CHANGE_UNDO;
    row->target = id;
    if (rand() % 6 == 0) { /* as a command does that finds the lists to be for no gate */
        past->settings.on = !past->settings.on;
        assert_int_equal(store_set_on(store, past->settings.on, NULL), 0);
    }
    return true;
}

/* ---- both, many times ---- */

static void check_touched(const struct store *store, const struct row *row)
{
    unsigned int added, deleted, edited;

    store_read_touched(store, &added, &deleted, &edited);
    assert_int_equal(added, row->added);
    assert_int_equal(deleted, row->deleted);
    assert_int_equal(edited, row->edited);
}

static void do_step(const struct place *place, struct store *store, struct past *past)
{
    static struct list list_before;
    static struct blocks old, new;
    struct settings settings_before = past->settings;
    struct row row = random_row();
    bool changed;

    list_before = past->list;
    unite(&past->list, &old);
    begin(store, &row);
    changed = rand() % 3 ? change_some(store, past, &row) : undo_some(store, past, &row);
    unite(&past->list, &new);
    check_delta(store, &old, &new);
    check_touched(store, &row);
    if (rand() % 6 == 0) {
        store_rollback(store);
        past->list = list_before;
        past->settings = settings_before;
        check_state(place, past->moments[past->newest].state);
        return;
    }
    assert_int_equal(store_commit(store, NULL), 0);
    if (!changed) {
        check_state(place, past->moments[past->newest].state);
        return;
    }
    past->clock = row.at > past->clock ? row.at : past->clock;
    note_row(place, past, &row);
    if (row.kind == STORE_CHANGE_UNDO &&
        past->settings.on == past->moments[row.target - 1].settings.on)
        assert_string_equal(past->moments[past->newest].state, past->moments[row.target - 1].state);
}

static void test_random(void **state)
{
    const struct place *place = *state;
    static struct past past;

    for (unsigned int seed = 1; seed <= 4; seed++) {
        struct store *store;

        print_message("seed %u\n", seed);
        srand(seed);
        reset_past(&past);
        assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
        past.moments[0].settings = past.settings;
        past.moments[0].state = read_state(place);
        for (int i = 0; i < 200; i++) {
            do_step(place, store, &past);
            check_all(place, store, &past);
            if (rand() % 20)
                continue;
            store_close(store);
            assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
        }
        store_close(store);
        clear(place);
    }
    reset_past(&past);
}

/* ---- by hand ---- */

static const struct row hand = {.at = 5000, .who = "root", .origin = "", .command = "test"};

static struct store_entry add_hand(struct store *store, const char *text)
{
    struct store_entry entry = {.created = 1};
    struct account host = {0};

    assert_int_equal(who_parse(text, &entry.who, NULL), 0);
    assert_int_equal(store_add_entry(store, &entry, &host, &entry.id, NULL), 0);
    return entry;
}

/* A command that adds or deletes one WHO, or with @what NULL takes back to change @id. */
static void do_hand(struct store *store, const char *what, int64_t id)
{
    struct account host = {0};
    struct store_entry entry;
    struct who who;

    begin(store, &hand);
    if (!what) {
        assert_int_equal(store_undo_to(store, id, NULL), 0);
    } else if (*what == '+') {
        add_hand(store, what + 1);
    } else {
        assert_int_equal(who_parse(what + 1, &who, NULL), 0);
        assert_int_equal(store_find_who(store, &who, &host, &entry, NULL), 0);
        assert_int_equal(store_delete_entry(store, &entry, NULL), 0);
    }
    assert_int_equal(store_commit(store, NULL), 0);
}

/*
 * The same WHO under a second number: to go back to the first means that the second is gone before
 * the first is there again, whichever way round.
 */
static void test_same_again(void **state)
{
    const struct place *place = *state;
    struct store *store;
    char *first, *second;

    assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
    do_hand(store, "+192.0.2.1", 0);
    first = read_state(place);
    do_hand(store, "-192.0.2.1", 0);
    do_hand(store, "+192.0.2.1", 0);
    second = read_state(place);
    do_hand(store, NULL, 2);
    check_state(place, first);
    for (int64_t id = 4; id < 10; id++) {
        do_hand(store, NULL, id);
        check_state(place, id % 2 ? first : second);
    }
    free(first);
    free(second);
    store_close(store);
}

static int note_undone(const struct store_change *change, void *arg)
{
    char *text = arg;

    snprintf(text + strlen(text), 100 - strlen(text), "%lld ", (long long)change->undone);
    return 0;
}

/* Which are in force when what took back is taken back, newest first; and which is the last. */
static void test_taken_back(void **state)
{
    static const struct {
        int64_t target; /* 0: a new entry */
        const char *undone;
        int64_t last;
    } steps[] = {
        {0, "0 ", 1},
        {0, "0 0 ", 2},
        {2, "0 3 0 ", 1},           /* 3 takes 2 back */
        {3, "0 4 0 0 ", 2},         /* 4 takes 3 back: 2 is in force */
        {4, "0 5 0 3 0 ", 1},       /* 5 takes 4 back: so 3 is, and 2 is not */
        {1, "0 6 6 6 6 6 ", 0},     /* all of them */
        {6, "0 7 0 5 0 3 0 ", 1},   /* as after 5 */
        {0, "0 0 7 0 5 0 3 0 ", 8}, /* and on from there */
        {1, "0 9 9 9 9 9 9 9 9 ", 0},
        {9, "0 10 0 0 7 0 5 0 3 0 ", 8},
        {8, "0 11 11 11 0 7 0 5 0 3 0 ", 1},
    };
    const struct place *place = *state;
    struct store *store;
    char what[32];

    assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        char undone[100] = "";
        unsigned int found;
        int64_t id;

        snprintf(what, sizeof(what), "+192.0.2.%zu", i);
        do_hand(store, steps[i].target ? NULL : what, steps[i].target);
        assert_int_equal(store_each_change(store, 0, note_undone, undone, NULL), 0);
        assert_string_equal(undone, steps[i].undone);
        assert_int_equal(store_find_undo(store, 1, &id, &found, NULL), steps[i].last ? 0 : -ENOENT);
        assert_int_equal(id, steps[i].last);
        assert_int_equal(found, steps[i].last != 0);
    }
    store_close(store);
}

static int count_change(const struct store_change *change, void *arg)
{
    (void)change;
    (*(int *)arg)++;
    return 0;
}

static int count_changes(struct store *store)
{
    int count = 0;

    assert_int_equal(store_each_change(store, 0, count_change, &count, NULL), 0);
    return count;
}

/* Where nothing was changed, or by nobody, or where it was taken back, nothing is written down. */
static void test_nothing(void **state)
{
    static const uint16_t ports[] = {2525};
    const struct place *place = *state;
    struct store_iface iface = {.name = "eth0", .wanted = true};
    const struct mode_plan plan = {.mode = SG_MODE_OBSERVE};
    unsigned int added, deleted, edited;
    struct store_entry entry;
    struct account host = {0};
    struct store *store;

    assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
    /* By nobody. */
    assert_int_equal(store_begin(store, NULL), 0);
    entry = add_hand(store, "192.0.2.1");
    assert_int_equal(store_set_plan(store, &plan, NULL), 0);
    assert_int_equal(store_put_iface(store, &iface, &iface.id, NULL), 0);
    assert_int_equal(store_commit(store, NULL), 0);
    assert_int_equal(count_changes(store), 0);
    /* Nothing. */
    begin(store, &hand);
    assert_int_equal(store_commit(store, NULL), 0);
    /* What is there already, and what is no change of the list. */
    begin(store, &hand);
    assert_int_equal(store_add_entry(store, &entry, &host, &entry.id, NULL), -EEXIST);
    assert_int_equal(store_put_iface(store, &iface, &iface.id, NULL), 0);
    assert_int_equal(store_bump_revision(store, NULL), 0);
    assert_int_equal(store_set_clock(store, 6000, NULL), 0);
    assert_int_equal(store_commit(store, NULL), 0);
    /* What is not there. */
    begin(store, &hand);
    assert_int_equal(store_undo_to(store, 1, NULL), -ENOENT);
    assert_int_equal(store_undo_to(store, 0, NULL), -ENOENT);
    assert_int_equal(store_undo_to(store, -1, NULL), -ENOENT);
    assert_int_equal(store_undo_to(store, INT64_MAX, NULL), -ENOENT);
    assert_int_equal(store_undo_to(store, INT64_MIN, NULL), -ENOENT);
    assert_int_equal(store_commit(store, NULL), 0);
    /* All of it, taken back. */
    begin(store, &hand);
    assert_int_equal(store_set_remark(store, entry.id, "gone", NULL), 0);
    assert_int_equal(store_set_expires(store, &entry, 77, NULL), 0);
    add_hand(store, "192.0.2.2");
    assert_int_equal(store_set_ports(store, ports, 1, NULL), 0);
    store_read_touched(store, &added, &deleted, &edited);
    assert_int_equal(added, 1);
    assert_int_equal(deleted, 0);
    assert_int_equal(edited, 1);
    store_rollback(store);
    assert_int_equal(count_changes(store), 0);
    assert_int_equal(number(place, "SELECT count(*) FROM image"), 0);
    /* The author goes with the transaction. */
    assert_int_equal(store_begin(store, NULL), 0);
    assert_int_equal(store_set_limit(store, 7, NULL), 0);
    assert_int_equal(store_commit(store, NULL), 0);
    assert_int_equal(count_changes(store), 0);
    /* And the first number is 1. */
    do_hand(store, "+192.0.2.3", 0);
    assert_int_equal(count_changes(store), 1);
    assert_int_equal(number(place, "SELECT max(id) FROM change"), 1);
    store_close(store);
}

/* Goes back to before @id if there is a way, and stays there if @stay. */
static int try_undo(struct store *store, int64_t id, bool stay)
{
    int r;

    begin(store, &hand);
    r = store_undo_to(store, id, NULL);
    if (stay && r == 0)
        assert_int_equal(store_commit(store, NULL), 0);
    else
        store_rollback(store);
    return r;
}

/* A hundred are kept: the last is reached, the one before is not, and lies there no more. */
static void test_kept(void **state)
{
    const struct place *place = *state;
    struct store *store;
    unsigned int found;
    char what[32], *before = NULL;
    int64_t id;

    assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
    for (int i = 1; i <= 120; i++) {
        snprintf(what, sizeof(what), "%c192.0.2.%d", i % 2 ? '+' : '-', (i + 1) / 2);
        if (i == 21)
            before = read_state(place);
        do_hand(store, what, 0);
    }
    assert_int_equal(count_changes(store), 120);
    assert_int_equal(number(place, "SELECT count(*) FROM image WHERE change <= 20"), 0);
    assert_int_equal(number(place, "SELECT count(*) FROM image WHERE change > 20"), 50);
    assert_int_equal(store_find_undo(store, 120, &id, &found, NULL), 0);
    assert_int_equal(id, 1);
    assert_int_equal(store_find_undo(store, 121, &id, &found, NULL), -ENOENT);
    assert_int_equal(found, 120);
    assert_int_equal(try_undo(store, 20, true), -ENOENT);
    assert_int_equal(try_undo(store, 1, true), -ENOENT);
    assert_int_equal(count_changes(store), 120);
    assert_int_equal(try_undo(store, 21, true), 0);
    check_state(place, before);
    /* The undo is the 121st, so the 21st is too long ago now; all that is left can be reached. */
    assert_int_equal(try_undo(store, 21, false), -ENOENT);
    assert_int_equal(try_undo(store, 22, false), 0);
    free(before);
    store_close(store);
}

/* As if old changes had touched a great many entries: what is too much goes, oldest first. */
static void test_volume(void **state)
{
    static const struct {
        int64_t touched[5]; /* by changes 1 to 5; 6 touches one */
        int64_t oldest;     /* that can still be taken back */
    } cases[] = {
        {{1, 1, 1, 1, 1}, 1},
        {{1, 1999998, 1, 0, 0}, 2},
        {{0, 1999998, 1, 0, 0}, 1},
        {{0, 1999999, 1, 0, 0}, 3},
        {{0, 0, 1999999, 0, 0}, 1},
        {{0, 0, 1999999, 1, 0}, 4},
        {{0, 0, 0, 0, 2000000}, 6},
        {{0, 0, 0, 0, INT64_C(1) << 40}, 6},
        {{2000000, 2000000, 2000000, 0, 0}, 4},
    };
    const struct place *place = *state;
    char sql[128];

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct store *store;
        sqlite3 *db;

        clear(place);
        assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
        for (int j = 1; j <= 5; j++) {
            snprintf(sql, sizeof(sql), "+192.0.2.%d", j);
            do_hand(store, sql, 0);
        }
        db = open_sql(place);
        for (int j = 1; j <= 5; j++) {
            snprintf(sql, sizeof(sql), "UPDATE change SET images = %lld WHERE id = %d",
                     (long long)cases[i].touched[j - 1], j);
            run(db, sql);
            snprintf(sql, sizeof(sql),
                     "INSERT INTO image (change, entry, absent) VALUES (%d, 9, 1)", j);
            run(db, sql);
        }
        sqlite3_close(db);
        do_hand(store, "-192.0.2.1", 0);
        snprintf(sql, sizeof(sql), "SELECT count(*) FROM image WHERE change < %lld",
                 (long long)cases[i].oldest);
        assert_int_equal(number(place, sql), 0);
        assert_int_equal(number(place, "SELECT count(*) FROM image"), 7 - cases[i].oldest);
        db = open_sql(place);
        run(db, "UPDATE change SET images = 1 WHERE images >= 0");
        sqlite3_close(db);
        for (int64_t id = 1; id <= 6; id++)
            assert_int_equal(try_undo(store, id, false), id < cases[i].oldest ? -ENOENT : 0);
        store_close(store);
    }
}

/* Ten thousand rows stay. Numbers that were never given are no hindrance. */
static void test_rows(void **state)
{
    const struct place *place = *state;
    struct store *store;
    sqlite3 *db;

    assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
    do_hand(store, "+192.0.2.1", 0);
    do_hand(store, "+192.0.2.2", 0);
    db = open_sql(place);
    run(db, "UPDATE sqlite_sequence SET seq = 50 WHERE name = 'change'");
    sqlite3_close(db);
    do_hand(store, "+192.0.2.3", 0);
    assert_int_equal(try_undo(store, 50, true), -ENOENT);
    assert_int_equal(try_undo(store, 2, true), 0);
    assert_int_equal(number(place, "SELECT group_concat(id) = '1' FROM entry"), 1);
    db = open_sql(place);
    run(db, "UPDATE sqlite_sequence SET seq = 10000 WHERE name = 'change'");
    sqlite3_close(db);
    do_hand(store, "+192.0.2.4", 0);
    assert_int_equal(number(place, "SELECT group_concat(id) = '2,51,52,10001' FROM"
                                   " (SELECT id FROM change ORDER BY id)"),
                     1);
    do_hand(store, "+192.0.2.5", 0);
    assert_int_equal(number(place, "SELECT group_concat(id) = '51,52,10001,10002' FROM"
                                   " (SELECT id FROM change ORDER BY id)"),
                     1);
    store_close(store);
}

static int copy_change(const struct store_change *change, void *arg)
{
    *(struct store_change *)arg = *change;
    return 0;
}

/* What does not fit is cut between characters: half of one would count as damage ever after. */
static void test_long_author(void **state)
{
    const struct place *place = *state;
    struct store_change change;
    struct store *store;
    char text[400];

    clear(place);
    assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
    for (size_t shift = 0; shift < 4; shift++) {
        const struct store_author author = {.who = text, .origin = text, .command = text};

        memset(text, 'x', sizeof(text));
        for (size_t at = shift; at + 3 < sizeof(text); at += 3)
            memcpy(text + at, "\xe2\x82\xac", 4); /* the euro sign, three bytes */
        assert_int_equal(store_begin(store, NULL), 0);
        store_set_author(store, &author, 1000);
        assert_int_equal(store_set_limit(store, 20 + (uint32_t)shift, NULL), 0);
        assert_int_equal(store_commit(store, NULL), 0);
        assert_int_equal(store_each_change(store, 1, copy_change, &change, NULL), 0);
        assert_true(strlen(change.command) > 200 && strlen(change.who) > 50);
        assert_memory_equal(change.command, text, 200);
    }
    store_close(store);
    clear(place);
}

/* A walk over several pages: all are met once, and who took back what is known across them. */
struct pages {
    int64_t next, from, by;
};

static int compare_page(const struct store_change *change, void *arg)
{
    struct pages *pages = arg;
    bool taken = change->id >= pages->from && change->id < pages->by;

    assert_int_equal(change->id, pages->next);
    assert_int_equal(change->undone, taken ? pages->by : 0);
    pages->next--;
    return 0;
}

static void test_pages(void **state)
{
    const struct place *place = *state;
    struct pages pages = {.from = 10, .by = 700};
    struct store *store;
    unsigned int found;
    int64_t id;
    sqlite3 *db;

    assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
    do_hand(store, "+192.0.2.1", 0);
    db = open_sql(place);
    run(db, "CREATE TEMP TABLE copy AS SELECT * FROM change;"
            "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 768)"
            " INSERT INTO change SELECT i, at, uid, who, origin, command, iif(i = 700, 1, 0),"
            " iif(i = 700, 10, 0), 0, 0, 0, 0, 0, 0, is_on, mode, mode_then, mode_until,"
            " list_limit, others, realm, ports FROM copy, n");
    sqlite3_close(db);
    for (unsigned int limit = 0; limit <= 800; limit = limit ? limit * 3 : 85) {
        pages.next = 768;
        assert_int_equal(store_each_change(store, limit, compare_page, &pages, NULL), 0);
        assert_int_equal(pages.next, limit && limit < 768 ? 768 - limit : 0);
    }
    assert_int_equal(store_find_undo(store, 69, &id, &found, NULL), 0);
    assert_int_equal(id, 9);
    assert_int_equal(store_find_undo(store, 78, &id, &found, NULL), -ENOENT);
    assert_int_equal(id, 1);
    assert_int_equal(found, 77);
    store_close(store);
}

/* What belongs to no list is no step of the way back, but what came with it in one change is. */
static void test_interface(void **state)
{
    static const struct {
        bool iface, list;
        enum store_change_kind kind;
    } cases[] = {
        {true, false, STORE_CHANGE_OTHER},
        {false, true, STORE_CHANGE_LIST},
        {true, true, STORE_CHANGE_LIST},
    };
    const struct place *place = *state;
    struct store *store;
    char name[IF_NAMESIZE];

    assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
    for (unsigned int i = 0; i < 6; i++) {
        struct store_iface iface = {.wanted = true};
        bool list_first = i >= 3;
        unsigned int found;
        int64_t id;

        snprintf(name, sizeof(name), "eth%u", i);
        memcpy(iface.name, name, sizeof(name));
        begin(store, &hand);
        if (cases[i % 3].list && list_first)
            assert_int_equal(store_set_limit(store, i, NULL), 0);
        if (cases[i % 3].iface)
            assert_int_equal(store_put_iface(store, &iface, &iface.id, NULL), 0);
        if (cases[i % 3].list && !list_first)
            assert_int_equal(store_set_limit(store, i, NULL), 0);
        assert_int_equal(store_commit(store, NULL), 0);
        assert_int_equal(number(place, "SELECT kind FROM change ORDER BY id DESC"),
                         cases[i % 3].kind);
        if (i > 0) {
            assert_int_equal(store_find_undo(store, 1, &id, &found, NULL), 0);
            assert_int_equal(id, cases[i % 3].list ? i + 1 : i);
        }
    }
    /* Interfaces stay, whatever is taken back. */
    assert_int_equal(try_undo(store, 1, true), 0);
    assert_int_equal(number(place, "SELECT count(*) FROM interface"), 4);
    assert_int_equal(number(place, "SELECT list_limit FROM setting"), 10);
    store_close(store);
}

/* ---- rows that nobody writes ---- */

/* Changes: 1 adds #1 and #2, 2 deletes #1, 3 is of an interface, 4 edits #2, 5 takes 4 back. */
static void make_history(const struct place *place)
{
    static const uint16_t ports[] = {25, 465};
    const struct store_iface iface = {.name = "eth0", .wanted = true};
    struct store_entry entry;
    struct store *store;
    uint32_t id;

    clear(place);
    assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
    begin(store, &hand);
    entry = add_hand(store, "192.0.2.0/24");
    add_hand(store, "2001:db8::1-2001:db8::9");
    assert_int_equal(store_commit(store, NULL), 0);
    begin(store, &hand);
    assert_int_equal(store_delete_entry(store, &entry, NULL), 0);
    assert_int_equal(store_commit(store, NULL), 0);
    begin(store, &hand);
    assert_int_equal(store_put_iface(store, &iface, &id, NULL), 0);
    assert_int_equal(store_commit(store, NULL), 0);
    begin(store, &hand);
    assert_int_equal(store_set_remark(store, 2, "old", NULL), 0);
    assert_int_equal(store_set_ports(store, ports, 2, NULL), 0);
    assert_int_equal(store_commit(store, NULL), 0);
    do_hand(store, NULL, 4);
    store_close(store);
}

/* Damage that history meets, and damage that only taking back meets. */
static void test_damaged(void **state)
{
#define TEXT(bytes) "CAST(x'" bytes "' AS TEXT)"
    static const struct {
        bool read;
        const char *sql;
    } cases[] = {
        {true, "UPDATE change SET kind = 3 WHERE id = 2"},
        {true, "UPDATE change SET kind = -1 WHERE id = 2"},
        {true, "UPDATE change SET kind = 4294967296 WHERE id = 2"},
        {true, "UPDATE change SET kind = 1 WHERE id = 2"}, /* and takes back nothing */
        {true, "UPDATE change SET kind = 0 WHERE id = 5"}, /* and takes back something */
        {true, "UPDATE change SET target = 5 WHERE id = 5"},
        {true, "UPDATE change SET target = 6 WHERE id = 5"},
        {true, "UPDATE change SET target = 0 WHERE id = 5"},
        {true, "UPDATE change SET target = -1 WHERE id = 5"},
        {true, "UPDATE change SET target = -9223372036854775807 - 1 WHERE id = 3"},
        {true, "UPDATE change SET id = 0 WHERE id = 1"},
        {true, "UPDATE change SET id = -1 WHERE id = 1"},
        {true, "UPDATE change SET uid = -1 WHERE id = 3"},
        {true, "UPDATE change SET uid = 4294967296 WHERE id = 3"},
        {true, "UPDATE change SET at = -1 WHERE id = 3"},
        {true, "UPDATE change SET added = -1 WHERE id = 3"},
        {true, "UPDATE change SET deleted = -1 WHERE id = 3"},
        {true, "UPDATE change SET edited = -1 WHERE id = 3"},
        {true, "UPDATE change SET who = 'a' || char(27) || '[2J'"},
        {true, "UPDATE change SET who = 'a' || char(0x202e) || 'b'"},
        {true, "UPDATE change SET who = " TEXT("ff41")},
        {true, "UPDATE change SET who = " TEXT("610062")},
        {true, "UPDATE change SET who = hex(zeroblob(32))"}, /* 64 bytes */
        {true, "UPDATE change SET origin = '192.0.2.1' || char(10)"},
        {true, "UPDATE change SET origin = hex(zeroblob(32))"},
        {true, "UPDATE change SET command = 'add' || char(9)"},
        {true, "UPDATE change SET command = " TEXT("c3")},
        {true, "UPDATE change SET command = hex(zeroblob(128))"},
        {false, "UPDATE change SET mode = 1 WHERE id = 2"},
        {false, "UPDATE change SET mode = 4 WHERE id = 2"},
        {false, "UPDATE change SET mode = 3 WHERE id = 2"}, /* paused for ever */
        {false, "UPDATE change SET mode_then = 3 WHERE id = 2"},
        {false, "UPDATE change SET mode_until = -1 WHERE id = 2"},
        {false, "UPDATE change SET is_on = 2 WHERE id = 2"},
        {false, "UPDATE change SET is_on = -1 WHERE id = 2"},
        {false, "UPDATE change SET list_limit = -1 WHERE id = 2"},
        {false, "UPDATE change SET list_limit = 4294967296 WHERE id = 2"},
        {false, "UPDATE change SET others = 2 WHERE id = 2"},
        {false, "UPDATE change SET realm = char(27) WHERE id = 2"},
        {false, "UPDATE change SET realm = hex(zeroblob(128)) WHERE id = 2"},
        {false, "UPDATE change SET ports = '' WHERE id = 2"},
        {false, "UPDATE change SET ports = 'smtp' WHERE id = 2"},
        {false, "UPDATE change SET ports = '0' WHERE id = 2"},
        {false, "UPDATE change SET ports = '65536' WHERE id = 2"},
        {false, "UPDATE change SET ports = '4294967321' WHERE id = 2"},
        {false, "UPDATE change SET ports = '18446744073709551641' WHERE id = 2"},
        {false, "UPDATE change SET ports = '-18446744073709551591' WHERE id = 2"},
        {false, "UPDATE change SET ports = '025' WHERE id = 2"},
        {false, "UPDATE change SET ports = ' 25' WHERE id = 2"},
        {false, "UPDATE change SET ports = '+25' WHERE id = 2"},
        {false, "UPDATE change SET ports = '25,' WHERE id = 2"},
        {false, "UPDATE change SET ports = ',25' WHERE id = 2"},
        {false, "UPDATE change SET ports = '25,,465' WHERE id = 2"},
        {false, "UPDATE change SET ports = '25 465' WHERE id = 2"},
        {false, "UPDATE change SET ports = '25;465' WHERE id = 2"},
        {false, "UPDATE change SET ports = '25, 465' WHERE id = 2"},
        {false, "UPDATE change SET ports = '465,25' WHERE id = 2"},
        {false, "UPDATE change SET ports = '25,25' WHERE id = 2"},
        {false, "UPDATE change SET ports = '1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17'"
                " WHERE id = 2"},
        {false, "UPDATE change SET ports = " TEXT("323500") " WHERE id = 2"},
        {false, "UPDATE change SET first_new = -1 WHERE id = 1"},
        {false, "UPDATE change SET first_new = 0 WHERE id = 1"},
        {false, "UPDATE change SET last_new = 0 WHERE id = 1"},
        {false, "UPDATE change SET first_new = 3 WHERE id = 1"},
        {false, "UPDATE change SET last_new = -1 WHERE id = 2"},
        {false, "UPDATE image SET kind = 3"},
        {false, "UPDATE image SET kind = -1"},
        {false, "UPDATE image SET family = 5"},
        {false, "UPDATE image SET family = 6"},
        {false, "UPDATE image SET family = NULL"},
        {false, "UPDATE image SET first = NULL"},
        {false, "UPDATE image SET last = x'c00002ff00' WHERE change = 2"},
        {false, "UPDATE image SET last = x'c0000100' WHERE change = 2"},
        {false, "UPDATE image SET remark = char(7)"},
        {false, "UPDATE image SET remark = NULL"},
        {false, "UPDATE image SET remark = hex(zeroblob(101))"},
        {false, "UPDATE image SET account = char(10)"},
        {false, "UPDATE image SET account = NULL"},
        {false, "UPDATE image SET account = hex(zeroblob(128))"},
        {false, "UPDATE image SET expires = -1"},
        {false, "UPDATE image SET expires = NULL"},
        {false, "UPDATE image SET created = NULL"},
        {false, "UPDATE image SET absent = 2"},
        {false, "UPDATE image SET absent = -1"},
        {false, "UPDATE image SET entry = 0 WHERE change = 2"},
        {false, "UPDATE image SET entry = -1 WHERE change = 2"},
        /* The same WHO that stands there under another number. */
        {false, "UPDATE image SET (family, first, last, kind) = (SELECT family, first, last, kind"
                " FROM entry WHERE id = 2) WHERE change = 2"},
        /* Another entry under the number of one that is there. */
        {false, "UPDATE image SET last = x'20010db8000000000000000000000008' WHERE change = 4"},
        {false, "UPDATE image SET kind = 1 WHERE change = 4"},
        {false, "UPDATE image SET account = 'alice' WHERE change = 4"},
        {false, "UPDATE image SET created = 2 WHERE change = 4"},
        {false, "DELETE FROM image WHERE change = 2"},
        {false, "DELETE FROM setting"},
        {false, "DROP TABLE image"},
        {true, "DROP TABLE change"},
    };
    const struct place *place = *state;
    int failed = 0;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct err e = {0};
        struct store *store;
        int told = 0, r;
        sqlite3 *db;
        char *before;

        make_history(place);
        db = open_sql(place);
        run(db, cases[i].sql);
        sqlite3_close(db);
        before = read_state(place);
        assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
        r = store_each_change(store, 0, count_change, &told, &e);
        if (!cases[i].read) {
            assert_int_equal(r, 0);
            assert_int_equal(told, 5);
            begin(store, &hand);
            r = store_undo_to(store, 1, &e);
            store_rollback(store);
        }
        if (r != -EUCLEAN || e.code != EXIT_REFUSED || !strstr(e.message, "is damaged")) {
            failed++;
            print_message("%s: %d %s\n", cases[i].sql, r, e.message);
        }
        check_state(place, before);
        free(before);
        store_close(store);
    }
    assert_int_equal(failed, 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_same_again), TEST(test_taken_back),  TEST(test_nothing), TEST(test_kept),
        TEST(test_volume),     TEST(test_rows),        TEST(test_pages),   TEST(test_interface),
        TEST(test_volume),     TEST(test_long_author), TEST(test_pages),   TEST(test_interface),
        TEST(test_damaged),    TEST(test_random),
    };

    return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
