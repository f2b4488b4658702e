/* keylog.c: appends lines to the key log; a full disk costs lines, never a connection. */
#include "tls/keylog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum err keylog_open(const char *path, int *fd)
{
    *fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
    return *fd < 0 ? err_from_errno(errno) : ERR_OK;
}

void keylog_line(int fd, const char *line)
{
    char text[512];
    int n = snprintf(text, sizeof text, "%s\n", line);
    if (n > 0 && (size_t)n < sizeof text) {
        ssize_t written = write(fd, text, (size_t)n);
        (void)written;
    }
    explicit_bzero(text, sizeof text);
}

static char *put_hex(char *at, const unsigned char *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        *at++ = digits[bytes[i] >> 4];
        *at++ = digits[bytes[i] & 15];
    }
    return at;
}

void keylog_tls12(int fd, const unsigned char random[KEYLOG_RANDOM_BYTES],
                  const unsigned char secret[KEYLOG_SECRET_BYTES])
{
    static const char label[] = "CLIENT_RANDOM ";
    char line[sizeof label + 2 * KEYLOG_RANDOM_BYTES + 1 + 2 * KEYLOG_SECRET_BYTES];
    memcpy(line, label, sizeof label - 1);
    char *at = put_hex(line + sizeof label - 1, random, KEYLOG_RANDOM_BYTES);
    *at++ = ' ';
    at = put_hex(at, secret, KEYLOG_SECRET_BYTES);
    *at = '\0';
    keylog_line(fd, line);
    explicit_bzero(line, sizeof line);
}

void keylog_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}
