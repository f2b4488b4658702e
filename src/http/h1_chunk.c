/* h1_chunk.c: chunk framing, byte by byte where it is framing, span by span where it is data. Ours rather than llhttp's, whose
 * version 8.1 takes neither padded sizes ("5  ", which servers send) nor a second extension after one with a value. What is taken
 * has one reading only: hexadecimal digits, then nothing but padding or extensions up to CRLF.
 *
 *   SIZE ──> PAD ──> EXTENSION ──> SIZE_LF ──> DATA ──> DATA_CR ──> DATA_LF ──> SIZE
 *     └───────┴───────────────────────^ └──> (last)                                    */
#include "http/h1_chunk.h"

#include "base/limits.h"
#include "base/util.h"

enum { CHUNK_SIZE, CHUNK_PAD, CHUNK_EXTENSION, CHUNK_SIZE_LF, CHUNK_DATA, CHUNK_DATA_CR, CHUNK_DATA_LF };
enum { CHUNK_DIGITS_MAX = 16 };

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum err chunk_refuse(const char **why, enum err e, const char *text)
{
    *why = text;
    return e;
}

static enum err chunk_size(struct h1_chunk *chunk, uint8_t c, const char **why)
{
    int digit = chunk->state == CHUNK_SIZE ? hex_value(c) : -1;
    if (digit >= 0) {
        if (++chunk->digits > CHUNK_DIGITS_MAX)
            return chunk_refuse(why, ERR_AMBIGUOUS, "chunk size with too many digits");
        chunk->left = chunk->left << 4 | (unsigned)digit;
        return ERR_OK;
    }
    if (chunk->digits == 0)
        return chunk_refuse(why, ERR_AMBIGUOUS, "chunk size without a digit");
    if (c == '\r')
        chunk->state = CHUNK_SIZE_LF;
    else if (c == ';')
        chunk->state = CHUNK_EXTENSION;
    else if (c == ' ' || c == '\t')
        chunk->state = CHUNK_PAD;
    else
        return chunk_refuse(why, ERR_AMBIGUOUS, c == '\n' ? "bare LF in chunk framing" : "invalid chunk size");
    return ERR_OK;
}

static enum err chunk_extension(struct h1_chunk *chunk, uint8_t c, const char **why)
{
    if (c == '\r')
        chunk->state = CHUNK_SIZE_LF;
    else if ((c < ' ' && c != '\t') || c == 0x7f)
        return chunk_refuse(why, ERR_AMBIGUOUS,
                            c == '\n' ? "bare LF in chunk framing" : "control character in a chunk extension");
    return ERR_OK;
}

static enum err chunk_line_end(struct h1_chunk *chunk, uint8_t c, bool *last, const char **why)
{
    if (c != '\n')
        return chunk_refuse(why, ERR_AMBIGUOUS, "bare CR in chunk framing");
    bool after_data = chunk->state == CHUNK_DATA_LF;
    *last = !after_data && chunk->left == 0;
    chunk->state = after_data ? CHUNK_SIZE : CHUNK_DATA;
    chunk->digits = 0;
    chunk->extension_bytes = 0;
    return ERR_OK;
}

static enum err chunk_byte(struct h1_chunk *chunk, uint8_t c, bool *last, const char **why)
{
    if ((chunk->state == CHUNK_PAD || chunk->state == CHUNK_EXTENSION) && c != '\r' &&
        ++chunk->extension_bytes > LIMIT_CHUNK_EXTENSION_BYTES)
        return chunk_refuse(why, ERR_LIMIT, "the chunk extensions are too long");
    switch (chunk->state) {
    case CHUNK_SIZE:
    case CHUNK_PAD:
        return chunk_size(chunk, c, why);
    case CHUNK_EXTENSION:
        return chunk_extension(chunk, c, why);
    case CHUNK_DATA_CR:
        if (c != '\r')
            return chunk_refuse(why, ERR_AMBIGUOUS, "chunk data that does not end in CRLF where its size says");
        chunk->state = CHUNK_DATA_LF;
        return ERR_OK;
    default:
        return chunk_line_end(chunk, c, last, why);
    }
}

enum err h1_chunk_take(struct h1_chunk *chunk, struct span in, size_t *took, struct span *data, bool *last,
                       const char **why)
{
    size_t at = 0;
    *data = SPAN_EMPTY;
    *last = false;
    *took = 0;
    while (at < in.n && chunk->state != CHUNK_DATA) {
        enum err e = chunk_byte(chunk, in.p[at++], last, why);
        if (e)
            return e;
        if (*last) {
            *took = at;
            return ERR_OK;
        }
    }
    if (at < in.n) {
        *data = span_first(span_from(in, at), (size_t)MIN(chunk->left, in.n - at));
        chunk->left -= data->n;
        at += data->n;
        if (chunk->left == 0)
            chunk->state = CHUNK_DATA_CR;
    }
    *took = at;
    return ERR_OK;
}
