/* message.h: the request and response objects of a HAR entry. Internal to har/. */
#ifndef RINGTAPE_HAR_MESSAGE_H
#define RINGTAPE_HAR_MESSAGE_H

#include "har/view.h"

/* As values: the key stands before. */
void message_request(struct out *o, struct view *v);
void message_response(struct out *o, struct view *v);

/* [{"name":…,"value":…}, …]; bytes that no JSON string holds are kept beside it in `_base64`. */
void message_fields(struct out *o, const struct headers *h);

#endif
