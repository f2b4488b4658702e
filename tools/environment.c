/* environment.c: a table of variables, each with where its value comes from. */
#include "tools/environment.h"

#include "base/alloc.h"
#include "base/util.h"

#include <stdio.h>

/* name, value */
#define ENVIRONMENT_TABLE(X)                                                                                           \
    X("http_proxy", PROXY)                                                                                             \
    X("https_proxy", PROXY)                                                                                            \
    X("HTTP_PROXY", PROXY)                                                                                             \
    X("HTTPS_PROXY", PROXY)                                                                                            \
    X("all_proxy", PROXY)                                                                                              \
    X("ALL_PROXY", PROXY)                                                                                              \
    X("RINGTAPE_PROXY", PROXY)                                                                                         \
    X("RINGTAPE_CA", CA)                                                                                               \
    X("SSL_CERT_FILE", BUNDLE)                                                                                         \
    X("CURL_CA_BUNDLE", BUNDLE)                                                                                        \
    X("REQUESTS_CA_BUNDLE", BUNDLE)                                                                                    \
    X("NODE_EXTRA_CA_CERTS", BUNDLE)                                                                                   \
    X("GIT_SSL_CAINFO", BUNDLE)                                                                                        \
    X("CARGO_HTTP_CAINFO", BUNDLE)                                                                                     \
    X("PIP_CERT", BUNDLE)                                                                                              \
    X("AWS_CA_BUNDLE", BUNDLE)                                                                                         \
    X("DENO_CERT", BUNDLE)                                                                                             \
    X("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", BUNDLE)                                                                      \
    X("npm_config_cafile", BUNDLE)                                                                                     \
    X("NODE_USE_ENV_PROXY", ONE)                                                                                       \
    X("JAVA_TOOL_OPTIONS", JAVA)                                                                                       \
    X("no_proxy", NO_PROXY)                                                                                            \
    X("NO_PROXY", NO_PROXY)

/* name, what it is in the manual */
#define VALUE_TABLE(X)                                                                                                 \
    X(PROXY, "the proxy's URL, with the name and password of --proxy-auth when there are some")                        \
    X(CA, "a file with the CA's certificate (PEM)")                                                                    \
    X(BUNDLE, "a file with the system's roots (or those of your own SSL_CERT_FILE) and the CA's certificate (PEM)")    \
    X(ONE, "1")                                                                                                        \
    X(JAVA, "what it was, then the proxy, no exceptions from it, and a trust store (PKCS#12)")                         \
    X(NO_PROXY, "taken out, unless --keep-no-proxy is given")

enum environment_value {
#define VALUE_ENUM(name, meaning) name,
    VALUE_TABLE(VALUE_ENUM)
#undef VALUE_ENUM
};

static const struct {
    const char *name;
    enum environment_value value;
} variables[] = {
#define ENVIRONMENT_ROW(name, value) {name, value},
    ENVIRONMENT_TABLE(ENVIRONMENT_ROW)
#undef ENVIRONMENT_ROW
};

const char *environment_row(size_t i, const char **meaning)
{
    static const char *const meanings[] = {
#define VALUE_MEANING(name, meaning) [name] = meaning,
        VALUE_TABLE(VALUE_MEANING)
#undef VALUE_MEANING
    };
    if (i >= ARRAY_LEN(variables))
        return NULL;
    *meaning = meanings[variables[i].value];
    return variables[i].name;
}

static bool names(const char *entry, const char *name)
{
    size_t n = strlen(name);
    return strncmp(entry, name, n) == 0 && entry[n] == '=';
}

const char *environment_get(char *const *env, const char *name)
{
    for (; *env; env++)
        if (names(*env, name))
            return *env + strlen(name) + 1;
    return NULL;
}

/* RFC 3986 §3.2.1; the first ':' stays, it parts user and password. */
static enum err put_credentials(struct buf *out, const char *text)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    enum err e = ERR_OK;
    for (bool parted = false; !e && *text; text++) {
        if (strchr(plain, *text) || (*text == ':' && !parted))
            e = buf_put_byte(out, (uint8_t)*text);
        else
            e = buf_printf(out, "%%%02X", (unsigned)(uint8_t)*text);
        parted = parted || *text == ':';
    }
    return e ? e : buf_put_byte(out, '@');
}

static enum err put_proxy(struct buf *out, const struct environment_plan *plan)
{
    enum err e = buf_put_str(out, "http://");
    if (!e && plan->credentials)
        e = put_credentials(out, plan->credentials);
    if (e)
        return e;
    return buf_printf(out, strchr(plan->host, ':') ? "[%s]:%u" : "%s:%u", plan->host, plan->port);
}

/* The user's own options stay in front: of two that say the same, Java takes the last. */
static enum err put_java(struct buf *out, const struct environment_plan *plan, const char *before)
{
    const char *quote = strpbrk(plan->trust_store, " \t") ? "\"" : "";
    enum err e = before && *before ? buf_printf(out, "%s ", before) : ERR_OK;
    static const char *const schemes[] = {"http", "https"};
    for (size_t i = 0; !e && i < ARRAY_LEN(schemes); i++)
        e = buf_printf(out, "-D%s.proxyHost=%s -D%s.proxyPort=%u ", schemes[i], plan->host, schemes[i], plan->port);
    if (!e && !plan->keep_no_proxy)
        e = buf_put_str(out, "-Dhttp.nonProxyHosts= ");
    if (e)
        return e;
    return buf_printf(out,
                      "%s-Djavax.net.ssl.trustStore=%s%s -Djavax.net.ssl.trustStoreType=PKCS12 "
                      "-Djavax.net.ssl.trustStorePassword=%s",
                      quote, plan->trust_store, quote, plan->trust_store_password);
}

static enum err put_value(struct buf *out, enum environment_value value, const struct environment_plan *plan,
                          const char *before)
{
    switch (value) {
    case PROXY:
        return put_proxy(out, plan);
    case CA:
        return buf_put_str(out, plan->ca);
    case BUNDLE:
        return buf_put_str(out, plan->bundle);
    case ONE:
        return buf_put_byte(out, '1');
    case JAVA:
        return put_java(out, plan, before);
    case NO_PROXY:
        break;
    }
    return ERR_OK;
}

static bool replaced(const char *entry, const struct environment_plan *plan)
{
    for (size_t i = 0; i < ARRAY_LEN(variables); i++)
        if (names(entry, variables[i].name))
            return variables[i].value != NO_PROXY || !plan->keep_no_proxy;
    return false;
}

static enum err add(char **env, size_t *n, struct span entry)
{
    env[*n] = mem_strdup(entry.p, entry.n);
    return env[*n] ? (++*n, ERR_OK) : ERR_NOMEM;
}

enum err environment_build(char *const *base, const struct environment_plan *plan, char ***out)
{
    size_t count = 0, n = 0;
    while (base[count])
        count++;
    char **env = mem_new(count + ARRAY_LEN(variables) + 1, sizeof *env);
    enum err e = env ? ERR_OK : ERR_NOMEM;
    for (size_t i = 0; !e && i < count; i++)
        if (!replaced(base[i], plan))
            e = add(env, &n, span_str(base[i]));
    struct buf entry = BUF_INIT;
    for (size_t i = 0; !e && i < ARRAY_LEN(variables); i++) {
        if (variables[i].value == NO_PROXY) /* left out, not empty: some programs take empty for a pattern */
            continue;
        buf_clear(&entry);
        e = buf_printf(&entry, "%s=", variables[i].name);
        if (!e)
            e = put_value(&entry, variables[i].value, plan, environment_get(base, variables[i].name));
        if (!e)
            e = add(env, &n, buf_span(&entry));
    }
    buf_free(&entry);
    if (e)
        environment_free(&env);
    *out = env;
    return e;
}

void environment_free(char ***env)
{
    for (char **at = *env; at && *at; at++)
        mem_free(*at);
    mem_free(*env);
    *env = NULL;
}
