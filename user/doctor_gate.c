/* SPDX-License-Identifier: GPL-2.0-only */
/* See doctor_gate.h. */
#include "doctor_gate.h"

#include <stdio.h>
#include <string.h>

#include "text.h"

#define NAME_SHOWN (4 * IF_NAMESIZE)

/* Drivers without multi-buffer XDP want a frame and some room in one page. */
#define ONE_PAGE_MTU 3400

/* A difference that one would not notice. */
#define AHEAD_S 60

void doctor_add_unread(struct doctor_list *list, const char *what, bool denied)
{
    struct doctor_result *result =
        doctor_add(list, DOCTOR_UNKNOWN, 0, "%s: not known, as the gate %s be read", what,
                   denied ? "may not" : "or the store cannot");

    doctor_set_remedy(result, denied ? "sudo smtpgate doctor" : "smtpgate status");
}

/* ---- the kernel ---- */

static void add_features(struct doctor_list *list, const struct doctor_kernel *kernel)
{
    const struct gate_kernel *can = &kernel->can;
    struct doctor_result *result;

    if (can->xdp && can->tries && can->lru && can->per_cpu) {
        doctor_add(list, DOCTOR_OK, 0, "Linux %s has all that the gate needs; %s", kernel->release,
                   can->frags ? "multi-buffer XDP too"
                              : "no multi-buffer XDP (5.18 brought it), so drivers refuse native"
                                " mode with a large MTU");
        return;
    }
    result = doctor_add(list, DOCTOR_FAIL, 0, "Linux %s does not let the gate use%s%s%s%s",
                        kernel->release, can->xdp ? "" : " XDP programs,",
                        can->tries ? "" : " LPM tries,", can->lru ? "" : " LRU tables,",
                        can->per_cpu ? "" : " per-CPU counters,");
    if (result) /* the last comma */
        result->message[strlen(result->message) - 1] = '\0';
    doctor_set_remedy(result, "cat /sys/kernel/security/lockdown; grep BPF /boot/config-$(uname -r)"
                              "   # CONFIG_BPF_SYSCALL=y is wanted, and no lockdown");
}

void doctor_judge_kernel(struct doctor_list *list, const struct doctor_kernel *kernel)
{
    bool old = kernel->major < 5 || (kernel->major == 5 && kernel->minor < 10);
    struct doctor_result *result;

    if (!kernel->major) {
        result = doctor_add(list, DOCTOR_UNKNOWN, 0, "the kernel does not tell its version");
        doctor_set_remedy(result, "uname -r   # 5.10 or later?");
    } else if (old) {
        result = doctor_add(list, DOCTOR_FAIL, 0,
                            "Linux %s is older than 5.10, the oldest that the"
                            " gate is made for",
                            kernel->release);
        doctor_set_remedy(result, "apt full-upgrade && reboot   # or boot a newer kernel");
    } else if (!kernel->asked) {
        result = doctor_add(list, DOCTOR_UNKNOWN, 0,
                            "Linux %s: what it lets the gate use, it tells"
                            " root only",
                            kernel->release);
        doctor_set_remedy(result, "sudo smtpgate doctor");
    } else {
        add_features(list, kernel);
    }
}

void doctor_judge_jit(struct doctor_list *list, enum doctor_jit jit)
{
    struct doctor_result *result;

    switch (jit) {
    case DOCTOR_JIT_FIXED:
        doctor_add(list, DOCTOR_OK, 0,
                   "BPF programs are compiled if the kernel was built to do so: it shows no setting"
                   " for that here (net.core.bpf_jit_enable)");
        break;
    case DOCTOR_JIT_ON:
        doctor_add(list, DOCTOR_OK, 0, "BPF programs are compiled");
        break;
    case DOCTOR_JIT_OFF:
        result = doctor_add(list, DOCTOR_WARN, 0,
                            "BPF programs are interpreted, not compiled: each packet costs several"
                            " times as much");
        doctor_set_remedy(result, "sysctl -w net.core.bpf_jit_enable=1 && smtpgate sync   # and for"
                                  " every boot in /etc/sysctl.d/smtpgate.conf");
        break;
    case DOCTOR_JIT_UNKNOWN:
    default:
        result = doctor_add(list, DOCTOR_UNKNOWN, 0,
                            "whether BPF programs are compiled cannot be"
                            " read");
        doctor_set_remedy(result, "sudo sysctl net.core.bpf_jit_enable");
        break;
    }
}

/* ---- the pins ---- */

static void add_unsafe(struct doctor_list *list, const struct gate_pins *pins, const char *dir)
{
    struct doctor_result *result =
        doctor_add(list, DOCTOR_FAIL, 0,
                   "%s belongs to user %u or can be written to by others, who could take the gate"
                   " off",
                   dir, pins->uid);

    doctor_set_remedy(result, "chown -R root:root %s && chmod -R go-w %s", dir, dir);
}

static void add_broken(struct doctor_list *list, const struct gate_pins *pins)
{
    bool both = pins->missing[0] && pins->odd[0];
    struct doctor_result *result = doctor_add(
        list, pins->decides || !pins->filled ? DOCTOR_FAIL : DOCTOR_WARN, 0,
        "of the gate's maps in the kernel%s%s%s%s%s%s", pins->missing[0] ? " are missing: " : "",
        pins->missing, both ? ";" : "", pins->odd[0] ? " are of another version: " : "", pins->odd,
        pins->missing[0] || pins->odd[0] ? "" : " none was filled to its end");

    doctor_set_remedy(result, "smtpgate sync");
}

void doctor_judge_pins(struct doctor_list *list, const struct gate_pins *pins, bool wanted,
                       const char *dir)
{
    char shown[256];
    struct doctor_result *result;

    text_escape(dir, shown, sizeof(shown));
    if (!pins->safe) {
        add_unsafe(list, pins, shown);
    } else if (!pins->present && !wanted) {
        doctor_add(list, DOCTOR_OK, 0, "nothing is pinned, and nothing is to be");
    } else if (!pins->on_bpffs) {
        result = doctor_add(list, DOCTOR_FAIL, 0,
                            "%s is not on a bpffs, where the kernel keeps the gate", shown);
        doctor_set_remedy(result, "mount -t bpf -o mode=0700 bpf /sys/fs/bpf && smtpgate sync");
    } else if (!pins->present) {
        result = doctor_add(list, DOCTOR_FAIL, 0, "nothing of the gate is pinned below %s", shown);
        doctor_set_remedy(result, "smtpgate sync");
    } else if (pins->missing[0] || pins->odd[0] || !pins->filled) {
        add_broken(list, pins);
    } else {
        doctor_add(list, DOCTOR_OK, 0, "all maps are pinned below %s, which only root can change",
                   shown);
    }
}

/* ---- links ---- */

/* "eth0", escaped; the name that the device bears now. */
static const char *label(const struct doctor_link *link, char buf[NAME_SHOWN])
{
    const struct sync_iface *iface = &link->iface;

    return text_escape(iface->link.state == GATE_LINK_HERE ? iface->link.name : iface->row.name,
                       buf, NAME_SHOWN);
}

/* For a line to paste. */
static const char *pasted(const char *name)
{
    return doctor_is_plain(name) ? name : "IFACE";
}

static struct doctor_result *add_off(struct doctor_list *list, const struct doctor_link *link,
                                     const char *why)
{
    char shown[NAME_SHOWN];
    struct doctor_result *result =
        doctor_add(list, DOCTOR_FAIL, 0, "%s: the gate is not on it: %s", label(link, shown), why);

    if (!link->iface.open_here)
        doctor_set_remedy(result, "smtpgate detach %s   # if it is gone for good",
                          pasted(link->iface.row.name));
    else if (link->other.id)
        doctor_set_remedy(result,
                          "bpftool net show dev %s   # stop what put it there, then: smtpgate sync",
                          pasted(link->iface.row.name));
    else
        doctor_set_remedy(result, "smtpgate sync");
    return result;
}

static struct doctor_result *add_absent(struct doctor_list *list, const struct doctor_link *link)
{
    bool dead = link->iface.link.state == GATE_LINK_DEAD;
    char shown[64], why[192];

    if (!link->iface.open_here)
        return add_off(list, link, dead ? "the device was deleted" : "there is no such device");
    if (!link->other.id)
        return add_off(list, link,
                       dead ? "the device was deleted and made anew, or the link cut by force"
                            : "its link is gone");
    snprintf(why, sizeof(why), "another XDP program is there (%s, id %u)",
             link->other.name[0] ? text_escape_ascii(link->other.name, shown, sizeof(shown))
                                 : "without a name",
             link->other.id);
    return add_off(list, link, why);
}

/* The gate followed a renamed device, and what is called as that one was has none. */
static struct doctor_result *add_namesake(struct doctor_list *list, const struct doctor_link *link,
                                          const char *shown)
{
    char was[NAME_SHOWN];
    struct doctor_result *result;

    text_escape(link->iface.row.name, was, sizeof(was));
    result = doctor_add(list, DOCTOR_WARN, 0,
                        "%s: the gate's program is there; another device is called %s now, as this"
                        " one was, and has no gate",
                        shown, was);
    doctor_set_remedy(result,
                      "smtpgate attach %s   # or, if that one is to stay without: smtpgate"
                      " sync",
                      pasted(link->iface.row.name));
    return result;
}

/* A link that lives, and which program it has. */
static struct doctor_result *add_live(struct doctor_list *list, const struct doctor_link *link)
{
    const struct gate_link *live = &link->iface.link;
    char shown[NAME_SHOWN], was[NAME_SHOWN];
    struct doctor_result *result;
    bool renamed = live->state == GATE_LINK_HERE && strcmp(live->name, link->iface.row.name) != 0;

    label(link, shown);
    if (!live->in_force) {
        result = doctor_add(list, DOCTOR_FAIL, 0,
                            "%s: the program there does not decide by the pinned list", shown);
    } else if (!live->current) {
        result = doctor_add(list, DOCTOR_WARN, 0,
                            "%s: the program there decides by the pinned list, but what it counts"
                            " goes elsewhere",
                            shown);
    } else if (live->state == GATE_LINK_HERE && link->iface.open_here) {
        return add_namesake(list, link, shown);
    } else {
        text_escape(link->iface.row.name, was, sizeof(was));
        return doctor_add(
            list, DOCTOR_OK, 0,
            "%s: the gate's program is there, with the pinned"
            " list%s%s%s%s",
            shown, renamed ? " (the device was " : "", renamed ? was : "", renamed ? ")" : "",
            live->state == GATE_LINK_ELSEWHERE ? " (the device is in another network namespace)"
                                               : "");
    }
    doctor_set_remedy(result, "smtpgate sync");
    return result;
}

void doctor_judge_link(struct doctor_list *list, const struct doctor_link *link)
{
    const struct sync_iface *iface = &link->iface;
    struct doctor_result *result;

    if (iface->link.state == GATE_LINK_ABSENT || iface->link.state == GATE_LINK_DEAD)
        result = add_absent(list, link);
    else if (iface->link.state == GATE_LINK_ELSEWHERE && iface->open_here)
        result = add_off(list, link,
                         "the device with the gate was moved to another network"
                         " namespace, and a new one has its name");
    else
        result = add_live(list, link);
    doctor_set_interface(result,
                         iface->link.state == GATE_LINK_HERE ? iface->link.name : iface->row.name);
}

/* ---- native or generic ---- */

/* Devices of software that see no frame before the kernel does; NULL: it is another. */
static const char *without_native(const struct doctor_link *link)
{
    static const char *const drivers[] = {
        "802.1Q VLAN Support", "bridge", "dummy", "ipvlan", "macvlan", "team", "vxlan"};
    size_t i;

    if (link->inert)
        return "loopback";
    for (i = 0; i < ARRAY_SIZE(drivers); i++)
        if (!strcmp(link->driver, drivers[i]))
            return drivers[i];
    return NULL;
}

static void add_fallback(struct doctor_list *list, const struct doctor_link *link, bool frags,
                         const char *shown)
{
    char driver[64], mtu[96] = "";
    struct doctor_result *result;

    text_escape_ascii(link->driver, driver, sizeof(driver));
    if (link->mtu > ONE_PAGE_MTU)
        snprintf(mtu, sizeof(mtu), "; its MTU of %u is a likely cause%s", link->mtu,
                 frags ? "" : ", with a kernel before 5.18 a sure one");
    result = doctor_add(list, DOCTOR_WARN, 0,
                        "%s: generic mode, which costs more for each packet, as the driver%s%s has"
                        " no native XDP or refused it as it is set (MTU, LRO, queues)%s",
                        shown, driver[0] ? " " : "", driver, mtu);
    doctor_set_remedy(result,
                      "smtpgate attach %s --mode generic   # if it is to stay so; or see:"
                      " ethtool -k %s; ip link show %s",
                      pasted(link->iface.link.name), pasted(link->iface.link.name),
                      pasted(link->iface.link.name));
    doctor_set_interface(result, link->iface.link.name);
}

void doctor_judge_xdp(struct doctor_list *list, const struct doctor_link *link, bool frags)
{
    const struct gate_link *live = &link->iface.link;
    const char *virtual = without_native(link);
    struct doctor_result *result = NULL;
    char shown[NAME_SHOWN];

    if (live->state != GATE_LINK_HERE)
        return;
    label(link, shown);
    if (live->xdp == GATE_XDP_NATIVE)
        result = doctor_add(list, DOCTOR_OK, 0, "%s: native mode", shown);
    else if (link->iface.row.mode == STORE_IFACE_GENERIC)
        result = doctor_add(list, DOCTOR_OK, 0,
                            "%s: generic mode, as it was asked for (--mode generic)", shown);
    else if (virtual)
        result = doctor_add(list, DOCTOR_OK, 0,
                            "%s: generic mode, as such a device (%s) has no other", shown, virtual);
    else
        add_fallback(list, link, frags, shown);
    doctor_set_interface(result, live->name);
}

/* ---- the list ---- */

/* "1 prefix is missing, 2 prefixes are too many": how the kernel's list differs, without zeros. */
static const char *difference_words(const struct sync_check *check, char *buf, size_t size)
{
    const struct {
        uint64_t count;
        const char *one, *many;
    } parts[] = {
        {check->missing, "prefix is missing", "prefixes are missing"},
        {check->surplus, "prefix is too many", "prefixes are too many"},
        {check->differing, "prefix ends at another time", "prefixes end at another time"},
    };
    size_t i, used = 0;

    buf[0] = '\0';
    for (i = 0; i < ARRAY_SIZE(parts) && used < size; i++)
        if (parts[i].count)
            used += (size_t)snprintf(buf + used, size - used, "%s%llu %s", used ? ", " : "",
                                     (unsigned long long)parts[i].count,
                                     parts[i].count == 1 ? parts[i].one : parts[i].many);
    return buf;
}

static void add_out_of_step(struct doctor_list *list, const struct doctor_step *step)
{
    const struct sync_check *check = &step->check;
    char words[160];
    struct doctor_result *result;

    if (!check->present)
        result = doctor_add(list, DOCTOR_FAIL, 0, "the list is not in the kernel");
    else if (!check->same_store)
        result =
            doctor_add(list, DOCTOR_FAIL, 0, "the list in the kernel was made from another store");
    else if (!step->equal && check->counted)
        result = doctor_add(list, DOCTOR_FAIL, 0, "the kernel's list is not the store's: %s",
                            difference_words(check, words, sizeof(words)));
    else if (!step->equal)
        result = doctor_add(list, DOCTOR_FAIL, 0,
                            "the kernel's list is not the store's, of %llu prefixes (all compared,"
                            " by a digest)",
                            (unsigned long long)step->prefixes);
    else if (!check->settings)
        result = doctor_add(list, DOCTOR_FAIL, 0,
                            "ports or mode in the kernel are not those of the store");
    else
        result = doctor_add(list, DOCTOR_FAIL, 0,
                            "the kernel has not all of the store's last change in force: it was"
                            " interrupted");
    doctor_set_remedy(result, check->present && !check->same_store
                                  ? "smtpgate sync -y   # if --state is the right one"
                                  : "smtpgate sync");
}

void doctor_judge_step(struct doctor_list *list, const struct doctor_step *step)
{
    const struct sync_check *check = &step->check;
    struct doctor_result *result;

    if (step->error.message[0]) {
        result = doctor_add(list, step->error.code == EXIT_DENIED ? DOCTOR_UNKNOWN : DOCTOR_FAIL, 0,
                            "the kernel's list beside the store's: %s", step->error.message);
        doctor_set_remedy(result, "%s", step->error.hint[0] ? step->error.hint : "smtpgate status");
    } else if (!step->needed) {
        doctor_add(list, DOCTOR_OK, 0, "no list is in the kernel, and none is to be");
    } else if (step->busy) {
        result = doctor_add(list, DOCTOR_UNKNOWN, 0,
                            "a change is under way, so the kernel's list"
                            " and the store's were not compared");
        doctor_set_remedy(result, "smtpgate doctor   # when it has ended");
    } else if (check->present && check->same_store && check->applied && check->settings &&
               step->equal) {
        doctor_add(list, DOCTOR_OK, 0,
                   "the kernel's list is the store's: all of %llu %s with their ends, ports, mode",
                   (unsigned long long)step->prefixes, step->prefixes == 1 ? "prefix" : "prefixes");
    } else {
        add_out_of_step(list, step);
    }
}

void doctor_judge_clock(struct doctor_list *list, const struct doctor_clock *clock)
{
    struct doctor_result *result;

    if (!clock->deadlines) {
        doctor_add(list, DOCTOR_OK, 0, "nothing has an end");
    } else if (clock->behind) {
        result = doctor_add(list, DOCTOR_FAIL, 0,
                            "this host's clock was set forward, and ends come late: they are kept"
                            " by the time before that");
        doctor_set_remedy(result, "smtpgate sync");
    } else if (clock->ahead > AHEAD_S) {
        result = doctor_add(list, DOCTOR_WARN, 0,
                            "this host's clock was set back: ends are kept by a time that it will"
                            " reach in %lld s only",
                            (long long)clock->ahead);
        doctor_set_remedy(result, "date   # if it is right: smtpgate sync -y");
    } else {
        doctor_add(list, DOCTOR_OK, 0, "ends are kept by this host's clock");
    }
}

/* ---- what is done with who is not listed ---- */

static void judge_off(struct doctor_list *list, const struct doctor_mode *mode, const char *reaches)
{
    struct doctor_result *result;

    if (!mode->accounts_only) {
        result =
            doctor_add(list, DOCTOR_WARN, 0, "the gate is off, as the list is empty: %s", reaches);
        doctor_set_remedy(result, "smtpgate add WHO   # the first entry turns it on");
        return;
    }
    result = doctor_add(list, DOCTOR_WARN, 0,
                        "the gate is off, as only accounts have lists and the others may come from"
                        " anywhere: %s; %s",
                        reaches,
                        mode->accounts_drops ? "the lists hold only if the relay asks smtpgate"
                                               " policy"
                                             : "and the lists of accounts are not enforced");
    doctor_set_remedy(result, "smtpgate set others nowhere   # or list who else may come:"
                              " smtpgate add WHO");
}

static void judge_enforce(struct doctor_list *list, const struct doctor_mode *mode)
{
    struct doctor_result *result;

    if (mode->plan.until) {
        result = doctor_add(list, DOCTOR_WARN, 0,
                            "the mode is enforce on trial, until %s; then it is %s, unless it is"
                            " confirmed",
                            mode->end, mode_name(mode->plan.then));
        doctor_set_remedy(result, "smtpgate confirm");
    } else if (mode->entries && mode->ended == mode->entries) {
        result = doctor_add(list, DOCTOR_WARN, 0,
                            "the mode is enforce, and all entries have ended: every source is"
                            " dropped");
        doctor_set_remedy(result, "smtpgate list --expired   # then, to let one in again: smtpgate"
                                  " edit WHO --forever");
    } else {
        doctor_add(list, DOCTOR_OK, 0,
                   "the mode is enforce: sources that are not listed are dropped where the"
                   " gate stands");
    }
}

void doctor_judge_mode(struct doctor_list *list, const struct doctor_mode *mode)
{
    const struct mode_plan *plan = &mode->plan;
    char ports[DOCTOR_PORTS_MAX], reaches[DOCTOR_PORTS_MAX + 64];
    struct doctor_result *result;

    snprintf(reaches, sizeof(reaches), "every source reaches port%s %s",
             mode->ports.count == 1 ? "" : "s",
             doctor_print_ports(mode->ports.items, mode->ports.count, ", ", ports));
    switch (plan->mode) {
    case SG_MODE_OFF:
        judge_off(list, mode, reaches);
        break;
    case SG_MODE_OBSERVE:
        result = doctor_add(list, DOCTOR_WARN, 0, "the mode is observe: %s", reaches);
        doctor_set_remedy(result, "smtpgate preview; smtpgate enforce   # who would be cut off;"
                                  " then cut");
        break;
    case SG_MODE_PAUSED:
        result = doctor_add(list, DOCTOR_WARN, 0, "the mode is paused, until %s, then %s: %s",
                            mode->end, mode_name(plan->then), reaches);
        doctor_set_remedy(result, "smtpgate enforce   # to end it now");
        break;
    case SG_MODE_ENFORCE:
    default:
        judge_enforce(list, mode);
        break;
    }
}
