/* wrapper.c: runs CMD. It stays in our process group, so that the terminal treats both alike; posix_spawn is used because the
 * recorder's thread runs already, and because it says exactly why an exec failed. */
#include "tools/wrapper.h"

#include "base/alloc.h"
#include "base/util.h"
#include "tools/environment.h"
#include "tools/output.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROOTS_BYTES_MAX = 16 << 20 };

static const char store_password[] = "ringtape";

/* The files in the folder. name, file */
#define WRAPPER_FILES(X)                                                                                               \
    X(FILE_BUNDLE, "bundle.pem")                                                                                       \
    X(FILE_CA, "ca.pem")                                                                                               \
    X(FILE_STORE, "trust.p12")

enum wrapper_file {
#define FILE_ENUM(name, file) name,
    WRAPPER_FILES(FILE_ENUM)
#undef FILE_ENUM
        FILE_COUNT
};

static const char *const file_names[] = {
#define FILE_NAME(name, file) [name] = file,
    WRAPPER_FILES(FILE_NAME)
#undef FILE_NAME
};

struct wrapper {
    pid_t pid;    /* 0: not started, or reaped */
    char *folder; /* NULL: not made */
    char *files[FILE_COUNT];
    int exit_code;
};

/* The user's own bundle if there is one, else the system's. */
static enum err read_roots(struct buf *out)
{
    static const char *const places[] = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                         "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"};
    const char *own = getenv("SSL_CERT_FILE");
    enum err e = own && *own ? input_file(own, ROOTS_BYTES_MAX, out) : ERR_NOT_FOUND;
    for (size_t i = 0; e && e != ERR_NOMEM && i < ARRAY_LEN(places); i++) {
        buf_clear(out);
        e = input_file(places[i], ROOTS_BYTES_MAX, out);
    }
    if (e && e != ERR_NOMEM) { /* a system without roots: ours alone */
        buf_clear(out);
        e = ERR_OK;
    }
    const char *node = getenv("NODE_EXTRA_CA_CERTS");
    size_t before = buf_span(out).n;
    if (!e && node && *node && (buf_put_byte(out, '\n') || input_file(node, ROOTS_BYTES_MAX, out)))
        out->n = before; /* unreadable: Node itself only warns */
    return e;
}

static enum err make_folder(struct wrapper *w, struct buf *problem)
{
    const char *parent = getenv("TMPDIR");
    struct buf path = BUF_INIT;
    if (!parent || !*parent)
        parent = "/tmp";
    char *absolute = realpath(parent, NULL); /* CMD may work in another folder */
    enum err e = buf_printf(&path, "%s/ringtape-XXXXXX", absolute ? absolute : parent);
    free(absolute);
    const char *text = e ? NULL : buf_cstr(&path);
    w->folder = text ? mem_strdup(text, strlen(text)) : NULL;
    e = w->folder ? ERR_OK : ERR_NOMEM;
    if (!e && !mkdtemp(w->folder)) { /* mode 0700 */
        e = err_from_errno(errno);
        if (buf_printf(problem, "cannot make a temporary folder %s: %s", text, err_text(e)))
            buf_clear(problem);
        mem_free(w->folder);
        w->folder = NULL;
    }
    buf_free(&path);
    for (size_t i = 0; !e && i < FILE_COUNT; i++) {
        size_t n = strlen(w->folder) + 1 + strlen(file_names[i]) + 1;
        w->files[i] = mem_new(n, 1);
        if (!w->files[i])
            e = ERR_NOMEM;
        else
            snprintf(w->files[i], n, "%s/%s", w->folder, file_names[i]);
    }
    return e;
}

static enum err write_files(struct wrapper *w, const struct ca *ca, struct buf *problem)
{
    struct buf roots = BUF_INIT, store = BUF_INIT;
    struct span pem = ca_certificate_pem(ca);
    enum err e = read_roots(&roots);
    if (!e)
        e = ca_trust_store(ca, buf_span(&roots), store_password, &store);
    if (!e)
        e = output_file(w->files[FILE_STORE], 0600, buf_span(&store), problem);
    if (!e)
        e = output_file(w->files[FILE_CA], 0600, pem, problem);
    if (!e && buf_span(&roots).n > 0)
        e = buf_put_byte(&roots, '\n');
    if (!e)
        e = buf_put(&roots, pem);
    if (!e)
        e = output_file(w->files[FILE_BUNDLE], 0600, buf_span(&roots), problem);
    buf_free(&roots);
    buf_free(&store);
    return e;
}

/* With CMD's own limit of open files: a child has what its parent has at the moment of the fork. */
static int spawn(pid_t *pid, const struct wrapper_options *options, char **env)
{
    posix_spawnattr_t attr;
    int error = posix_spawnattr_init(&attr);
    if (error)
        return error;
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attr, options->mask);
    posix_spawnattr_setsigdefault(&attr, options->defaults);
    struct rlimit ours;
    bool lowered = getrlimit(RLIMIT_NOFILE, &ours) == 0 && setrlimit(RLIMIT_NOFILE, options->files) == 0;
    error = posix_spawnp(pid, options->command[0], NULL, &attr, options->command, env);
    if (lowered)
        setrlimit(RLIMIT_NOFILE, &ours);
    posix_spawnattr_destroy(&attr);
    return error;
}

static enum err start_failed(int error, const char *name, int *exit_code, struct buf *problem)
{
    const char *why = error == ENOEXEC ? "neither a program nor a script that begins with #!" : strerror(error);
    *exit_code = error == ENOENT ? 127 : error == EAGAIN || error == ENOMEM ? 125 : 126;
    if (error == ENOENT && !strchr(name, '/'))
        why = "command not found";
    if (buf_printf(problem, "cannot run %s: %s", name, why))
        buf_clear(problem);
    return err_from_errno(error);
}

/* 0, or the errno with which an exec of it would fail. */
static int try_program(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return errno == ENOTDIR ? ENOENT : errno;
    return !S_ISREG(st.st_mode) || access(path, X_OK) < 0 ? EACCES : 0;
}

enum err wrapper_find(const char *name, int *exit_code, struct buf *problem)
{
    const char *path = getenv("PATH");
    int error = strchr(name, '/') ? try_program(name) : ENOENT;
    struct buf candidate = BUF_INIT;
    enum err e = ERR_OK;
    if (*name && !strchr(name, '/'))
        for (const char *at = path ? path : "/bin:/usr/bin"; !e && error && at;) {
            const char *end = strchrnul(at, ':');
            buf_clear(&candidate);
            e = buf_printf(&candidate, "%.*s%s%s", (int)(end - at), at, end > at ? "/" : "", name);
            const char *text = e ? NULL : buf_cstr(&candidate);
            int found = text ? try_program(text) : ENOMEM;
            error =
                found == 0 || found != ENOENT ? found : error; /* as execvp does: not executable outweighs not there */
            at = *end ? end + 1 : NULL;
        }
    buf_free(&candidate);
    return error ? start_failed(error, name, exit_code, problem) : e;
}

enum err wrapper_create(struct wrapper **out, const struct ca *ca, struct buf *problem)
{
    struct wrapper *w = *out = mem_new(1, sizeof *w);
    enum err e = w ? make_folder(w, problem) : ERR_NOMEM;
    if (!e)
        e = write_files(w, ca, problem);
    if (e)
        wrapper_destroy(out);
    return e;
}

enum err wrapper_start(struct wrapper *w, const struct wrapper_options *options, int *exit_code, struct buf *problem)
{
    *exit_code = 125;
    char **env = NULL;
    struct environment_plan plan = {
        .host = options->host,
        .port = options->port,
        .credentials = options->credentials,
        .bundle = w->files[FILE_BUNDLE],
        .ca = w->files[FILE_CA],
        .trust_store = w->files[FILE_STORE],
        .trust_store_password = store_password,
        .keep_no_proxy = options->keep_no_proxy,
    };
    enum err e = environment_build(environ, &plan, &env);
    int error = e ? 0 : spawn(&w->pid, options, env);
    environment_free(&env);
    if (error) {
        w->pid = 0;
        e = start_failed(error, options->command[0], exit_code, problem);
    }
    return e;
}

void wrapper_signal(struct wrapper *w, int number)
{
    if (w->pid > 0)
        kill(w->pid, number);
}

bool wrapper_ended(struct wrapper *w, int *exit_code)
{
    int status;
    pid_t pid;
    /* Orphans too: as the first process of a container we are the one that inherits them. */
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == w->pid) {
            w->pid = 0;
            w->exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        }
    *exit_code = w->exit_code;
    return w->pid == 0;
}

void wrapper_destroy(struct wrapper **w)
{
    if (!*w)
        return;
    for (size_t i = 0; i < FILE_COUNT; i++) {
        if ((*w)->files[i])
            unlink((*w)->files[i]);
        mem_free((*w)->files[i]);
    }
    if ((*w)->folder)
        rmdir((*w)->folder);
    mem_free((*w)->folder);
    mem_free(*w);
    *w = NULL;
}
