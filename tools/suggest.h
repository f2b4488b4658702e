/* suggest.h: the word that was probably meant. */
#ifndef RINGTAPE_TOOLS_SUGGEST_H
#define RINGTAPE_TOOLS_SUGGEST_H

#include <stddef.h>

/* Edits (insert, delete, replace, swap two neighbours) between two words; words are cut to 64 bytes. */
size_t suggest_distance(const char *a, const char *b);

/* The nearest of n words, or NULL when none is near enough to be meant. */
const char *suggest_nearest(const char *word, const char *const *candidates, size_t n);

#endif
