/* entry.h: one flow in each of the formats. A view is loaded for it before. What fails is in the out. Internal to har/. */
#ifndef RINGTAPE_HAR_ENTRY_H
#define RINGTAPE_HAR_ENTRY_H

#include "har/view.h"

/* An element of log.entries; with `pages` it refers to the page of its session. */
void entry_har(struct out *o, struct view *v, bool pages);
/* One line. */
void entry_jsonl(struct out *o, struct view *v);
/* A comment and a command. */
void entry_curl(struct out *o, struct view *v);

#endif
