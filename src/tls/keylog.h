/* keylog.h: the NSS key log (SSLKEYLOGFILE), which lets Wireshark read a capture. */
#ifndef RINGTAPE_TLS_KEYLOG_H
#define RINGTAPE_TLS_KEYLOG_H

#include "base/err.h"

/* Opens for appending, making it with mode 0600. Fails as err_from_errno() says. */
MUST_USE enum err keylog_open(const char *path, int *fd);

/* Appends one line in one write, so that lines of several threads and processes do not mix. */
void keylog_line(int fd, const char *line);

enum { KEYLOG_RANDOM_BYTES = 32, KEYLOG_SECRET_BYTES = 48 };

/* The one line of a TLS 1.2 connection. */
void keylog_tls12(int fd, const unsigned char random[KEYLOG_RANDOM_BYTES],
                  const unsigned char secret[KEYLOG_SECRET_BYTES]);

void keylog_close(int *fd);

#endif
