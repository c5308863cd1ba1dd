// SPDX-License-Identifier: GPL-2.0-only
/*
 * The parser as the host compiles it, for many packets at once: what it makes of each is compared
 * with the program in the kernel and with a parser of its own in Python.
 *
 * It must know nothing of lists, ports and verdicts. On stdin again and again a number, and that
 * many frames, each with its length in front (__u32, as this machine writes them); on stdout one
 * struct answer for each. A frame lies in memory of exactly its size, under the sanitizers.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/types.h>

#include "parse.h"

struct answer {
    __u8 reason; /* enum sg_reason, or PARSED_TCP */
    __u8 family;
    __u8 has_source;
    __u8 syn;
    __u16 dport;
    __u16 reserved;
    __u8 source[16];
};

static void fail(const char *what)
{
    fprintf(stderr, "parse_host: %s\n", what);
    exit(2);
}

static __u32 read_number(void)
{
    __u32 number;

    if (fread(&number, sizeof(number), 1, stdin) != 1)
        fail("the input ends too early");
    return number;
}

static struct answer parse_next(void)
{
    __u32 len = read_number();
    __u8 *frame = malloc(len ? len : 1);
    struct pkt pkt = {.data = frame, .len = len};
    struct flow flow = {0};
    struct answer answer = {0};

    if (!frame || fread(frame, 1, len, stdin) != len)
        fail("a frame is not all there");
    answer.reason = (__u8)parse(&pkt, &flow);
    answer.family = (__u8)flow.family;
    answer.has_source = flow.has_source;
    answer.syn = flow.syn;
    answer.dport = flow.dport;
    memcpy(answer.source, flow.source, sizeof(answer.source));
    free(frame);
    return answer;
}

int main(void)
{
    __u32 count;

    while (fread(&count, sizeof(count), 1, stdin) == 1) {
        struct answer *answers = calloc(count ? count : 1, sizeof(*answers));

        if (!answers)
            fail("memory");
        for (__u32 i = 0; i < count; i++)
            answers[i] = parse_next();
        if (fwrite(answers, sizeof(*answers), count, stdout) != count || fflush(stdout))
            fail("the answers cannot be written");
        free(answers);
    }
    return 0;
}
