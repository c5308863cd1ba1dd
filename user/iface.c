/* SPDX-License-Identifier: GPL-2.0-only */
/* See iface.h. */
#include "iface.h"

#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "text.h"
#include "util.h"

#define NAME_TEXT_MAX 80

/* One line of all interfaces, for the hint. */
static void list_names(char *buf, size_t size)
{
    struct if_nameindex *all = if_nameindex(), *at;
    size_t used = 0;

    buf[0] = '\0';
    for (at = all; at && at->if_index && used < size; at++) {
        int n = snprintf(buf + used, size - used, "%s%s", used ? ", " : "", at->if_name);

        used += n > 0 ? (size_t)n : 0;
    }
    if (all)
        if_freenameindex(all);
}

static int fail_no_interface(const char *name, struct err *e)
{
    char shown[NAME_TEXT_MAX], names[256];

    list_names(names, sizeof(names));
    err_set(e, 0, EXIT_USAGE, "there is no interface %s here",
            *name ? text_escape(name, shown, sizeof(shown)) : "\"\"");
    err_hint(e, "there are: %s", names);
    return -ENODEV;
}

/* What ARPHRD_* of linux/if_arp.h a person would call it. */
static const char *type_text(int type)
{
    switch (type) {
    case 65534: /* ARPHRD_NONE */
        return "a tun or WireGuard device";
    case ARPHRD_PPP:
        return "a ppp device";
    case ARPHRD_TUNNEL:
    case ARPHRD_TUNNEL6:
    case ARPHRD_SIT:
    case ARPHRD_IPGRE:
    case 823: /* ARPHRD_IP6GRE */
        return "an IP tunnel";
    case ARPHRD_INFINIBAND:
        return "an InfiniBand device";
    default:
        return "a device of another kind";
    }
}

int iface_check(const char *name, uint32_t *ret_ifindex, struct err *e)
{
    _cleanup_close_ int fd = -1;
    struct ifreq request = {0};
    unsigned int ifindex;
    int type;

    if (strlen(name) >= IF_NAMESIZE || !*name)
        return fail_no_interface(name, e);
    ifindex = if_nametoindex(name);
    if (!ifindex)
        return fail_no_interface(name, e);
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    memcpy(request.ifr_name, name, strlen(name));
    if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &request) < 0)
        return err_set(e, -errno, EXIT_REFUSED, "cannot ask what kind of device %s is: %s", name,
                       strerror(errno));
    type = request.ifr_hwaddr.sa_family;
    if (type != ARPHRD_ETHER && type != ARPHRD_LOOPBACK) {
        err_set(e, 0, EXIT_REFUSED,
                "%s is %s without Ethernet headers (type %d): the program would misread its"
                " packets, so it is not attached",
                name, type_text(type), type);
        err_hint(e, "attach to the Ethernet interface below it, or filter on %s with nftables",
                 name);
        return -EPROTOTYPE;
    }
    *ret_ifindex = ifindex;
    return 0;
}

/* The address as the file prints it, 32-bit words in the host's order, is 127.0.0.0/8 or ::1. */
static bool is_loopback(const char *hex)
{
    uint32_t words[4] = {0};
    uint8_t bytes[16];
    size_t i, n = strlen(hex) / 8;

    for (i = 0; i < n && i < ARRAY_SIZE(words); i++)
        if (sscanf(hex + i * 8, "%8x", &words[i]) != 1)
            return false;
    memcpy(bytes, words, sizeof(bytes));
    if (n == 1)
        return bytes[0] == 127;
    return !memcmp(bytes, &in6addr_loopback, sizeof(bytes));
}

/* A listening socket's line of /proc/net/tcp{,6}: "sl: LOCAL:PORT REMOTE:PORT 0A ...". */
static bool line_listens(const char *line, uint16_t port)
{
    char address[33];
    unsigned int local, state;

    if (sscanf(line, " %*[^:]: %32[0-9A-F]:%x %*[0-9A-F]:%*x %x", address, &local, &state) != 3)
        return false;
    return local == port && state == 0x0a && !is_loopback(address);
}

static bool file_listens(const char *path, uint16_t port)
{
    FILE *file = fopen(path, "re");
    char line[512];
    bool found = false;

    while (file && !found && fgets(line, sizeof(line), file))
        found = line_listens(line, port);
    if (file)
        fclose(file);
    return found;
}

bool iface_port_is_open(uint16_t port)
{
    return file_listens("/proc/net/tcp", port) || file_listens("/proc/net/tcp6", port);
}

/* "8080,9148-9200" holds @port. */
static bool list_holds(const char *list, uint16_t port)
{
    unsigned int low, high;

    while (list) {
        int n = sscanf(list, "%u-%u", &low, &high);

        if (n >= 1 && port >= low && port <= (n == 2 ? high : low))
            return true;
        list = strchr(list, ',');
        if (list)
            list++;
    }
    return false;
}

/* The kernel prints at most 64 Ki ports. */
static bool is_reserved(uint16_t port)
{
    FILE *file = fopen("/proc/sys/net/ipv4/ip_local_reserved_ports", "re");
    _cleanup_free_ char *line = NULL;
    size_t size = 0;
    bool found = file && getline(&line, &size, file) > 0 && list_holds(line, port);

    if (file)
        fclose(file);
    return found;
}

bool iface_port_is_ephemeral(uint16_t port, unsigned int *ret_low, unsigned int *ret_high)
{
    FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    unsigned int low = 1, high = 0;
    bool got = file && fscanf(file, "%u %u", &low, &high) == 2;

    if (file)
        fclose(file);
    if (!got || port < low || port > high || is_reserved(port))
        return false;
    *ret_low = low;
    *ret_high = high;
    return true;
}
