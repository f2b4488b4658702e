#!/bin/sh
# Turns a file into a C array: scripts/embed.sh FILE SYMBOL OUT.c OUT.h. The array ends with a zero byte that
# SYMBOL_len does not count, so text can be used as a string.
set -eu
file=$1 symbol=$2 source=$3 header=$4

# Written beside its place and moved: a second make at the same time never sees half a file.
trap 'rm -f "$source.$$" "$header.$$"' EXIT
{
    printf '/* Generated from %s. */\n#include "gen/%s"\n\nconst char %s[] = {\n' "$file" "$(basename "$header")" "$symbol"
    od -An -v -tu1 "$file" | awk '{ for (i = 1; i <= NF; i++) printf($i > 127 ? "(char)%d," : "%d,", $i); print "" }'
    printf '0};\nconst size_t %s_len = %s;\n' "$symbol" "$(wc -c <"$file" | tr -d ' ')"
} >"$source.$$"
# The header last: make takes one that is older than the source for out of date.
{
    printf '/* Generated from %s. */\n#pragma once\n#include <stddef.h>\n\n' "$file"
    printf 'extern const char %s[];\nextern const size_t %s_len;\n' "$symbol" "$symbol"
} >"$header.$$"
mv "$source.$$" "$source"
mv "$header.$$" "$header"
