/* alloc.c: malloc behind one door, with a countdown for fault injection. The countdown is per thread and is the
 * one variable of static storage here: a test sets it, nothing else does. */
#include "base/alloc.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local long mem_countdown = -1;

static bool mem_may_allocate(void)
{
    if (mem_countdown < 0)
        return true;
    if (mem_countdown == 0)
        return false;
    mem_countdown--;
    return true;
}

void *mem_new(size_t count, size_t size)
{
    return mem_may_allocate() ? calloc(count ? count : 1, size ? size : 1) : NULL;
}

void *mem_resize(void *block, size_t count, size_t size)
{
    if (!mem_may_allocate())
        return NULL;
    return reallocarray(block, count ? count : 1, size ? size : 1);
}

char *mem_strdup(const void *bytes, size_t n)
{
    if (n == SIZE_MAX)
        return NULL;
    char *copy = mem_new(n + 1, 1);
    if (copy && n)
        memcpy(copy, bytes, n);
    return copy;
}

void mem_free(void *block)
{
    free(block);
}

void mem_fail_after(long countdown)
{
    mem_countdown = countdown;
}
