/* view.h: one flow, read and ready to be written in any format. Reused from flow to flow. Internal to har/. */
#ifndef RINGTAPE_HAR_VIEW_H
#define RINGTAPE_HAR_VIEW_H

#include "har/body.h"
#include "har/timing.h"

struct view {
    struct tape *tape;            /* borrowed */
    const struct tape_flow *flow; /* borrowed for the flow at hand */
    struct headers request, request_trailers, response, response_trailers;
    struct buf url;  /* a valid URL without a fragment */
    size_t url_path; /* where its path begins */
    bool has_server;
    struct tape_connection server; /* borrowed until the next call of tape_connection() */
    struct timing timing;
    struct body request_body, response_body;
    bool decoded; /* response: its Content-Encoding was undone before it came to the tape */
    bool damaged; /* part of the flow could not be read from the tape */
};

void view_init(struct view *v, struct tape *tape);
void view_free(struct view *v);
/* Reads everything but the bodies' bytes, which are looked through once. Damage is noted, not an error. Fails with ERR_NOMEM, ERR_DB. */
MUST_USE enum err view_load(struct view *v, const struct tape_flow *flow);

/* Is it a request with a response, and no raw bytes? */
bool view_is_http(const struct view *v);
/* Was there a response of the origin? */
bool view_has_response(const struct view *v);
/* One spelling for each version: "HTTP/1.1", "HTTP/2"; anything unknown as it is. */
struct span view_version(struct span version);
/* The address of the origin without a zone; empty: not known. */
struct span view_server_address(const struct view *v);
/* The port that the origin was reached at; 0: not known. */
unsigned view_server_port(const struct view *v);

#endif
