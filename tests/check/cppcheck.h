/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For cppcheck alone, which reads no system headers: what the macros from there come down to.
 * Nothing is built with this.
 */
#define LIBBPF_OPTS(type, name, ...) struct type name = {0}
#define SEC(name)
#define __uint(name, value)         int(*name)[value]
#define __type(name, value)         value *name
#define json_array_foreach(a, i, v) for (i = 0; (v = json_array_get(a, i)); i++)
