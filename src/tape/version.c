/* version.c: which SQLite this is. */
#include "tape/tape.h"

#include <sqlite3.h>

const char *tape_library_version(void)
{
    return sqlite3_libversion();
}
