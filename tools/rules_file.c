/* rules_file.c: JSON to the texts of options, which replay/rules.c reads: so that a file and a command line cannot mean different things. */
#include "tools/rules_file.h"

#include "base/text.h"
#include "base/util.h"
#include "tools/output.h"

#include <jansson.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RULES_FILE_BYTES = 1 << 20 };

static const char rules_file_name[] = "ringtape.json";

static const struct member {
    const char *name;
    enum err (*take)(struct rules *rules, const char *text, struct buf *problem);
    bool repeats, number;
} members[] = {
#define RULE_MEMBER(name, take, repeats, number) {name, take, repeats, number},
    RULE_MEMBERS(RULE_MEMBER)
#undef RULE_MEMBER
};

/* ---- reading ---- */

/* One value as an option would have it. Fails with ERR_PARSE: neither text nor (where that makes sense) a number. */
static enum err value_text(const struct member *m, const json_t *value, struct buf *out)
{
    buf_clear(out);
    if (json_is_string(value)) /* without NUL: Jansson takes none unless asked to */
        return buf_put_str(out, json_string_value(value));
    if (m->number && json_is_integer(value))
        return buf_printf(out, "%lld", (long long)json_integer_value(value));
    if (m->number && json_is_real(value))
        return buf_printf(out, "%.17g", json_real_value(value));
    return ERR_PARSE;
}

static enum err take_text(struct rules *rules, const struct member *m, struct buf *text, struct buf *problem)
{
    const char *s = buf_cstr(text);
    return s ? m->take(rules, s, problem) : ERR_NOMEM;
}

/* A list is as many options, or, where only one makes sense, one with commas. */
static enum err take_list(struct rules *rules, const struct member *m, const json_t *list, struct buf *problem)
{
    struct buf text = BUF_INIT, all = BUF_INIT;
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < json_array_size(list); i++) {
        e = value_text(m, json_array_get(list, i), &text);
        if (!e && m->repeats)
            e = take_text(rules, m, &text, problem);
        else if (!e)
            e = buf_printf(&all, "%s%.*s", i > 0 ? "," : "", (int)text.n, (const char *)buf_span(&text).p);
    }
    if (!e && !m->repeats)
        e = take_text(rules, m, &all, problem);
    buf_free(&text);
    buf_free(&all);
    return e;
}

static enum err take_member(struct rules *rules, const struct member *m, const json_t *value, struct buf *problem)
{
    struct buf text = BUF_INIT;
    enum err e;
    if (json_is_array(value)) {
        e = take_list(rules, m, value, problem);
    } else {
        e = value_text(m, value, &text);
        if (!e)
            e = take_text(rules, m, &text, problem);
    }
    buf_free(&text);
    if (e == ERR_PARSE && problem->n == 0)
        e = buf_printf(problem, "wants text%s, or a list of it", m->number ? " or a number" : "");
    return e == ERR_OK && problem->n > 0 ? ERR_PARSE : e;
}

static const struct member *member_named(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (strcmp(name, members[i].name) == 0)
            return &members[i];
    return NULL;
}

static enum err say_unknown(const char *path, const char *name, struct buf *problem)
{
    enum err e = buf_printf(problem, "%s: ", path);
    if (!e)
        e = text_escape_terminal(problem, span_str(name));
    if (!e)
        e = buf_put_str(problem, " is no rule; there are");
    for (size_t i = 0; !e && i < ARRAY_LEN(members); i++)
        e = buf_printf(problem, "%s %s", i > 0 ? "," : "", members[i].name);
    return e ? e : ERR_PARSE;
}

static enum err take_all(struct rules *rules, const char *path, json_t *all, bool *fail_on, struct buf *problem)
{
    const char *name;
    json_t *value;
    struct buf why = BUF_INIT;
    enum err e = ERR_OK;
    json_object_foreach(all, name, value)
    {
        const struct member *m = member_named(name);
        if (!m) {
            e = say_unknown(path, name, problem);
            break;
        }
        *fail_on |= m->take == rules_fail_on;
        e = take_member(rules, m, value, &why);
        if (e) {
            struct span text = buf_span(&why);
            enum err said = buf_printf(problem, "%s: %s: %.*s", path, name, (int)text.n, (const char *)text.p);
            e = said || e == ERR_NOMEM ? ERR_NOMEM : ERR_PARSE;
            break;
        }
    }
    buf_free(&why);
    return e;
}

enum err rules_file_read(struct rules *rules, const char *path, bool *fail_on, struct buf *problem)
{
    struct buf text = BUF_INIT;
    json_error_t where;
    enum err e = input_file(path, RULES_FILE_BYTES, &text);
    if (e) {
        enum err said = buf_printf(problem, "%s: the rules cannot be read: %s", path, err_text(e));
        buf_free(&text);
        return said ? said : e;
    }
    struct span all = buf_span(&text);
    json_t *json = json_loadb((const char *)all.p, all.n, JSON_REJECT_DUPLICATES, &where);
    if (!json)
        e = buf_printf(problem, "%s:%d:%d: the rules are no JSON: ", path, where.line, where.column);
    if (!json && !e)
        e = text_escape_terminal(problem, span_str(where.text));
    else if (json && !json_is_object(json))
        e = buf_printf(problem, "%s: the rules are no JSON object, as in {\"ignore\": [\"query:t\"]}", path);
    if (!e)
        e = json_is_object(json) ? take_all(rules, path, json, fail_on, problem) : ERR_PARSE;
    json_decref(json);
    buf_free(&text);
    return e;
}

/* ---- finding ---- */

/* Is there one in this folder ("" : the root) that may be taken? */
static enum err look_in(struct span folder, struct buf *path, struct buf *refused)
{
    struct stat st;
    buf_clear(path);
    enum err e = buf_printf(path, "%.*s/%s", (int)folder.n, (const char *)folder.p, rules_file_name);
    const char *name = e ? NULL : buf_cstr(path);
    if (!name)
        return ERR_NOMEM;
    if (stat(name, &st) == 0 && S_ISREG(st.st_mode)) {
        bool ours = st.st_uid == geteuid() || st.st_uid == 0;
        if (ours && !(st.st_mode & S_IWOTH))
            return ERR_OK;
        if (refused->n == 0)
            e = buf_put_str(refused, name);
    }
    buf_clear(path);
    return e;
}

enum err rules_file_find(const char *tape, struct buf *path, struct buf *refused)
{
    char here[PATH_MAX];
    const char *slash = strrchr(tape, '/');
    struct span beside = slash ? span_of(tape, (size_t)(slash - tape)) : SPAN(".");
    enum err e = look_in(beside, path, refused);
    if (e || path->n > 0 || !getcwd(here, sizeof here))
        return e;
    struct span folder = strcmp(here, "/") == 0 ? SPAN_EMPTY : span_str(here);
    for (;;) {
        e = look_in(folder, path, refused);
        if (e || path->n > 0 || folder.n == 0)
            return e;
        while (folder.p[folder.n - 1] != '/')
            folder.n--;
        folder.n--;
    }
}
