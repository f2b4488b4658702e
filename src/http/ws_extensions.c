/* ws_extensions.c: Sec-WebSocket-Extensions (RFC 6455 §9.1), as far as permessage-deflate (RFC 7692 §7.1) goes. What is not understood to the last
 * parameter is unknown: to guess what frames mean would be worse than to keep their bytes.
 * An element is walked by a cursor that holds what is left of it. */
#include "http/ws.h"

#include "base/util.h"
#include "http/token.h"

#define WS_EXTENSIONS SPAN("Sec-WebSocket-Extensions")

enum { WS_BITS_LEAST = 8, WS_BITS_MOST = 15 };

/* The parameters of one permessage-deflate, offered or agreed on. */
struct parameters {
    bool no_takeover[2], has_bits[2];
    unsigned bits[2]; /* 0: no value */
};

struct parameter {
    struct span name;
    bool has_value;
    uint8_t value[8]; /* unquoted; no longer one is of use */
    size_t value_n;
};

static void skip_blanks(struct span *s)
{
    while (s->n > 0 && (s->p[0] == ' ' || s->p[0] == '\t'))
        *s = span_from(*s, 1);
}

static bool take_token(struct span *s, struct span *token)
{
    size_t n = 0;
    while (n < s->n && token_char(s->p[n]))
        n++;
    *token = span_first(*s, n);
    *s = span_from(*s, n);
    skip_blanks(s);
    return n > 0;
}

static bool value_put(struct parameter *p, uint8_t c)
{
    if (p->value_n == sizeof p->value || !token_char(c))
        return false;
    p->value[p->value_n++] = c;
    return true;
}

/* A token, or a quoted string that holds one. */
static bool take_value(struct span *s, struct parameter *p)
{
    struct span token;
    bool good = true;
    if (s->n == 0 || s->p[0] != '"') {
        good = take_token(s, &token);
        for (size_t i = 0; good && i < token.n; i++)
            good = value_put(p, token.p[i]);
        return good;
    }
    *s = span_from(*s, 1);
    while (good && s->n > 0 && s->p[0] != '"') {
        if (s->p[0] == '\\')
            *s = span_from(*s, 1);
        good = s->n > 0 && value_put(p, s->p[0]);
        *s = span_from(*s, 1);
    }
    good = good && s->n > 0 && p->value_n > 0;
    *s = span_from(*s, 1);
    skip_blanks(s);
    return good;
}

/* ";" name ["=" value]. False: malformed. */
static bool take_parameter(struct span *s, struct parameter *p)
{
    *p = (struct parameter){.value_n = 0};
    if (s->p[0] != ';')
        return false;
    *s = span_from(*s, 1);
    skip_blanks(s);
    if (!take_token(s, &p->name))
        return false;
    p->has_value = s->n > 0 && s->p[0] == '=';
    if (!p->has_value)
        return true;
    *s = span_from(*s, 1);
    skip_blanks(s);
    return take_value(s, p);
}

/* Decimal without leading zeros, 8 to 15 (§7.1.2.1). */
static bool read_bits(const struct parameter *p, unsigned *out)
{
    uint64_t bits = 0;
    if (!p->has_value || p->value[0] == '0' || !span_to_u64(span_of(p->value, p->value_n), WS_BITS_MOST, &bits) ||
        bits < WS_BITS_LEAST)
        return false;
    *out = (unsigned)bits;
    return true;
}

static bool parameters_put(struct parameters *all, const struct parameter *p, bool offer)
{
    static const struct {
        const char *name;
        enum ws_side side;
        bool bits;
    } known[] = {
        {"client_no_context_takeover", WS_CLIENT, false},
        {"server_no_context_takeover", WS_SERVER, false},
        {"client_max_window_bits", WS_CLIENT, true},
        {"server_max_window_bits", WS_SERVER, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (!span_eq_nocase(span_str(known[i].name), p->name))
            continue;
        enum ws_side side = known[i].side;
        bool *seen = known[i].bits ? &all->has_bits[side] : &all->no_takeover[side];
        if (*seen)
            return false;
        *seen = true;
        if (!known[i].bits)
            return !p->has_value;
        /* Only the offer of a client may name its own bits without a number. */
        return (offer && side == WS_CLIENT && !p->has_value) || read_bits(p, &all->bits[side]);
    }
    return false;
}

/* Is this element permessage-deflate, and understood to its end? */
static bool read_element(struct span element, bool offer, struct parameters *out)
{
    struct span name;
    struct parameter p;
    *out = (struct parameters){.bits = {0, 0}};
    if (!take_token(&element, &name) || !span_eq_nocase(name, SPAN("permessage-deflate")))
        return false;
    while (element.n > 0)
        if (!take_parameter(&element, &p) || !parameters_put(out, &p, offer))
            return false;
    return true;
}

/* All elements of all lines of the field. */
struct elements {
    const struct headers *headers;
    size_t line;
    struct span rest;
};

static bool elements_next(struct elements *it, struct span *element)
{
    while (!token_list_next(&it->rest, element)) {
        struct header h;
        do {
            if (it->line == it->headers->n)
                return false;
            h = headers_at(it->headers, it->line++);
        } while (!span_eq_nocase(h.name, WS_EXTENSIONS));
        it->rest = h.value;
    }
    return true;
}

void ws_extensions_read(struct ws_extensions *out, const struct headers *response)
{
    struct elements it = {.headers = response};
    struct parameters agreed;
    struct span element;
    *out = (struct ws_extensions){.window_bits = {WS_BITS_MOST, WS_BITS_MOST}};
    while (elements_next(&it, &element)) {
        if (out->deflate || !read_element(element, false, &agreed)) {
            out->unknown = true;
            return;
        }
        out->deflate = true;
        for (int side = WS_CLIENT; side <= WS_SERVER; side++) {
            out->no_takeover[side] = agreed.no_takeover[side];
            if (agreed.has_bits[side])
                out->window_bits[side] = agreed.bits[side];
        }
    }
}

/* What of `agreed` still holds for a client that makes this offer (RFC 7692 §7.1.1, §7.1.2). */
static void parameters_fit(struct parameters *agreed, const struct parameters *offer)
{
    agreed->no_takeover[WS_SERVER] |= offer->no_takeover[WS_SERVER];
    if (offer->has_bits[WS_SERVER]) {
        unsigned most = agreed->has_bits[WS_SERVER] ? agreed->bits[WS_SERVER] : WS_BITS_MOST;
        agreed->has_bits[WS_SERVER] = true;
        agreed->bits[WS_SERVER] = MIN(most, offer->bits[WS_SERVER]);
    }
    if (!offer->has_bits[WS_CLIENT])
        agreed->has_bits[WS_CLIENT] = false;
    else if (offer->bits[WS_CLIENT] && agreed->has_bits[WS_CLIENT])
        agreed->bits[WS_CLIENT] = MIN(agreed->bits[WS_CLIENT], offer->bits[WS_CLIENT]);
}

static enum err parameters_write(const struct parameters *p, struct buf *out)
{
    static const char *const sides[] = {[WS_CLIENT] = "client", [WS_SERVER] = "server"};
    enum err e = buf_put_str(out, "permessage-deflate");
    for (int side = WS_SERVER; !e && side >= WS_CLIENT; side--)
        if (p->no_takeover[side])
            e = buf_printf(out, "; %s_no_context_takeover", sides[side]);
    for (int side = WS_SERVER; !e && side >= WS_CLIENT; side--)
        if (p->has_bits[side])
            e = buf_printf(out, "; %s_max_window_bits=%u", sides[side], p->bits[side]);
    return e;
}

static bool same_parameters(const struct parameters *a, const struct parameters *b)
{
    bool same = true;
    for (int side = WS_CLIENT; side <= WS_SERVER; side++)
        same &= a->no_takeover[side] == b->no_takeover[side] && a->has_bits[side] == b->has_bits[side] &&
                (!a->has_bits[side] || a->bits[side] == b->bits[side]);
    return same;
}

enum err ws_extensions_fit(struct headers *response, const struct headers *request)
{
    struct elements it = {.headers = response};
    struct parameters recorded, fitting, offer;
    struct span element, value;
    if (!headers_find(response, WS_EXTENSIONS, &value))
        return ERR_OK;
    bool deflate = elements_next(&it, &element) && read_element(element, false, &recorded);
    if (!deflate || elements_next(&it, &element)) {
        (void)headers_remove(response, WS_EXTENSIONS);
        return ERR_OK;
    }
    it = (struct elements){.headers = request};
    while (elements_next(&it, &element)) {
        if (!read_element(element, true, &offer))
            continue;
        fitting = recorded;
        parameters_fit(&fitting, &offer);
        if (same_parameters(&fitting, &recorded))
            return ERR_OK; /* spelt as it was */
        struct buf text = BUF_INIT;
        enum err e = parameters_write(&fitting, &text);
        if (!e)
            e = headers_set(response, WS_EXTENSIONS, buf_span(&text));
        buf_free(&text);
        return e;
    }
    (void)headers_remove(response, WS_EXTENSIONS);
    return ERR_OK;
}
