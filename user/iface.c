/* SPDX-License-Identifier: GPL-2.0-only */
/* See iface.h. */
#include "iface.h"

#include <dirent.h>
#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
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
    if (!ifindex && (errno == ENODEV || errno == ENXIO))
        return fail_no_interface(name, e);
    if (!ifindex)
        return err_set(e, -errno, EXIT_REFUSED, "cannot look for the interface %s: %s", name,
                       strerror(errno));
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

bool iface_is_called(const char *name, const char *called)
{
    unsigned int ifindex;

    if (!strcmp(name, called))
        return true;
    ifindex = if_nametoindex(name);
    return ifindex && ifindex == if_nametoindex(called);
}

/* ---- who listens ---- */

bool iface_is_any(const struct addr *address)
{
    static const uint8_t zero[sizeof(address->bytes)];

    return !memcmp(address->bytes, zero, addr_len(address->family));
}

bool iface_is_loopback(const struct addr *address)
{
    if (address->family == ADDR_IP4)
        return address->bytes[0] == 127;
    return !memcmp(address->bytes, &in6addr_loopback, sizeof(address->bytes));
}

bool iface_is_link_local(const struct addr *address)
{
    return address->family == ADDR_IP6 && address->bytes[0] == 0xfe &&
           (address->bytes[1] & 0xc0) == 0x80;
}

static struct addr from_ip4(const void *bytes)
{
    struct addr address = {.family = ADDR_IP4};

    memcpy(address.bytes, bytes, 4);
    return address;
}

static struct addr from_ip6(const struct in6_addr *in6)
{
    struct addr address = {.family = ADDR_IP6};

    if (IN6_IS_ADDR_V4MAPPED(in6))
        return from_ip4(&in6->s6_addr[12]);
    memcpy(address.bytes, in6, sizeof(address.bytes));
    return address;
}

/* An address as the file prints it: 32-bit words in the host's order. */
static bool parse_hex(const char *hex, struct addr *ret_address)
{
    struct in6_addr in6;
    uint32_t words[4];
    size_t i, n = strlen(hex) / 8;

    if (strlen(hex) % 8 || (n != 1 && n != 4))
        return false;
    for (i = 0; i < n; i++)
        if (sscanf(hex + i * 8, "%8x", &words[i]) != 1)
            return false;
    memcpy(&in6, words, n * sizeof(words[0]));
    *ret_address = n == 1 ? from_ip4(&in6) : from_ip6(&in6);
    return true;
}

/* A listening socket's line of /proc/net/tcp{,6}: "sl: LOCAL:PORT REMOTE:PORT 0A ...". */
static bool parse_listener(const char *line, struct iface_listener *ret_listener)
{
    char address[33];
    unsigned int port, state;

    if (sscanf(line, " %*[^:]: %32[0-9A-F]:%x %*[0-9A-F]:%*x %x", address, &port, &state) != 3 ||
        state != 0x0a)
        return false;
    ret_listener->port = (uint16_t)port;
    return parse_hex(address, &ret_listener->address);
}

struct listeners {
    struct iface_listener *items;
    size_t count;
};

static void free_listeners(struct listeners *listeners)
{
    free(listeners->items);
}

#define _cleanup_listeners_ __attribute__((cleanup(free_listeners)))

static int add_listener(struct listeners *listeners, const struct iface_listener *one)
{
    struct iface_listener *items =
        reallocarray(listeners->items, listeners->count + 1, sizeof(*items));

    if (!items)
        return -ENOMEM;
    listeners->items = items;
    items[listeners->count++] = *one;
    return 0;
}

/* A file that is not there is a family that the kernel does not have. */
static int collect_listeners(const char *path, struct listeners *listeners)
{
    FILE *file = fopen(path, "re");
    struct iface_listener one;
    char line[512];
    int r = file || errno == ENOENT ? 0 : -errno;

    while (file && r == 0 && fgets(line, sizeof(line), file))
        if (parse_listener(line, &one))
            r = add_listener(listeners, &one);
    if (file)
        fclose(file);
    return r;
}

static int compare_listeners(const void *a, const void *b)
{
    const struct iface_listener *one = a, *two = b;

    if (one->port != two->port)
        return one->port < two->port ? -1 : 1;
    return addr_cmp(&one->address, &two->address);
}

/* Several sockets may share a port (SO_REUSEPORT). */
static void drop_repeated(struct listeners *listeners)
{
    size_t i, kept = 0;

    if (!listeners->count)
        return;
    qsort(listeners->items, listeners->count, sizeof(*listeners->items), compare_listeners);
    for (i = 1; i < listeners->count; i++)
        if (compare_listeners(&listeners->items[kept], &listeners->items[i]))
            listeners->items[++kept] = listeners->items[i];
    listeners->count = kept + 1;
}

int iface_read_listeners(struct iface_listener **ret_listeners, size_t *ret_count, struct err *e)
{
    _cleanup_listeners_ struct listeners listeners = {0};
    int r = collect_listeners("/proc/net/tcp", &listeners);

    if (r == 0)
        r = collect_listeners("/proc/net/tcp6", &listeners);
    if (r < 0)
        return err_set(e, r, EXIT_REFUSED, "cannot read who listens from /proc/net/tcp: %s",
                       strerror(-r));
    drop_repeated(&listeners);
    *ret_count = listeners.count;
    *ret_listeners = TAKE_PTR(listeners.items);
    return 0;
}

bool iface_port_is_open(uint16_t port)
{
    _cleanup_free_ struct iface_listener *all = NULL;
    size_t i, count;

    if (iface_read_listeners(&all, &count, NULL) < 0)
        return false;
    for (i = 0; i < count; i++)
        if (all[i].port == port && !iface_is_loopback(&all[i].address))
            return true;
    return false;
}

/* ---- addresses and what lies below ---- */

static bool is_ip(const struct ifaddrs *one)
{
    return one->ifa_addr && one->ifa_flags & IFF_UP &&
           (one->ifa_addr->sa_family == AF_INET || one->ifa_addr->sa_family == AF_INET6);
}

static uint8_t count_bits(const uint8_t *mask, size_t n)
{
    unsigned int bits = 0;
    size_t i;

    for (i = 0; i < n; i++)
        bits += (unsigned int)__builtin_popcount(mask[i]);
    return (uint8_t)bits;
}

static uint8_t mask_length(const struct ifaddrs *one)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    if (!one->ifa_netmask)
        return one->ifa_addr->sa_family == AF_INET ? 32 : 128;
    if (one->ifa_addr->sa_family == AF_INET) {
        memcpy(&in, one->ifa_netmask, sizeof(in));
        return count_bits((const uint8_t *)&in.sin_addr, sizeof(in.sin_addr));
    }
    memcpy(&in6, one->ifa_netmask, sizeof(in6));
    return count_bits(in6.sin6_addr.s6_addr, sizeof(in6.sin6_addr));
}

static struct iface_address from_ifaddrs(const struct ifaddrs *one)
{
    struct iface_address address = {.on_loopback = one->ifa_flags & IFF_LOOPBACK};
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    /* "eth0:1" is an old way to write a second address of eth0. */
    snprintf(address.name, sizeof(address.name), "%.*s", (int)strcspn(one->ifa_name, ":"),
             one->ifa_name);
    address.ifindex = if_nametoindex(address.name);
    address.len = mask_length(one);
    if (one->ifa_addr->sa_family == AF_INET) {
        memcpy(&in, one->ifa_addr, sizeof(in));
        address.address = from_ip4(&in.sin_addr);
    } else {
        memcpy(&in6, one->ifa_addr, sizeof(in6));
        address.address = from_ip6(&in6.sin6_addr);
    }
    return address;
}

int iface_read_addresses(struct iface_address **ret_addresses, size_t *ret_count, struct err *e)
{
    struct ifaddrs *all = NULL, *one;
    struct iface_address *found;
    size_t count = 0;

    if (getifaddrs(&all) < 0)
        return err_set(e, -errno, EXIT_REFUSED, "cannot read the addresses of this host: %s",
                       strerror(errno));
    for (one = all; one; one = one->ifa_next)
        count += is_ip(one);
    found = calloc(count + 1, sizeof(*found));
    count = 0;
    for (one = all; found && one; one = one->ifa_next)
        if (is_ip(one))
            found[count++] = from_ifaddrs(one);
    freeifaddrs(all);
    if (!found)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
    *ret_addresses = found;
    *ret_count = count;
    return 0;
}

void iface_read_driver(const char *name, char ret_driver[IFACE_DRIVER_MAX])
{
    struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
    _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {.ifr_data = (void *)&info};

    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    if (fd < 0 || ioctl(fd, SIOCETHTOOL, &request) < 0)
        info.driver[0] = '\0';
    snprintf(ret_driver, IFACE_DRIVER_MAX, "%.32s", info.driver);
}

unsigned int iface_read_mtu(const char *name)
{
    _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {0};

    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    return fd < 0 || ioctl(fd, SIOCGIFMTU, &request) < 0 ? 0 : (unsigned int)request.ifr_mtu;
}

enum iface_kind iface_find_kind(const char *name)
{
    static const char *const uppers[] = {
        "802.1Q VLAN Support", "bridge", "bonding", "team", "macvlan", "ipvlan",
    };
    char driver[IFACE_DRIVER_MAX];
    size_t i;

    if (!strcmp(name, "lo"))
        return IFACE_INERT;
    iface_read_driver(name, driver);
    if (!strcmp(driver, "dummy"))
        return IFACE_INERT;
    for (i = 0; i < ARRAY_SIZE(uppers); i++)
        if (!strcmp(driver, uppers[i]))
            return IFACE_UPPER;
    return IFACE_OWN;
}

int iface_read_lower(const char *name, uint32_t ret_lower[IFACE_LOWER_MAX], size_t *ret_count)
{
    static const char prefix[] = "lower_";
    char path[sizeof("/sys/class/net/") + IF_NAMESIZE];
    const struct dirent *entry;
    size_t count = 0;
    int r = 0;
    DIR *dir;

    snprintf(path, sizeof(path), "/sys/class/net/%s", name);
    dir = opendir(path);
    if (!dir)
        return -errno;
    while (r == 0 && (entry = readdir(dir))) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
            continue;
        if (count == IFACE_LOWER_MAX)
            r = -E2BIG;
        else
            ret_lower[count++] = if_nametoindex(entry->d_name + strlen(prefix));
    }
    closedir(dir);
    *ret_count = count;
    return r;
}

/* ---- the host's own ports ---- */

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
