/* environment.h: the environment that makes CMD use the proxy and trust the CA (docs/commands/record.md). Nothing here touches our own
 * environment or the file system. */
#ifndef RINGTAPE_TOOLS_ENVIRONMENT_H
#define RINGTAPE_TOOLS_ENVIRONMENT_H

#include "base/buf.h"

struct environment_plan {
    const char *host; /* of the proxy, without brackets */
    unsigned port;
    const char *credentials; /* "user:password" for the proxy's URL; NULL: none */
    const char *bundle;      /* PEM: the system's roots and ours */
    const char *ca;          /* PEM: ours alone */
    const char *trust_store; /* PKCS#12 for the JVM */
    const char *trust_store_password;
    bool keep_no_proxy;
};

/* A new environment from `base` (NULL-terminated, "NAME=value"): the variables of the plan replace those of the same name. Fails with
 * ERR_NOMEM; *out is then NULL. */
MUST_USE enum err environment_build(char *const *base, const struct environment_plan *plan, char ***out);
void environment_free(char ***env);

/* For the manual: the name of the i-th variable and, in words, what it is set to; NULL after the last. Static. */
const char *environment_row(size_t i, const char **meaning);

/* The value of NAME, or NULL. */
const char *environment_get(char *const *env, const char *name);

#endif
