/* alloc.h: the allocator that every layer of src/ uses, so that a test can make the n-th allocation fail.
 * Thread-safe. Production code never sets the hook. */
#ifndef RINGTAPE_BASE_ALLOC_H
#define RINGTAPE_BASE_ALLOC_H

#include <stddef.h>

/* Zeroed memory for count objects of size bytes, or NULL (overflow too). Free with mem_free(). */
void *mem_new(size_t count, size_t size);

/* As realloc() of count * size bytes; the old block stays valid on failure. Not zeroed. */
void *mem_resize(void *block, size_t count, size_t size);

/* A terminated copy of n bytes, or NULL. */
char *mem_strdup(const void *bytes, size_t n);

void mem_free(void *block);

/* Test hook, per thread: after `countdown` more successful allocations on this thread each further one fails;
 * a negative value turns it off. */
void mem_fail_after(long countdown);

#endif
