/* SPDX-License-Identifier: GPL-2.0-only */
/* The ABI header with the kernel's integer types in front, as user code includes it. */
#ifndef SMTPGATE_TYPES_H
#define SMTPGATE_TYPES_H

#include <linux/types.h>

#include "smtpgate_abi.h"

#endif
