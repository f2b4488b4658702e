/* page.h: the filter that answers http://ringtape/ and requests that were sent to this port as if it were a web server: what this
 * is, the CA to download (PEM, DER, PKCS#12), and live counters. Internal to proxy/. */
#ifndef RINGTAPE_PROXY_PAGE_H
#define RINGTAPE_PROXY_PAGE_H

#include "flow/exchange.h"
#include "tls/ca.h"

struct worker;

struct page {
    struct filter filter;
    const struct worker *worker;
};

#define PAGE_HOST "ringtape"

void page_init(struct page *page, const struct worker *worker);

/* An exchange with this mark is answered by the page whatever its host: the client took us for the web server. */
#define PAGE_MISDIRECTED ((void *)1)

#endif
