// LINK: answers
/* SPDX-License-Identifier: GPL-2.0-only */
/* The counters in a real file: many processes at once, files that are no such file, no file. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "answers.h"

static char dir[] = "/tmp/smtpgate-answers-XXXXXX";
static char path[sizeof(dir) + 32];

static int make_dir(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/" ANSWERS_FILE, dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static void put(const void *bytes, size_t length)
{
    int fd;

    unlink(path);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, length), length);
    close(fd);
}

static void expect_zero(void)
{
    uint64_t counts[ANSWERS_MAX];
    size_t i;

    memset(counts, 0x55, sizeof(counts));
    answers_read(dir, counts);
    for (i = 0; i < ANSWERS_MAX; i++)
        assert_int_equal(counts[i], 0);
}

/* Nowhere to count: that nothing happens is all that is asked. */
static void count_nothing(void)
{
    struct answers *answers = answers_open(dir);

    assert_non_null(answers);
    answers_count(answers, 1);
    answers_close(answers);
    expect_zero();
}

static void test_none(void **state)
{
    (void)state;
    unlink(path);
    count_nothing();
    assert_int_not_equal(access(path, F_OK), 0); /* it makes none */
    answers_count(NULL, 0);
    answers_close(NULL);
}

static void count_some(unsigned int times)
{
    struct answers *answers = answers_open(dir);
    unsigned int i;

    if (!answers)
        _exit(1);
    for (i = 0; i < times; i++)
        answers_count(answers, i % 3);
    answers_count(answers, ANSWERS_MAX); /* no such counter */
    answers_close(answers);
}

/* From an empty file on, all at once: none is lost, none is counted twice. */
static void test_processes(void **state)
{
    enum { PROCESSES = 16, TIMES = 3000 };
    uint64_t counts[ANSWERS_MAX];
    struct stat st;
    int i, status;

    (void)state;
    put("", 0);
    for (i = 0; i < PROCESSES; i++)
        if (fork() == 0) {
            count_some(TIMES);
            _exit(0);
        }
    for (i = 0; i < PROCESSES; i++) {
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    answers_read(dir, counts);
    for (i = 0; i < 3; i++)
        assert_int_equal(counts[i], PROCESSES * TIMES / 3);
    for (; i < ANSWERS_MAX; i++)
        assert_int_equal(counts[i], 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 128);
    assert_int_equal(st.st_mode & 07777, 0600);
}

/* Continues where it was. */
static void test_again(void **state)
{
    uint64_t before[ANSWERS_MAX], after[ANSWERS_MAX];

    (void)state;
    answers_read(dir, before);
    count_some(3);
    answers_read(dir, after);
    assert_int_equal(after[0], before[0] + 1);
    assert_int_equal(after[2], before[2] + 1);
}

/* Emptied to begin anew, replaced, taken away and made again, under a process that counts. */
static void test_under_way(void **state)
{
    struct answers *answers = answers_open(dir);
    uint64_t counts[ANSWERS_MAX];
    unsigned int i;

    (void)state;
    unlink(path);
    answers_count(answers, 5);
    expect_zero();
    for (i = 0; i < 2; i++) {
        put("", 0); /* unlinks it first */
        answers_count(answers, 5);
        answers_count(answers, 5);
        answers_read(dir, counts);
        assert_int_equal(counts[5], 2);
    }
    assert_int_equal(truncate(path, 0), 0);
    answers_count(answers, 5);
    answers_read(dir, counts);
    assert_int_equal(counts[5], 1);
    assert_int_equal(truncate(path, 40), 0);
    answers_count(answers, 5);
    expect_zero();
    unlink(path);
    answers_count(answers, 5);
    answers_close(answers);
}

static void test_foreign(void **state)
{
    unsigned char bytes[129];
    uint64_t version = 2;
    int fd;

    (void)state;
    memset(bytes, 'x', sizeof(bytes));
    put(bytes, 128); /* the size, not the head */
    count_nothing();
    put(bytes, 5);
    count_nothing();
    put("", 0);
    count_some(1);
    fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "x", 1, 128), 1); /* the head, not the size */
    count_nothing();
    assert_int_equal(ftruncate(fd, 128), 0);
    assert_int_equal(pwrite(fd, &version, 8, 8), 8); /* a later version's */
    close(fd);
    count_nothing();
}

static void test_no_file(void **state)
{
    (void)state;
    unlink(path);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    count_nothing();
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    count_nothing();
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    count_nothing();
    assert_int_equal(rmdir(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none),    cmocka_unit_test(test_processes),
        cmocka_unit_test(test_again),   cmocka_unit_test(test_under_way),
        cmocka_unit_test(test_foreign), cmocka_unit_test(test_no_file),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
