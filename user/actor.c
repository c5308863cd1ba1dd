/* SPDX-License-Identifier: GPL-2.0-only */
/* See actor.h. All that is read here is bounded, and a stranger's: it is checked or escaped. */
#include "actor.h"

#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "text.h"
#include "util.h"

#define ANCESTORS_MAX 20
#define ENVIRON_MAX   (256 * 1024)
#define NO_LOGIN      UINT32_MAX

/* ---- a file of /proc ---- */

/* Up to @size - 1 bytes and a NUL; -1 when it cannot be read. */
static ssize_t read_file(const char *path, char *buffer, size_t size)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    size_t used = 0;
    ssize_t n = 1;

    if (fd < 0)
        return -1;
    while (n != 0 && used < size - 1) {
        n = read(fd, buffer + used, size - 1 - used);
        if (n < 0 && errno != EINTR)
            return -1;
        used += n > 0 ? (size_t)n : 0;
    }
    buffer[used] = '\0';
    return (ssize_t)used;
}

/* ---- the person ---- */

/* A whole decimal number and no more than a newline behind it. */
static bool parse_id(const char *text, uint32_t *ret_id)
{
    size_t digits = strspn(text, "0123456789");
    unsigned long long id;

    if (!digits || digits > 10 || (text[digits] && strcmp(text + digits, "\n") != 0))
        return false;
    id = strtoull(text, NULL, 10);
    if (id > UINT32_MAX)
        return false;
    *ret_id = (uint32_t)id;
    return true;
}

/* One word in ASCII that can be shown, and fits. */
static bool is_plain_name(const char *name)
{
    size_t len = strlen(name);

    for (const char *s = name; *s; s++)
        if (*s <= ' ' || *s >= 0x7f)
            return false;
    return len > 0 && len < ACTOR_TEXT_MAX;
}

/* By name, or by @id if @name is NULL. Of the entry the name and the number are wanted. */
static bool look_up(const char *name, uint32_t id, uint32_t *ret_id, char ret_name[ACTOR_TEXT_MAX])
{
    struct passwd entry, *found = NULL;
    char buffer[4096];

    if (name)
        getpwnam_r(name, &entry, buffer, sizeof(buffer), &found);
    else
        getpwuid_r(id, &entry, buffer, sizeof(buffer), &found);
    if (!found)
        return false;
    *ret_id = found->pw_uid;
    text_escape(found->pw_name, ret_name, ACTOR_TEXT_MAX);
    return true;
}

/* Only root can have come by sudo, and the two variables must not contradict each other. */
static bool read_sudo(struct actor *actor)
{
    const char *user = secure_getenv("SUDO_USER"), *number = secure_getenv("SUDO_UID");
    char name[ACTOR_TEXT_MAX];
    uint32_t id = 0, known = 0;

    if (getuid() != 0 || !user || !is_plain_name(user) || (number && !parse_id(number, &id)))
        return false;
    if (look_up(user, 0, &known, name)) {
        if (number && known != id)
            return false;
        id = known;
    } else if (!number) {
        return false;
    }
    actor->uid = id;
    snprintf(actor->name, sizeof(actor->name), "%s", user);
    return true;
}

static uint32_t read_login(void)
{
    char text[16];
    uint32_t id;

    if (read_file("/proc/self/loginuid", text, sizeof(text)) < 0 || !parse_id(text, &id))
        return NO_LOGIN;
    return id;
}

static void read_person(struct actor *actor)
{
    uint32_t login;

    if (read_sudo(actor))
        return;
    login = read_login();
    actor->uid = login == NO_LOGIN ? getuid() : login;
    if (!look_up(NULL, actor->uid, &actor->uid, actor->name))
        snprintf(actor->name, sizeof(actor->name), "uid %u", actor->uid);
}

/* ---- the place ---- */

/* "198.51.100.7 50312 192.0.2.1 22", the client's first; a link-local one has a zone. */
static bool read_connection(const char *text, struct actor *actor)
{
    char client[ADDR_TEXT_MAX + 1];
    unsigned int port;
    struct addr addr;

    if (sscanf(text, "%46[0-9a-fA-F:.]%%%*[^ ] %*u %*s %5u", client, &port) != 2 &&
        sscanf(text, "%46[0-9a-fA-F:.] %*u %*s %5u", client, &port) != 2)
        return false;
    if (port == 0 || port > UINT16_MAX || addr_parse(client, &addr, NULL) < 0)
        return false;
    actor->has_ssh_client = true;
    actor->ssh_client = addr;
    actor->ssh_port = (uint16_t)port;
    return true;
}

/* "NAME=VALUE" one behind the other, each with its NUL; @environment has one more at the end. */
static const char *find_variable(const char *environment, size_t size, const char *name)
{
    const size_t len = strlen(name);

    for (const char *s = environment; s < environment + size; s += strlen(s) + 1)
        if (!strncmp(s, name, len) && s[len] == '=')
            return s + len + 1;
    return NULL;
}

/* 1 found, 0 not, whatever the reason. @buffer takes ENVIRON_MAX. */
static bool read_ancestor(int pid, char *buffer, struct actor *actor)
{
    const char *connection;
    char path[64];
    ssize_t size;

    snprintf(path, sizeof(path), "/proc/%d/environ", pid);
    size = read_file(path, buffer, ENVIRON_MAX);
    if (size <= 0)
        return false;
    connection = find_variable(buffer, (size_t)size, "SSH_CONNECTION");
    return connection && read_connection(connection, actor);
}

/* 0: it has none, or it is gone. The program's name before it may hold anything. */
static int parent_of(int pid)
{
    char path[64], stat[512];
    const char *behind;
    int parent;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    if (read_file(path, stat, sizeof(stat)) < 0)
        return 0;
    behind = strrchr(stat, ')');
    return behind && sscanf(behind, ") %*c %d", &parent) == 1 ? parent : 0;
}

static bool read_ssh(struct actor *actor)
{
    const char *own = secure_getenv("SSH_CONNECTION");
    _cleanup_free_ char *buffer = malloc(ENVIRON_MAX);
    int i, pid = getppid();

    if (own && read_connection(own, actor))
        return true;
    for (i = 0; buffer && i < ANCESTORS_MAX && pid > 1; i++) {
        if (read_ancestor(pid, buffer, actor))
            return true;
        pid = parent_of(pid);
    }
    return false;
}

/* A pipe for input leaves the other two. */
static void read_terminal(struct actor *actor)
{
    static const char prefix[] = "/dev/";
    char path[256];
    int fd;

    for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        const char *name = path;

        if (ttyname_r(fd, path, sizeof(path)) != 0)
            continue;
        if (!strncmp(path, prefix, strlen(prefix)))
            name += strlen(prefix);
        text_escape(name, actor->from, sizeof(actor->from));
        return;
    }
}

void actor_read(struct actor *ret_actor)
{
    struct actor actor = {0};
    char text[ADDR_TEXT_MAX];

    read_person(&actor);
    if (read_ssh(&actor))
        snprintf(actor.from, sizeof(actor.from), "%s", addr_print(&actor.ssh_client, text));
    else
        read_terminal(&actor);
    *ret_actor = actor;
}
