/* rules_file.h: replay's rules from a file that a project commits, `ringtape.json`: an object whose members are named as the options are,
 * with a value each, or a list of them. */
#ifndef RINGTAPE_TOOLS_RULES_FILE_H
#define RINGTAPE_TOOLS_RULES_FILE_H

#include "replay/rules.h"

/* The members. name, the option's function, may it be given several times, are its values numbers too */
#define RULE_MEMBERS(X)                                                                                                \
    X("match", rules_match, false, false)                                                                              \
    X("ignore", rules_ignore, true, false)                                                                             \
    X("map", rules_map, true, false)                                                                                   \
    X("order", rules_order, false, false)                                                                              \
    X("pace", rules_pace, false, true)                                                                                 \
    X("fail-on", rules_fail_on, false, false)                                                                          \
    X("miss-status", rules_miss_status, false, true)

/* *fail_on: the file says when to fail. *problem gets one sentence, with line and column where it is no JSON. Fails with ERR_NOT_FOUND, ERR_PERMISSION, ERR_PARSE,
 * ERR_LIMIT, ERR_IO, ERR_NOMEM. */
MUST_USE enum err rules_file_read(struct rules *rules, const char *path, bool *fail_on, struct buf *problem);

/* The file beside the tape, else the first one from the working directory upwards; *path stays empty when there is none. One that another user (root aside) owns, or
 * that everybody may write, is not taken: *refused names it. Fails with ERR_NOMEM. */
MUST_USE enum err rules_file_find(const char *tape, struct buf *path, struct buf *refused);

#endif
