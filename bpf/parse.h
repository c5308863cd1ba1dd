/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From the bytes of a frame to what the gate must know: which TCP port it is for and from whom, or
 * the reason why that is not so or cannot be known.
 *
 * Pure: no maps, no list, no mode, no idea which ports are guarded. The same code runs in the
 * kernel and, for unit tests and fuzzing, on the host; only the accessor below exists twice.
 *
 * What decides every doubt: a packet that Linux could deliver as TCP must be seen as TCP here. So
 * the parser is lenient where Linux is (lying lengths, unknown options, odd orders of headers) and
 * where it must give up (depth, end of the data) it says so and never guesses "not TCP".
 *
 * Offsets are __u64 throughout: 32-bit values cost shifts at -mcpu=v2 behind which old verifiers
 * lose the bounds that were checked.
 */
#ifndef SMTPGATE_PARSE_H
#define SMTPGATE_PARSE_H

#include <stdbool.h>
#include <stddef.h>

#include "smtpgate_abi.h"

/*
 * VLAN tags walked. Linux takes off any number of tags with VID 0; nobody sends more than two or
 * three.
 */
#define VLAN_MAX 8

/*
 * Extension headers walked. Linux walks any number; nobody sends more than three or four. Sixteen
 * of the longest (2 KiB) end below 64 KiB, which the packing of offsets below relies on.
 */
#define CHAIN_MAX 16

/* parse() found a TCP header with its ports; the caller knows which ports are guarded. */
#define PARSED_TCP SG_REASON_COUNT

struct flow {
    enum sg_family family;
    bool has_source;
    bool syn;        /* SYN without ACK; false also when the flags could not be read */
    __u16 dport;     /* host order; with PARSED_TCP only */
    __u64 len;       /* of the whole frame */
    __u8 source[16]; /* network order; IPv4: the first four */
} __attribute__((aligned(8)));

/*
 * The accessor. Copies len bytes at off, false when they are not all there.
 *
 * Functions marked STEP are functions of their own in the kernel, taking the context and numbers
 * and returning a number: the verifier (from 5.6 on) checks each once for any argument, instead of
 * once for every combination of tags, headers and options by which it can be reached.
 */
#ifdef __bpf__

#define PKT  struct xdp_md
#define STEP __attribute__((noinline))

/*
 * Set by the loader before loading, when the kernel knows multi-buffer frames (5.18). False, the
 * verifier never looks at the calls of helpers that an older kernel does not have.
 */
const volatile bool sg_frags = false;

/* Verifiers track packet offsets below 64 KiB only; no header that is walked begins beyond. */
#define PKT_OFF_MAX 0xff00

/*
 * Headers begin at even offsets and no better. Both architectures load any word from anywhere, and
 * the kernel says so of itself (HAVE_EFFICIENT_UNALIGNED_ACCESS); the compiler would go by bytes.
 */
#define ANY_ALIGNMENT(pointer) __builtin_assume_aligned(pointer, 8)

static __always_inline bool pkt_load(PKT *pkt, __u64 off, void *dst, __u64 len)
{
    void *data = (void *)(long)pkt->data;
    void *data_end = (void *)(long)pkt->data_end;

    if (off > PKT_OFF_MAX)
        return false;
    if (data + off + len <= data_end) {
        __builtin_memcpy(dst, ANY_ALIGNMENT(data + off), len);
        return true;
    }
    return sg_frags && bpf_xdp_load_bytes(pkt, off, dst, len) == 0;
}

/* The first len bytes, or NULL when they are not all in one piece. */
static __always_inline const __u8 *pkt_start(PKT *pkt, __u64 len)
{
    const void *data = (const void *)(long)pkt->data;

    return data + len <= (const void *)(long)pkt->data_end ? data : NULL;
}

static __always_inline __u64 pkt_first_len(PKT *pkt)
{
    return (__u64)pkt->data_end - pkt->data;
}

static __always_inline __u64 pkt_len(PKT *pkt)
{
    return sg_frags ? bpf_xdp_get_buff_len(pkt) : pkt_first_len(pkt);
}

#else /* host */

#include <string.h>

struct pkt {
    const __u8 *data;
    __u64 len;
};

#define PKT                    struct pkt
#define STEP                   static inline
#define ANY_ALIGNMENT(pointer) (pointer)

static inline bool pkt_load(PKT *pkt, __u64 off, void *dst, __u64 len)
{
    if (off > pkt->len || len > pkt->len - off)
        return false;
    memcpy(dst, pkt->data + off, len);
    return true;
}

static inline const __u8 *pkt_start(PKT *pkt, __u64 len)
{
    return len <= pkt->len ? pkt->data : NULL;
}

static inline __u64 pkt_first_len(PKT *pkt)
{
    return pkt->len;
}

static inline __u64 pkt_len(PKT *pkt)
{
    return pkt->len;
}

#endif

/*
 * What was found where, in one number, as that is all a STEP can return: the EtherType or protocol
 * in bits 0-15, the offset of its header in bits 16-31, and PLACE_FIRST when the header lies in a
 * first fragment. Offset 0 says that there is no such header, and bits 0-15 hold the reason.
 */
#define PLACE(off, type)   ((__u64)(off) << 16 | (__u64)(type))
#define PLACE_NONE(reason) PLACE(0, SG_REASON_##reason)
#define PLACE_FIRST        (1ULL << 32)
#define PLACE_OFF(place)   ((place) >> 16 & 0xffff)
#define PLACE_TYPE(place)  ((place)&0xffff)

static inline __u16 be16(const __u8 bytes[2])
{
    __u16 number;

    __builtin_memcpy(&number, ANY_ALIGNMENT(bytes), sizeof(number));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    number = __builtin_bswap16(number);
#endif
    return number;
}

/* IEEE 802.3: two addresses of 6 bytes, then the type. A tag (802.1Q) is a type and 2 bytes more.
 */
#define ETH_TYPE_AT  12
#define ETH_TYPE_LEN 2
#define VLAN_TAG_LEN 4
#define ETHER_IP4    0x0800
#define ETHER_IP6    0x86dd
#define ETHER_8021Q  0x8100
#define ETHER_8021AD 0x88a8

static inline bool is_tag(__u64 type)
{
    return type == ETHER_8021Q || type == ETHER_8021AD;
}

/* From the first tag to the header behind the last. */
STEP __u64 parse_tags(PKT *pkt)
{
    __u64 off = ETH_TYPE_AT + ETH_TYPE_LEN;

    for (int tags = 0; tags < VLAN_MAX; tags++) {
        __u8 bytes[ETH_TYPE_LEN] __attribute__((aligned(2)));

        off += VLAN_TAG_LEN;
        if (!pkt_load(pkt, off - ETH_TYPE_LEN, bytes, sizeof(bytes)))
            return PLACE_NONE(l2_cut);
        if (!is_tag(be16(bytes)))
            return PLACE(off, be16(bytes));
    }
    return PLACE_NONE(vlan_depth);
}

/*
 * The header behind the Ethernet header and its tags. A tag or header cut short holds no IP packet;
 * one tag too many may hold one, and Linux would find it.
 */
static __always_inline __u64 parse_ethernet(PKT *pkt)
{
    __u8 bytes[ETH_TYPE_LEN] __attribute__((aligned(2)));

    if (!pkt_load(pkt, ETH_TYPE_AT, bytes, sizeof(bytes)))
        return PLACE_NONE(l2_cut);
    if (is_tag(be16(bytes)))
        return parse_tags(pkt);
    return PLACE(ETH_TYPE_AT + ETH_TYPE_LEN, be16(bytes));
}

/* Assigned Internet protocol numbers. */
#define PROTO_HOPOPTS  0  /* RFC 8200, 4.3 */
#define PROTO_TCP      6  /* RFC 9293 */
#define PROTO_ROUTING  43 /* RFC 8200, 4.4 */
#define PROTO_FRAGMENT 44 /* RFC 8200, 4.5 */
#define PROTO_AH       51 /* RFC 4302 */
#define PROTO_DSTOPTS  60 /* RFC 8200, 4.6 */

/* The headers behind which Linux may find TCP, as sets of protocol numbers below 64. */
#define CHAIN_IP4 (1ULL << PROTO_AH)
#define CHAIN_IP6                                                                                \
    (1ULL << PROTO_HOPOPTS | 1ULL << PROTO_ROUTING | 1ULL << PROTO_FRAGMENT | 1ULL << PROTO_AH | \
     1ULL << PROTO_DSTOPTS)

static inline bool chain_goes_on(__u64 chain, __u64 type)
{
    return type < 64 && (chain >> type & 1);
}

/* What all extension headers begin with; they are never shorter than 8 bytes. */
struct extension {
    __u8 next;
    __u8 len; /* in units of 8 bytes beyond the first 8; AH: 4 beyond 8; fragment: reserved */
    __u8 fragment[2]; /* fragment header: offset in units of 8 bytes << 3, reserved, more to come */
} __attribute__((aligned(2)));

#define EXTENSION_MIN  8
#define FRAGMENT6_OFF  0xfff8
#define FRAGMENT6_MORE 0x0001

static inline __u64 extension_len(__u64 type, const struct extension *ext)
{
    if (type == PROTO_FRAGMENT)
        return EXTENSION_MIN;
    if (type == PROTO_AH)
        return ((__u64)ext->len + 2) * 4;
    return ((__u64)ext->len + 1) * 8;
}

/*
 * From the extension header at place to the header behind it.
 *
 * end is where the data ends, packet_end where the packet ends by its own length field. Once a
 * fragment header has said that this is a first fragment, the packet's own end counts: it is that
 * many bytes that Linux reassembles, and a trailer behind them, read as headers, could say
 * anything. Elsewhere Linux believes the length field less (0 with a hop-by-hop header is a
 * jumbogram), and what it cuts off it does not deliver.
 */
STEP __u64 parse_extension(PKT *pkt, __u64 place, __u64 end, __u64 packet_end)
{
    __u64 first = place & PLACE_FIRST;
    __u64 type = PLACE_TYPE(place);
    __u64 off = PLACE_OFF(place);
    struct extension ext;

    if (first && end > packet_end)
        end = packet_end;
    if (off + EXTENSION_MIN > end || !pkt_load(pkt, off, &ext, sizeof(ext)))
        goto cut;
    if (type == PROTO_FRAGMENT) {
        if (be16(ext.fragment) & FRAGMENT6_OFF)
            return PLACE_NONE(later_fragment);
        if (be16(ext.fragment) & FRAGMENT6_MORE) {
            first = PLACE_FIRST;
            if (end > packet_end)
                end = packet_end;
        }
    }
    off += extension_len(type, &ext);
    if (off > end)
        goto cut;
    return PLACE(off, ext.next) | first;
cut:
    return first ? PLACE_NONE(first_fragment) : PLACE_NONE(chain_cut);
}

/* From the first extension header, at place, to the header behind the last. */
STEP __u64 parse_chain(PKT *pkt, __u64 chain, __u64 place, __u64 end, __u64 packet_end)
{
    for (int headers = 0; headers < CHAIN_MAX; headers++) {
        place = parse_extension(pkt, place, end, packet_end);
        if (!PLACE_OFF(place) || !chain_goes_on(chain, PLACE_TYPE(place)))
            return place;
    }
    return PLACE_NONE(chain_long);
}

/* RFC 791, 3.1 */
struct ip4 {
    __u8 version_ihl;
    __u8 tos;
    __u8 total_len[2];
    __u8 id[2];
    __u8 fragment[2];
    __u8 ttl;
    __u8 protocol;
    __u8 check[2];
    __u8 source[4];
    __u8 dest[4];
} __attribute__((aligned(4)));

#define FRAGMENT4_OFF  0x1fff /* without the reserved bit, which Linux ignores */
#define FRAGMENT4_MORE 0x2000

/* The upper header of the IPv4 packet at off; *end is brought in when it is a first fragment. */
static __always_inline __u64 parse_ip4(PKT *pkt, struct flow *flow, __u64 off, __u64 *end)
{
    struct ip4 ip;
    __u64 header_len, place;
    __u16 fragment;

    flow->family = SG_FAMILY_IP4;
    if (!pkt_load(pkt, off, &ip, sizeof(ip)) || ip.version_ihl >> 4 != 4)
        return PLACE_NONE(ip_header);
    __builtin_memcpy(flow->source, ip.source, sizeof(ip.source));
    flow->has_source = true;

    header_len = (ip.version_ihl & 0xf) * 4;
    if (header_len < sizeof(ip) || off + header_len > *end)
        return PLACE_NONE(ip_header);
    fragment = be16(ip.fragment);
    if (fragment & FRAGMENT4_OFF)
        return PLACE_NONE(later_fragment);
    place = PLACE(off + header_len, ip.protocol);
    if (fragment & FRAGMENT4_MORE) {
        place |= PLACE_FIRST;
        if (*end > off + be16(ip.total_len))
            *end = off + be16(ip.total_len);
    }
    if (!chain_goes_on(CHAIN_IP4, ip.protocol))
        return place;
    return parse_chain(pkt, CHAIN_IP4, place, *end, *end);
}

/* RFC 8200, 3 */
struct ip6 {
    __u8 version_class_label[4];
    __u8 payload_len[2];
    __u8 next;
    __u8 hop_limit;
    __u8 source[16];
    __u8 dest[16];
} __attribute__((aligned(8)));

/* The upper header of the IPv6 packet at off; *end is brought in when it is a first fragment. */
static __always_inline __u64 parse_ip6(PKT *pkt, struct flow *flow, __u64 off, __u64 *end)
{
    struct ip6 ip;
    __u64 place, packet_end;

    flow->family = SG_FAMILY_IP6;
    if (!pkt_load(pkt, off, &ip, sizeof(ip)) || ip.version_class_label[0] >> 4 != 6)
        return PLACE_NONE(ip_header);
    __builtin_memcpy(flow->source, ip.source, sizeof(ip.source));
    flow->has_source = true;

    off += sizeof(ip);
    place = PLACE(off, ip.next);
    if (!chain_goes_on(CHAIN_IP6, ip.next))
        return place;
    packet_end = off + be16(ip.payload_len);
    place = parse_chain(pkt, CHAIN_IP6, place, *end, packet_end);
    if (place & PLACE_FIRST && *end > packet_end)
        *end = packet_end;
    return place;
}

/* RFC 9293, 3.1 */
struct tcp_ports {
    __u8 source[2];
    __u8 dest[2];
} __attribute__((aligned(4)));

#define TCP_FLAGS_AT 13
#define TCP_SYN      0x02
#define TCP_ACK      0x10

static __always_inline enum sg_reason parse_tcp(PKT *pkt, struct flow *flow, __u64 place, __u64 end)
{
    __u64 off = PLACE_OFF(place);
    struct tcp_ports ports;
    __u8 flags;

    if (off + sizeof(ports) > end || !pkt_load(pkt, off, &ports, sizeof(ports)))
        return place & PLACE_FIRST ? SG_REASON_first_fragment : SG_REASON_tcp_cut;
    flow->dport = be16(ports.dest);
    if (off + TCP_FLAGS_AT < end && pkt_load(pkt, off + TCP_FLAGS_AT, &flags, sizeof(flags)))
        flow->syn = (flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
    return (enum sg_reason)PARSED_TCP;
}

static __always_inline enum sg_reason parse_any(PKT *pkt, struct flow *flow)
{
    __u64 place = parse_ethernet(pkt);
    __u64 off = PLACE_OFF(place);
    __u64 end = flow->len;

    if (!off)
        return (enum sg_reason)PLACE_TYPE(place);
    if (PLACE_TYPE(place) == ETHER_IP4)
        place = parse_ip4(pkt, flow, off, &end);
    else if (PLACE_TYPE(place) == ETHER_IP6)
        place = parse_ip6(pkt, flow, off, &end);
    else
        return SG_REASON_not_ip;
    if (!PLACE_OFF(place))
        return (enum sg_reason)PLACE_TYPE(place);
    if (PLACE_TYPE(place) != PROTO_TCP)
        return SG_REASON_other_protocol;
    return parse_tcp(pkt, flow, place, end);
}

/*
 * Nearly every frame: no tags, no options or extension headers, no fragment, TCP, and all that is
 * read of it in the first piece of memory. Everything stands in its place then, and one look at the
 * length is enough. What these two say is what parse_any() says (tests/unit/test_parse.c), which
 * has the last word on any other frame. False: it is one.
 */
#define PLAIN_IP       (ETH_TYPE_AT + ETH_TYPE_LEN)
#define PLAIN4_LEN     (PLAIN_IP + sizeof(struct ip4) + TCP_FLAGS_AT + 1)
#define PLAIN6_LEN     (PLAIN_IP + sizeof(struct ip6) + TCP_FLAGS_AT + 1)
#define IP4_NO_OPTIONS 0x45

/* No driver goes on to a second buffer with less than this in the first. */
#define FIRST_MIN 512

/*
 * To ask the kernel how long the frame is costs half of what all the rest does. A short one that
 * has the whole IP packet in its first buffer has no other (a card that splits headers from data
 * finds data in the packet, or none in the frame). A packet of length 0 is one that is too long for
 * its field (RFC 2675, and what Linux makes of segments).
 */
static __always_inline __u64 plain_len(PKT *pkt, __u64 ip_len)
{
    __u64 first = pkt_first_len(pkt);

    if (first < FIRST_MIN && ip_len && PLAIN_IP + ip_len <= first)
        return first;
    return pkt_len(pkt);
}

static __always_inline void take_tcp(const __u8 *tcp, struct flow *flow)
{
    flow->dport = be16(tcp + offsetof(struct tcp_ports, dest));
    flow->syn = (tcp[TCP_FLAGS_AT] & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

static __always_inline bool parse_plain4(PKT *pkt, struct flow *flow)
{
    const __u8 *frame = pkt_start(pkt, PLAIN4_LEN);
    const __u8 *ip;

    if (!frame)
        return false;
    ip = frame + PLAIN_IP;
    if (ip[offsetof(struct ip4, version_ihl)] != IP4_NO_OPTIONS ||
        ip[offsetof(struct ip4, protocol)] != PROTO_TCP ||
        be16(ip + offsetof(struct ip4, fragment)) & (FRAGMENT4_OFF | FRAGMENT4_MORE))
        return false;
    flow->len = plain_len(pkt, be16(ip + offsetof(struct ip4, total_len)));
    flow->family = SG_FAMILY_IP4;
    flow->has_source = true;
    __builtin_memcpy(flow->source, ANY_ALIGNMENT(ip + offsetof(struct ip4, source)), 4);
    take_tcp(ip + sizeof(struct ip4), flow);
    return true;
}

static __always_inline bool parse_plain6(PKT *pkt, struct flow *flow)
{
    const __u8 *frame = pkt_start(pkt, PLAIN6_LEN);
    const __u8 *ip;
    __u64 ip_len;

    if (!frame)
        return false;
    ip = frame + PLAIN_IP;
    if (ip[0] >> 4 != 6 || ip[offsetof(struct ip6, next)] != PROTO_TCP)
        return false;
    ip_len = be16(ip + offsetof(struct ip6, payload_len));
    flow->len = plain_len(pkt, ip_len ? sizeof(struct ip6) + ip_len : 0);
    flow->family = SG_FAMILY_IP6;
    flow->has_source = true;
    __builtin_memcpy(flow->source, ANY_ALIGNMENT(ip + offsetof(struct ip6, source)), 16);
    take_tcp(ip + sizeof(struct ip6), flow);
    return true;
}

/*
 * The whole: a reason of class PASS or UNCLEAR (never other_port), or PARSED_TCP. flow is zeroed by
 * the caller; family and source are filled as far as they could be read, whatever comes back.
 */
static __always_inline enum sg_reason parse(PKT *pkt, struct flow *flow)
{
    const __u8 *ethernet = pkt_start(pkt, PLAIN_IP);
    __u16 type = ethernet ? be16(ethernet + ETH_TYPE_AT) : 0;

    if ((type == ETHER_IP4 && parse_plain4(pkt, flow)) ||
        (type == ETHER_IP6 && parse_plain6(pkt, flow)))
        return (enum sg_reason)PARSED_TCP;
    flow->len = pkt_len(pkt);
    return parse_any(pkt, flow);
}

#endif /* SMTPGATE_PARSE_H */
