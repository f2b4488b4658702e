/* Fuzzes the ClientHello parser and the sniffer, which must agree; and, with the same bytes, the certificate reader. */
#include "base/buf.h"
#include "tls/hello.h"
#include "tls/tls.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hello h;
    struct span in = span_of(data, size);
    enum err sniffed = hello_sniff(in), parsed = hello_parse(in, &h);
    if (!parsed) {
        /* The sniffer is stricter about the record's version only. */
        if (sniffed && data[2] <= 4)
            abort();
        if (memchr(h.server_name, 0, sizeof h.server_name) == NULL || h.alpn.n > sizeof h.scratch)
            abort();
        for (size_t at = 0; at < h.alpn.n; at += 1u + h.alpn.p[at])
            if (!hello_offers(h.alpn, span_of(h.alpn.p + at + 1, h.alpn.p[at])))
                abort();
    }
    struct buf names = BUF_INIT;
    enum err e = tls_certificate_names(in, &names);
    if (!e && names.n > 0 && buf_span(&names).p[names.n - 1] != 0)
        abort();
    buf_free(&names);
    return 0;
}
