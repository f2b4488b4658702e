/* messages.h: the messages of a WebSocket and of an event stream as the developer tools of Chromium add them to an entry: `_webSocketMessages` and
 * `_eventSourceMessages`. Internal to har/. */
#ifndef RINGTAPE_HAR_MESSAGES_H
#define RINGTAPE_HAR_MESSAGES_H

#include "har/view.h"

/* A member of the entry at hand, or nothing when the flow has no such messages. What cannot be read from the tape is left out, and v->damaged set. */
void messages_har(struct out *o, struct view *v);

#endif
