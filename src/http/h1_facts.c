/* h1_facts.c: one pass over the fields, then the rules. Here lie the checks that llhttp leaves to its users; framing that two readers
 * could take differently is refused, whatever llhttp made of it. */
#include "http/h1_facts.h"

#include "http/token.h"

static unsigned connection_facts(struct span value, bool *close, bool *keep_alive, bool *upgrade)
{
    struct span token;
    unsigned n = 0;
    for (; token_list_next(&value, &token); n++) {
        *close |= span_eq_nocase(token, SPAN("close"));
        *keep_alive |= span_eq_nocase(token, SPAN("keep-alive"));
        *upgrade |= span_eq_nocase(token, SPAN("upgrade"));
    }
    return n;
}

static void field_fact(struct h1_facts *facts, size_t index, struct header f)
{
    bool ignored = false;
    switch (f.name.n) { /* most names are of another length, and cost nothing */
    case 4:
        if (span_eq_nocase(f.name, SPAN("host"))) {
            facts->hosts++;
            facts->host = f.value;
            facts->host_index = index;
        }
        break;
    case 6:
        if (span_eq_nocase(f.name, SPAN("expect")))
            facts->expect_continue |= span_eq_nocase(f.value, SPAN("100-continue"));
        break;
    case 7:
        facts->upgrade |= span_eq_nocase(f.name, SPAN("upgrade"));
        break;
    case 10:
        if (span_eq_nocase(f.name, SPAN("connection"))) {
            facts->connections++;
            facts->options += connection_facts(f.value, &facts->close, &facts->keep_alive, &facts->upgrade_token);
        }
        break;
    case 14:
        if (span_eq_nocase(f.name, SPAN("content-length"))) {
            facts->lengths++;
            facts->length = f.value;
        }
        break;
    case 16:
        if (span_eq_nocase(f.name, SPAN("proxy-connection")))
            (void)connection_facts(f.value, &facts->proxy_close, &facts->proxy_keep_alive, &ignored);
        break;
    case 17:
        if (span_eq_nocase(f.name, SPAN("transfer-encoding"))) {
            facts->codings++;
            facts->coding = f.value;
        }
        break;
    default:
        break;
    }
}

void h1_facts_gather(struct h1_facts *facts, const struct headers *headers)
{
    *facts = (struct h1_facts){.hosts = 0};
    for (uint32_t i = 0; i < headers->n; i++)
        field_fact(facts, i, headers_at(headers, i));
}

static enum err refuse(const char **why, enum err e, const char *text)
{
    *why = text;
    return e;
}

/* A list that ends in chunked is clear framing around a coding that we do not undo; all others have no clear end. */
static enum err coding_refuse(struct span coding, const char **why)
{
    struct span element, last = SPAN_EMPTY;
    unsigned chunked = 0;
    while (token_list_next(&coding, &element)) {
        last = element;
        chunked += span_eq_nocase(element, SPAN("chunked"));
    }
    if (chunked == 1 && span_eq_nocase(last, SPAN("chunked")))
        return refuse(why, ERR_UNSUPPORTED, "a transfer coding other than chunked");
    return refuse(why, ERR_AMBIGUOUS, "Transfer-Encoding that does not end in one chunked");
}

enum err h1_facts_framing(const struct h1_facts *facts, bool http10, struct h1_message *message, const char **why)
{
    if (facts->codings > 0) {
        if (facts->lengths > 0)
            return refuse(why, ERR_AMBIGUOUS, "Content-Length and Transfer-Encoding");
        if (http10)
            return refuse(why, ERR_AMBIGUOUS, "Transfer-Encoding in HTTP/1.0");
        if (facts->codings > 1)
            return refuse(why, ERR_AMBIGUOUS, "more than one Transfer-Encoding");
        if (!span_eq_nocase(facts->coding, SPAN("chunked")))
            return coding_refuse(facts->coding, why);
        message->framing = H1_CHUNKED;
    }
    if (facts->lengths > 1)
        return refuse(why, ERR_AMBIGUOUS, "more than one Content-Length");
    if (facts->lengths == 1) {
        if (!span_to_u64(facts->length, UINT64_MAX, &message->content_length))
            return refuse(why, ERR_AMBIGUOUS, "Content-Length that is no number");
        message->framing = H1_LENGTH;
    }
    return ERR_OK;
}

bool h1_facts_persist(const struct h1_facts *facts, bool http10, bool to_proxy)
{
    bool close = facts->close, keep_alive = facts->keep_alive;
    if (facts->connections == 0 && to_proxy) { /* what clients of old said to proxies instead of Connection */
        close = facts->proxy_close;
        keep_alive = facts->proxy_keep_alive;
    }
    return http10 ? keep_alive && !close : !close;
}
