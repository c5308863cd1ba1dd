// LINK: board prompt tally addr who_why text err
/* SPDX-License-Identifier: GPL-2.0-only */
/* The model of the live screen, against what a person would expect to stay where it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "board.h"
#include "prompt.h"

/* The last byte of an address, how many packets, when last. */
struct plan {
    uint8_t last_byte;
    uint64_t packets;
    int64_t last_seen;
};

static void take(struct board *board, const struct plan *plans, size_t n, uint64_t dropped,
                 int64_t ms)
{
    struct tally_counts counts = {.packets = {[SG_VERDICT_DROP] = dropped}};
    struct tally_table table = {0};

    for (size_t i = 0; i < n; i++) {
        struct tally_source source = {.addr = {.family = ADDR_IP4, .bytes = {192, 0, 2}},
                                      .port = 25,
                                      .verdict = SG_VERDICT_DROP,
                                      .packets = plans[i].packets,
                                      .first_seen = 100,
                                      .last_seen = plans[i].last_seen};

        source.addr.bytes[3] = plans[i].last_byte;
        assert_int_equal(tally_add(&table, &source), 0);
    }
    tally_sort(&table);
    assert_int_equal(board_take(board, &table, &counts, ms, 1000), 0);
    assert_null(table.items);
}

/* The order as last bytes: "3 1 2". */
static void expect_order(const struct board *board, const uint8_t *expected, size_t n)
{
    assert_int_equal(board->count, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(board->rows[board->order[i]].source.addr.bytes[3], expected[i]);
}

static uint8_t selected(const struct board *board)
{
    const struct board_row *row = board_selected(board);

    return row ? row->source.addr.bytes[3] : 0;
}

static void test_order(void **state)
{
    struct board board = {0};

    (void)state;
    take(&board, (struct plan[]){{1, 50, 200}, {2, 40, 203}, {3, 40, 202}}, 3, 0, 1000);
    expect_order(&board, (uint8_t[]){1, 2, 3}, 3);
    take(&board, (struct plan[]){{3, 47, 204}, {2, 42, 203}, {1, 50, 200}}, 3, 0, 1000);
    expect_order(&board, (uint8_t[]){1, 3, 2}, 3);
    board_sort_by(&board, BOARD_BY_RECENT);
    expect_order(&board, (uint8_t[]){3, 2, 1}, 3);
    board_sort_by(&board, BOARD_BY_LAST_SEEN);
    expect_order(&board, (uint8_t[]){3, 2, 1}, 3);
    take(&board, (struct plan[]){{1, 51, 210}, {2, 42, 203}, {3, 47, 204}, {9, 1, 205}}, 4, 0,
         1000);
    expect_order(&board, (uint8_t[]){1, 9, 3, 2}, 4);
    board_sort_by(&board, BOARD_BY_ADDRESS);
    expect_order(&board, (uint8_t[]){1, 2, 3, 9}, 4);
    for (int i = 0; i < BOARD_SORTS; i++)
        assert_true(strlen(board_sort_name((enum board_sort)i)) > 3);
    board_free(&board);
}

/* What was there when it began is not recent; what came since is, for ten readings. */
static void test_recent(void **state)
{
    struct board board = {0};

    (void)state;
    take(&board, (struct plan[]){{1, 1000, 5}}, 1, 0, 1000);
    assert_int_equal(board_row_at(&board, 0)->recent, 0);
    take(&board, (struct plan[]){{1, 1007, 5}, {2, 4, 5}}, 2, 0, 1000);
    board_sort_by(&board, BOARD_BY_ADDRESS);
    assert_int_equal(board_row_at(&board, 0)->recent, 7);
    assert_int_equal(board_row_at(&board, 1)->recent, 4);
    take(&board, (struct plan[]){{1, 1010, 5}, {2, 4, 5}}, 2, 0, 1000);
    assert_int_equal(board_row_at(&board, 0)->recent, 10);
    for (int i = 0; i < BOARD_RECENT - 2; i++)
        take(&board, (struct plan[]){{1, 1010, 5}, {2, 4, 5}}, 2, 0, 1000);
    assert_int_equal(board_row_at(&board, 0)->recent, 10);
    take(&board, (struct plan[]){{1, 1010, 5}, {2, 4, 5}}, 2, 0, 1000);
    assert_int_equal(board_row_at(&board, 0)->recent, 3);
    take(&board, (struct plan[]){{1, 1010, 5}, {2, 4, 5}}, 2, 0, 1000);
    assert_int_equal(board_row_at(&board, 0)->recent, 0);
    /* Forgotten, and come anew. */
    take(&board, (struct plan[]){{1, 6, 5}}, 1, 0, 1000);
    assert_int_equal(board_row_at(&board, 0)->recent, 6);
    board_free(&board);
}

static void test_selection(void **state)
{
    struct board board = {0};

    (void)state;
    assert_null(board_selected(&board));
    board_move(&board, 1);
    assert_int_equal(board_fit(&board, 5), 0);
    take(&board, (struct plan[]){{1, 30, 1}, {2, 20, 1}, {3, 10, 1}}, 3, 0, 1000);
    assert_int_equal(selected(&board), 1);
    /* Nobody has selected anything: the first place. */
    take(&board, (struct plan[]){{1, 30, 1}, {2, 40, 1}, {3, 10, 1}}, 3, 0, 1000);
    assert_int_equal(selected(&board), 2);
    board_move(&board, 1);
    assert_int_equal(selected(&board), 1);
    take(&board, (struct plan[]){{1, 30, 1}, {2, 40, 1}, {3, 99, 1}, {4, 98, 1}}, 4, 0, 1000);
    assert_int_equal(selected(&board), 1);
    assert_int_equal(board.selected, 3);
    board_sort_by(&board, BOARD_BY_ADDRESS);
    assert_int_equal(selected(&board), 1);
    assert_int_equal(board.selected, 0);
    board_move(&board, -5);
    assert_int_equal(selected(&board), 1);
    board_move(&board, 100);
    assert_int_equal(selected(&board), 4);
    /* It went: the place is kept as far as there is one. */
    take(&board, (struct plan[]){{1, 30, 1}, {2, 40, 1}}, 2, 0, 1000);
    assert_int_equal(selected(&board), 2);
    take(&board, NULL, 0, 0, 1000);
    assert_null(board_selected(&board));
    take(&board, (struct plan[]){{7, 30, 1}, {8, 40, 1}}, 2, 0, 1000);
    assert_int_equal(selected(&board), 7);
    board_free(&board);
}

/* Whatever is done, the selected row is in sight and no line is wasted. */
static void test_sight(void **state)
{
    struct board board = {0};
    struct plan plans[100];
    size_t n = 100;

    (void)state;
    srand(3);
    for (int step = 0; step < 20000; step++) {
        size_t height = (size_t)rand() % 20, rows;

        if (rand() % 10 == 0) {
            n = (size_t)rand() % 100;
            for (size_t i = 0; i < n; i++)
                plans[i] = (struct plan){(uint8_t)i, (uint64_t)rand() % 50, rand() % 50};
            take(&board, plans, n, 0, 1000);
        }
        if (rand() % 30 == 0)
            board_to_top(&board);
        else
            board_move(&board, rand() % 61 - 30);
        rows = board_fit(&board, height);
        assert_true(rows == (board.count < height ? board.count : height));
        assert_true(board.first + rows <= board.count);
        if (rows)
            assert_true(board.selected >= board.first && board.selected < board.first + rows);
    }
    board_free(&board);
}

/* A screen that shrinks and grows again shows what it did. */
static void test_growing(void **state)
{
    const struct plan plans[] = {{1, 9, 1}, {2, 8, 1}, {3, 7, 1}, {4, 6, 1}, {5, 5, 1}, {6, 4, 1}};
    struct board board = {0};

    (void)state;
    take(&board, plans, 6, 0, 1000);
    assert_int_equal(board_fit(&board, 5), 5);
    board_move(&board, 3);
    assert_int_equal(board_fit(&board, 5), 5);
    assert_int_equal(board.first, 0);
    assert_int_equal(board_fit(&board, 2), 2);
    assert_int_equal(board.first, 2);
    assert_int_equal(board_fit(&board, 0), 0);
    assert_int_equal(board_fit(&board, 2), 2);
    assert_true(board.first + 2 > board.selected);
    assert_int_equal(board_fit(&board, 5), 5);
    assert_int_equal(board.first, 0);
    /* At the end of the list nothing is scrolled away that has room. */
    board_move(&board, 2);
    assert_int_equal(board_fit(&board, 3), 3);
    assert_int_equal(board.first, 3);
    assert_int_equal(board_fit(&board, 4), 4);
    assert_int_equal(board.first, 2);
    assert_int_equal(board_fit(&board, 9), 6);
    assert_int_equal(board.first, 0);
    board_free(&board);
}

static void test_rates(void **state)
{
    struct board board = {0};
    uint8_t levels[BOARD_COLUMNS_MAX];
    uint64_t dropped = 1000;

    (void)state;
    take(&board, NULL, 0, dropped, 1000);
    assert_int_equal(board.samples, 0);
    assert_false(board_any(&board, BOARD_DROPPED));
    assert_true(board_spark(&board, BOARD_DROPPED, 10, 2, levels) == 0);
    take(&board, NULL, 0, dropped + 50, 500);
    assert_true(board_rate(&board, BOARD_DROPPED) == 100);
    assert_true(board_rate(&board, BOARD_PASSED) == 0);
    assert_true(board_any(&board, BOARD_DROPPED));
    /* The gate was made anew. */
    take(&board, NULL, 0, dropped = 5, 1000);
    assert_true(board_rate(&board, BOARD_DROPPED) == 0);
    /* It was paused for four seconds. */
    take(&board, NULL, 0, dropped += 40, 4000);
    assert_int_equal(board.samples, 6);
    assert_true(board_rate(&board, BOARD_DROPPED) == 10);
    /* 100 0 | 10 10 | 10 10 */
    assert_true(board_spark(&board, BOARD_DROPPED, 5, 2, levels) == 50);
    assert_memory_equal(levels, ((uint8_t[]){0, 0, 8, 2, 2}), 5);
    assert_true(board_spark(&board, BOARD_DROPPED, 2, 2, levels) == 10);
    assert_memory_equal(levels, ((uint8_t[]){8, 8}), 2);
    /* One more: a column that is not full yet, and a little is not nothing. */
    take(&board, NULL, 0, dropped += 1, 1000);
    board_spark(&board, BOARD_DROPPED, 5, 2, levels);
    assert_memory_equal(levels, ((uint8_t[]){0, 8, 2, 2, 1}), 5);
    take(&board, NULL, 0, dropped + 7, 3600 * INT64_C(1000000));
    assert_int_equal(board.samples, 7 + BOARD_HISTORY);
    assert_true(board_spark(&board, BOARD_DROPPED, 10000, 2, levels) > 0);
    board_free(&board);
}

static void test_numbers(void **state)
{
    static const struct {
        double number;
        const char *text;
    } cases[] = {
        {0, "0"},           {1, "1"},          {1.25, "1.2"},    {9.94, "9.9"},
        {9.96, "10"},       {42.4, "42"},      {99999, "99999"}, {99999.6, "100k"},
        {123456, "123k"},   {999499, "999k"},  {999501, "1.0M"}, {12345678, "12.3M"},
        {99960000, "100M"}, {999.6e6, "1.0G"}, {1.5e12, "1.5T"}, {7.77e14, "777T"},
        {0.04, "0.0"},
    };
    char buf[16];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_string_equal(board_number(cases[i].number, buf), cases[i].text);
    /* A rate has one form, whole or not. */
    assert_string_equal(board_rate_text(0, buf), "0.0");
    assert_string_equal(board_rate_text(3, buf), "3.0");
    assert_string_equal(board_rate_text(2.94, buf), "2.9");
    assert_string_equal(board_rate_text(9.96, buf), "10");
    assert_string_equal(board_rate_text(12345678, buf), "12.3M");
}

/* At any height: nothing beyond the screen, and what matters most is there first. */
static void test_layout(void **state)
{
    (void)state;
    for (int height = 0; height < 200; height++)
        for (int trouble = 0; trouble < 2; trouble++) {
            struct board_wishes wishes = {.mode = 2, .health = 2, .sparks = 3, .trouble = trouble};
            struct board_layout lay = board_layout(height, &wishes);
            int sum = lay.title + lay.mode + lay.health + lay.gap + lay.sparks + lay.rates +
                      lay.gap2 + lay.head + lay.rows;

            assert_true(height < 1 ? sum == 0 : sum == height - 1);
            assert_true(height < 2 || lay.mode >= 1);
            assert_true(height < 3 || lay.rows >= 1 || (trouble && lay.health));
            assert_true(height < 5 || lay.rates == 1);
            assert_true(!trouble || height < 4 || lay.health >= 1);
            assert_true(height < 24 || (lay.title && lay.gap && lay.sparks == 3 && lay.head &&
                                        lay.health == 2 && lay.mode == 2 && lay.rows >= 10));
        }
}

static enum prompt_state type(struct prompt *prompt, const char *keys)
{
    enum prompt_state state = PROMPT_GOES_ON;

    for (uint32_t code; state == PROMPT_GOES_ON && *keys; keys += text_utf8_next(keys, &code)) {
        assert_true(text_utf8_next(keys, &code) > 0);
        state = prompt_type(prompt, code);
    }
    return state;
}

static void test_prompt(void **state)
{
    struct prompt prompt = {.len = 0};

    (void)state;
    assert_int_equal(type(&prompt, "Frau Mu\b\xc3\xbcller \xe2\x82\xac \xf0\x9f\x93\xa7"),
                     PROMPT_GOES_ON);
    assert_string_equal(prompt.text, "Frau M\xc3\xbcller \xe2\x82\xac \xf0\x9f\x93\xa7");
    type(&prompt, "\x7f\x7f\x7f");
    assert_string_equal(prompt.text, "Frau M\xc3\xbcller ");
    type(&prompt, "\x17");
    assert_string_equal(prompt.text, "Frau ");
    type(&prompt, "\x01\t\x02\xc2\x9b");
    assert_int_equal(prompt.len, 7); /* what is no good for a remark is for add to refuse */
    type(&prompt, "\x15");
    assert_string_equal(prompt.text, "");
    type(&prompt, "\x7f\x17");
    assert_int_equal(prompt.len, 0);
    assert_int_equal(type(&prompt, "x\r"), PROMPT_DONE);
    assert_int_equal(type(&prompt, "\x1b"), PROMPT_CANCELLED);
    assert_int_equal(type(&prompt, "\x03"), PROMPT_CANCELLED);
    assert_string_equal(prompt.text, "x");
    assert_int_equal(prompt_type(&prompt, 0xd800), PROMPT_GOES_ON);
    assert_int_equal(prompt_type(&prompt, 0x110001), PROMPT_GOES_ON);
    assert_string_equal(prompt.text, "x");
    for (int i = 0; i < 300; i++)
        prompt_type(&prompt, 0x20ac);
    assert_int_equal(prompt.len, 1 + 3 * ((REMARK_MAX - 1) / 3));
    assert_int_equal(strlen(prompt.text), prompt.len);
    assert_int_equal(prompt_type(&prompt, 0x20ac), PROMPT_FULL);
    assert_int_equal(prompt_type(&prompt, 0x7f), PROMPT_GOES_ON);
    assert_int_equal(prompt_type(&prompt, 0x20ac), PROMPT_GOES_ON);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),     cmocka_unit_test(test_recent),
        cmocka_unit_test(test_selection), cmocka_unit_test(test_sight),
        cmocka_unit_test(test_growing),   cmocka_unit_test(test_rates),
        cmocka_unit_test(test_numbers),   cmocka_unit_test(test_layout),
        cmocka_unit_test(test_prompt),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
