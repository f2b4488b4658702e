/* show.h: the forms in which `ringtape show` writes one flow. Each takes a flow whose cursor is still open. All fail with what reading the
 * tape and writing the output fail with. */
#ifndef RINGTAPE_TOOLS_SHOW_H
#define RINGTAPE_TOOLS_SHOW_H

#include "tape/tape.h"
#include "tools/output.h"

struct show {
    struct tape *tape;
    const struct tape_flow *flow;
    struct output *out;
    bool colours;
    struct buf *problem; /* a sentence, where the error's own does not do */
};

enum err show_human(struct show *s);
enum err show_body(struct show *s);
enum err show_request_body(struct show *s);
enum err show_raw(struct show *s);
enum err show_messages(struct show *s);
enum err show_json(struct show *s);

/* The fields of one side; `json` as the tape has them. `fields` is cleared first. */
MUST_USE enum err show_fields(struct span json, struct headers *fields);

/* Text for a terminal, line by line, since an escape would turn the newlines into \x0a. */
MUST_USE enum err show_lines(struct span text, struct buf *out);

/* Multipart content part by part, as far as it can be read. *any: there was a part. As JSON: a member `parts`, behind others. */
MUST_USE enum err show_parts(struct span type, struct span content, bool *any, struct buf *out);
MUST_USE enum err show_parts_json(struct span type, struct span content, struct buf *out);

/* Appends the messages of the flow as lines, the first ones when there are many. */
MUST_USE enum err show_conversation(struct show *s, struct buf *out);

/* Content with its codings undone, all of it or ERR_LIMIT beyond `max`; *coding as tape_content() gives it. */
MUST_USE enum err show_content(struct show *s, enum tape_side side, const struct headers *fields, size_t max,
                               struct buf *out, enum err *coding);

#endif
