/* version.c: which liburing this was built with. Its headers tell from 2.4 on; before that the build has to (pkg-config). */
#include "ring/loop.h"

#include <liburing.h>

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)

const char *loop_library_version(void)
{
#if defined(IO_URING_VERSION_MAJOR) && defined(IO_URING_VERSION_MINOR)
    return TEXT(IO_URING_VERSION_MAJOR) "." TEXT(IO_URING_VERSION_MINOR);
#elif defined(RINGTAPE_LIBURING_VERSION)
    return RINGTAPE_LIBURING_VERSION;
#else
    return "before 2.4";
#endif
}
