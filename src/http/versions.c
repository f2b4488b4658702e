/* versions.c: what http/ is linked with. */
#include "http/versions.h"

#include <llhttp.h>
#include <nghttp2/nghttp2.h>

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)

const char *http_llhttp_version(void)
{
    return TEXT(LLHTTP_VERSION_MAJOR) "." TEXT(LLHTTP_VERSION_MINOR) "." TEXT(LLHTTP_VERSION_PATCH);
}

const char *http_nghttp2_version(void)
{
    return nghttp2_version(0)->version_str;
}
