/* util.h: the few macros that everything uses. */
#ifndef RINGTAPE_BASE_UTIL_H
#define RINGTAPE_BASE_UTIL_H

#include <stddef.h>

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define BIT(n)                          (1u << (n))
#define MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define MAX(a, b)                       ((a) > (b) ? (a) : (b))

#endif
