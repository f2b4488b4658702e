/* net.c: addresses as text, and listening descriptors. */
#include "ring/net.h"

#include "base/clock.h"
#include "ring/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

static const struct sockaddr_in *as_v4(const struct sockaddr *a)
{
    return (const struct sockaddr_in *)(const void *)a;
}

static const struct sockaddr_in6 *as_v6(const struct sockaddr *a)
{
    return (const struct sockaddr_in6 *)(const void *)a;
}

void net_ip_text(const struct sockaddr *address, char out[NET_ADDRESS_TEXT])
{
    const char *text = NULL;
    if (address->sa_family == AF_INET)
        text = inet_ntop(AF_INET, &as_v4(address)->sin_addr, out, NET_ADDRESS_TEXT);
    else if (address->sa_family == AF_INET6)
        text = inet_ntop(AF_INET6, &as_v6(address)->sin6_addr, out, NET_ADDRESS_TEXT);
    if (!text)
        snprintf(out, NET_ADDRESS_TEXT, "unknown");
}

void net_address_text(const struct sockaddr *address, char out[NET_ADDRESS_TEXT])
{
    char ip[NET_ADDRESS_TEXT];
    net_ip_text(address, ip);
    if (address->sa_family == AF_INET)
        snprintf(out, NET_ADDRESS_TEXT, "%.50s:%u", ip, net_port(address));
    else if (address->sa_family == AF_INET6)
        snprintf(out, NET_ADDRESS_TEXT, "[%.50s]:%u", ip, net_port(address));
    else
        snprintf(out, NET_ADDRESS_TEXT, "%s", ip);
}

unsigned net_port(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohs(as_v4(address)->sin_port);
    if (address->sa_family == AF_INET6)
        return ntohs(as_v6(address)->sin6_port);
    return 0;
}

bool net_is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohl(as_v4(address)->sin_addr.s_addr) >> 24 == 127;
    if (address->sa_family != AF_INET6)
        return false;
    const struct in6_addr *a = &as_v6(address)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
}

socklen_t net_address_length(const struct sockaddr *address)
{
    return address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

bool net_parse_literal(const char *host, unsigned port, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    struct in_addr v4;
    if (inet_pton(AF_INET, host, &v4) == 1) {
        struct sockaddr_in *a = (struct sockaddr_in *)out;
        a->sin_family = AF_INET;
        a->sin_port = htons((uint16_t)port);
        a->sin_addr = v4;
        return true;
    }
    if (!strchr(host, ':'))
        return false;
    /* getaddrinfo() knows scopes ("fe80::1%eth0"); with AI_NUMERICHOST it asks nobody. */
    struct addrinfo hints = {.ai_family = AF_INET6, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST}, *found;
    if (getaddrinfo(host, NULL, &hints, &found))
        return false;
    memcpy(out, found->ai_addr, found->ai_addrlen);
    ((struct sockaddr_in6 *)out)->sin6_port = htons((uint16_t)port);
    freeaddrinfo(found);
    return true;
}

static int listen_on(const struct addrinfo *a, bool reuse_port)
{
    static const int on = 1;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        (!reuse_port || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0) &&
        bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

enum err net_listen(int *out, const char *host, unsigned port, bool reuse_port, struct sockaddr_storage *bound)
{
    *out = -1;
    memset(bound, 0, sizeof *bound);
    char service[12];
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found;
    if (port > 65535 || getaddrinfo(host, service, &hints, &found))
        return ERR_RESOLVE;
    int fd = -1;
    enum err e = ERR_OK; /* the first address's error is the one that matters */
    for (const struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
        fd = listen_on(a, reuse_port);
        if (fd < 0 && !e)
            e = err_from_errno(errno);
    }
    freeaddrinfo(found);
    if (fd < 0)
        return e;
    socklen_t length = sizeof *bound;
    if (getsockname(fd, (struct sockaddr *)bound, &length) < 0) {
        e = err_from_errno(errno);
        close(fd);
        return e;
    }
    *out = fd;
    return ERR_OK;
}
