// LINK: policy text err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fuzzing of what a connection to the policy service may hold: the first byte says how the rest is
 * cut into pieces. However it is cut, the parser takes no byte that is not there, gives the same
 * events, and no byte from outside ends or breaks an answer.
 */
#include "fuzz.h"
#include "policy.h"

/* Events come down to a number that any difference changes. */
struct digest {
    uint64_t sum;
    bool abuse;
};

static void add_bytes(struct digest *digest, const void *bytes, size_t len)
{
    const unsigned char *byte = bytes;

    for (size_t i = 0; i < len; i++)
        digest->sum = (digest->sum ^ byte[i]) * 0x100000001b3U;
}

static void check_answer(const char *text)
{
    char answer[POLICY_ANSWER_MAX];
    size_t len = policy_answer("REJECT", text, answer);

    MUST(len < sizeof(answer) && strlen(answer) == len);
    MUST(!strncmp(answer, "action=REJECT", strlen("action=REJECT")));
    MUST(len > 2 && !strcmp(answer + len - 2, "\n\n"));
    for (size_t i = 0; i < len - 2; i++)
        MUST(answer[i] >= 0x20 && answer[i] < 0x7f);
}

static void take_request(struct digest *digest, const struct policy_request *request)
{
    const bool flags[] = {request->malformed, request->has_request, request->has_login,
                          request->has_address};

    MUST(memchr(request->login, '\0', sizeof(request->login)) != NULL);
    MUST(memchr(request->address, '\0', sizeof(request->address)) != NULL);
    MUST(!strchr(request->login, '\n') && !strchr(request->address, '\n'));
    MUST(request->malformed == (request->why != NULL));
    MUST(request->malformed || request->has_request);
    MUST(request->has_login || !*request->login);
    MUST(request->has_address || !*request->address);
    add_bytes(digest, flags, sizeof(flags));
    add_bytes(digest, request->login, strlen(request->login) + 1);
    add_bytes(digest, request->address, strlen(request->address) + 1);
    check_answer(request->login);
    check_answer(request->address);
}

static void feed(struct policy_parser *parser, const char *bytes, size_t len, struct digest *digest)
{
    size_t at = 0;

    while (at < len && !digest->abuse) {
        size_t taken = SIZE_MAX;
        enum policy_event event = policy_parse(parser, bytes + at, len - at, &taken);

        MUST(taken <= len - at);
        MUST(parser->used <= POLICY_LINE_MAX);
        at += taken;
        add_bytes(digest, &event, event == POLICY_MORE ? 0 : sizeof(event));
        if (event == POLICY_MORE) {
            MUST(at == len);
        } else if (event == POLICY_REQUEST) {
            MUST(taken > 0 && bytes[at - 1] == '\n');
            take_request(digest, &parser->request);
            policy_next(parser);
            MUST(!policy_is_amid(parser));
        } else {
            MUST(event == POLICY_ABUSE);
            digest->abuse = true;
        }
    }
}

/* Pieces of 1 to @most bytes, each in a block of its own. */
static struct digest parse(const uint8_t *data, size_t size, size_t most)
{
    struct policy_parser *parser = calloc(1, sizeof(*parser));
    struct digest digest = {0};
    uint32_t random = 1;
    size_t at, piece;

    MUST(parser);
    for (at = 0; at < size && !digest.abuse; at += piece) {
        char *copy;

        random = random * 1103515245U + 12345U;
        piece = most >= size ? size : 1 + (random >> 16) % most;
        piece = piece < size - at ? piece : size - at;
        copy = malloc(piece);
        MUST(copy);
        memcpy(copy, data + at, piece);
        feed(parser, copy, piece, &digest);
        free(copy);
    }
    add_bytes(&digest, digest.abuse || !policy_is_amid(parser) ? "n" : "y", 1);
    free(parser);
    return digest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct digest whole, cut;

    if (size < 2)
        return 0;
    whole = parse(data + 1, size - 1, size);
    cut = parse(data + 1, size - 1, 1 + data[0]);
    MUST(whole.sum == cut.sum && whole.abuse == cut.abuse);
    return 0;
}
