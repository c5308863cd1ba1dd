/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A TCP packet as the benches send it: Ethernet, IP without options, TCP without options, right
 * checksums; its source is all zeroes, for flood.bpf.c to change.
 */
#ifndef BENCH_FRAMES_H
#define BENCH_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define FRAME_MAX 80
#define FRAME_SYN 0x02
#define FRAME_ACK 0x10

static inline uint32_t frame_sum(const uint8_t *bytes, size_t count)
{
    uint32_t sum = 0;

    for (size_t i = 0; i + 1 < count; i += 2)
        sum += (uint32_t)(bytes[i] << 8 | bytes[i + 1]);
    return sum;
}

static inline void frame_put_sum(uint8_t *at, uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    at[0] = (uint8_t)(~sum >> 8);
    at[1] = (uint8_t)~sum;
}

/* The receiver is 192.0.2.25 or 2001:db8::25 with that hardware address. Returns the length, or 0.
 */
static inline size_t frame_make(bool ip6, const char *mac, uint16_t port, uint8_t flags,
                                uint8_t frame[FRAME_MAX])
{
    static const uint8_t ip4_header[20] = {0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6,
                                           0,    0, 0, 0,  0, 0, 192,  0, 2,  25};
    static const uint8_t ip6_header[40] = {
        0x60, [5] = 20, [6] = 6, [7] = 64, [24] = 0x20, 0x01, 0x0d, [27] = 0xb8, [39] = 0x25,
    };
    size_t header = ip6 ? sizeof(ip6_header) : sizeof(ip4_header);
    uint8_t *ip = frame + 14, *tcp = ip + header;
    unsigned int byte[6];

    if (sscanf(mac, "%x:%x:%x:%x:%x:%x", &byte[0], &byte[1], &byte[2], &byte[3], &byte[4],
               &byte[5]) != 6)
        return 0;
    memset(frame, 0, FRAME_MAX);
    for (int i = 0; i < 6; i++)
        frame[i] = (uint8_t)byte[i];
    frame[6] = 2;
    frame[12] = ip6 ? 0x86 : 0x08;
    frame[13] = ip6 ? 0xdd : 0x00;
    memcpy(ip, ip6 ? ip6_header : ip4_header, header);
    if (!ip6)
        frame_put_sum(ip + 10, frame_sum(ip, header));
    tcp[0] = 0xc0;
    tcp[2] = (uint8_t)(port >> 8);
    tcp[3] = (uint8_t)port;
    tcp[12] = 0x50;
    tcp[13] = flags;
    tcp[14] = 0xff;
    frame_put_sum(tcp + 16,
                  frame_sum(tcp, 20) + 6 + 20 + frame_sum(ip + (ip6 ? 8 : 12), ip6 ? 32 : 8));
    return header + 34 < 60 ? 60 : header + 34;
}

#endif
