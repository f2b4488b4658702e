/* versions.h: the versions of the libraries that http/ owns; for --version. Static strings. */
#ifndef RINGTAPE_HTTP_VERSIONS_H
#define RINGTAPE_HTTP_VERSIONS_H

const char *http_llhttp_version(void);
const char *http_nghttp2_version(void);

#endif
