/* fuzz_tape_headers.c: the JSON of header fields. What is accepted must come back the same after it was written again. */
#include "tape/tape.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct headers first = HEADERS_INIT, second = HEADERS_INIT;
    struct buf json = BUF_INIT;
    if (tape_headers(span_of(data, size), &first) == ERR_OK) {
        if (tape_headers_json(&first, &json) || tape_headers(buf_span(&json), &second) || first.n != second.n)
            abort();
        for (size_t i = 0; i < first.n; i++)
            if (!span_eq(headers_at(&first, i).name, headers_at(&second, i).name) ||
                !span_eq(headers_at(&first, i).value, headers_at(&second, i).value))
                abort();
    }
    headers_free(&first);
    headers_free(&second);
    buf_free(&json);
    return 0;
}
