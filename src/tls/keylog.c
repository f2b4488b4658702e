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

void keylog_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}
