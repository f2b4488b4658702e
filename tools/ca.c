/* ca.c: `ringtape ca`: the certificate authority, and how to trust it. */
#include "tools/command.h"

#include "base/text.h"
#include "base/util.h"
#include "tls/ca.h"
#include "tools/output.h"
#include "tools/say.h"
#include "tools/serve.h"
#include "tools/suggest.h"

/* word of the action, function */
#define CA_ACTIONS(X)                                                                                                  \
    X("show", ca_show)                                                                                                 \
    X("export", ca_export)                                                                                             \
    X("new", ca_new)                                                                                                   \
    X("trust", ca_trust)

enum ca_format { CA_PEM, CA_DER, CA_P12 }; /* as the option's argument has them */

struct ca_command {
    const char *action; /* NULL: show */
    const char *dir, *output;
    unsigned format;
    bool format_given;
    struct buf path; /* of the folder */
};

static enum err ca_option(void *ctx, enum option_id id, const char *value, struct buf *problem)
{
    struct ca_command *c = ctx;
    switch ((int)id) {
    case OPT_CA_DIR:
        c->dir = value;
        return ERR_OK;
    case OPT_OUTPUT_FILE:
        c->output = value;
        return ERR_OK;
    default: /* OPT_CA_FORMAT */
        c->format_given = true;
        return option_word(OPT_CA_FORMAT, value, &c->format, problem);
    }
}

static enum err ca_operand(void *ctx, const char *text, struct buf *problem)
{
    struct ca_command *c = ctx;
    if (!c->action) {
        c->action = text;
        return ERR_OK;
    }
    enum err e = buf_printf(problem, "'%s' is one word too many", text);
    return e ? e : ERR_USAGE;
}

/* What an action writes: to standard output, or to the file of -o. */
static enum err put_result(const struct ca_command *c, struct span bytes, struct buf *problem)
{
    return c->output && strcmp(c->output, "-") != 0 ? output_file(c->output, 0644, bytes, problem)
                                                    : output_stdout(bytes, problem);
}

static enum err describe(struct ca_command *c, const struct ca *ca, struct buf *problem)
{
    struct buf text = BUF_INIT;
    enum err e = ca_describe(ca, &text);
    if (!e && buf_span(&text).n > 0 && buf_span(&text).p[buf_span(&text).n - 1] != '\n')
        e = buf_put_byte(&text, '\n');
    if (!e)
        e = buf_put_str(&text, "kept in ");
    if (!e)
        e = text_escape_terminal(&text, buf_span(&c->path));
    if (!e)
        e = buf_put_byte(&text, '\n');
    if (!e)
        e = put_result(c, buf_span(&text), problem);
    buf_free(&text);
    return e;
}

static enum err ca_show(struct ca_command *c, struct buf *problem)
{
    struct ca *ca = NULL;
    enum err e = ca_open(&ca, buf_cstr(&c->path), problem);
    if (!e)
        e = describe(c, ca, problem);
    ca_close(&ca);
    return e;
}

static enum err ca_new(struct ca_command *c, struct buf *problem)
{
    struct ca *ca = NULL;
    enum err e = ca_renew(&ca, buf_cstr(&c->path), problem);
    if (!e)
        e = describe(c, ca, problem);
    ca_close(&ca);
    return e;
}

static enum err ca_export(struct ca_command *c, struct buf *problem)
{
    struct ca *ca = NULL;
    struct buf store = BUF_INIT;
    struct span bytes = SPAN_EMPTY;
    enum err e = ca_open(&ca, buf_cstr(&c->path), problem);
    if (!e && c->format == CA_P12) {
        e = ca_trust_store(ca, SPAN_EMPTY, "ringtape", &store);
        bytes = buf_span(&store);
    } else if (!e) {
        bytes = c->format == CA_DER ? ca_certificate_der(ca) : ca_certificate_pem(ca);
    }
    if (!e)
        e = put_result(c, bytes, problem);
    buf_free(&store);
    ca_close(&ca);
    return e;
}

/* $F stands for the certificate's file. */
static const char *const trust_steps[] = {
    "A program started by `ringtape record -- CMD` or `replay -- CMD` trusts the CA already. For others:\n",
    "Debian, Ubuntu (curl, wget, git, OpenSSL, Go, Ruby):\n"
    "  sudo cp $F /usr/local/share/ca-certificates/ringtape.crt && sudo update-ca-certificates\n",
    "Fedora, RHEL:\n"
    "  sudo cp $F /etc/pki/ca-trust/source/anchors/ringtape.pem && sudo update-ca-trust\n",
    "Chromium, Chrome (package libnss3-tools):\n"
    "  mkdir -p ~/.pki/nssdb && certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n ringtape -i $F\n",
    "Firefox: Settings, Privacy & Security, Certificates, View Certificates, Authorities, Import: the same file; or\n"
    "  certutil -d sql:FOLDER-OF-THE-PROFILE -A -t C,, -n ringtape -i $F\n",
    "Java:\n"
    "  keytool -importcert -noprompt -cacerts -storepass changeit -alias ringtape -file $F\n",
    "Python requests, Node.js, one program at a time:\n"
    "  REQUESTS_CA_BUNDLE=$F or NODE_EXTRA_CA_CERTS=$F\n",
    "A phone or another machine: through the proxy, open http://ringtape/ and install what it offers.\n",
    "Whoever has the folder's ca-key.pem can read the traffic of all who trust this CA: keep it, and remove the trust\n"
    "when it is no longer needed.\n",
};

/* `step` with the file's name in place of $F. */
static enum err put_step(struct buf *out, const char *step, struct span file)
{
    enum err e = ERR_OK;
    for (const char *mark; !e && (mark = strstr(step, "$F")) != NULL; step = mark + 2) {
        e = buf_put(out, span_of(step, (size_t)(mark - step)));
        if (!e)
            e = buf_put(out, file);
    }
    if (!e)
        e = buf_put_str(out, step);
    return e ? e : buf_put_byte(out, '\n');
}

static enum err ca_trust(struct ca_command *c, struct buf *problem)
{
    struct ca *ca = NULL;
    struct buf plain = BUF_INIT, word = BUF_INIT, file = BUF_INIT, text = BUF_INIT;
    enum err e = ca_open(&ca, buf_cstr(&c->path), problem);
    if (!e)
        e = buf_printf(&plain, "%s/ca.pem", buf_cstr(&c->path));
    if (!e)
        e = text_shell_word(&word, buf_span(&plain));
    if (!e)
        e = text_escape_terminal(&file, buf_span(&word));
    for (size_t i = 0; !e && i < ARRAY_LEN(trust_steps); i++)
        e = put_step(&text, trust_steps[i], buf_span(&file));
    if (!e)
        e = put_result(c, buf_span(&text), problem);
    buf_free(&plain);
    buf_free(&word);
    buf_free(&file);
    buf_free(&text);
    ca_close(&ca);
    return e;
}

static int run(struct ca_command *c, enum err (*action)(struct ca_command *, struct buf *))
{
    struct buf problem = BUF_INIT;
    enum err e = serve_ca_dir(c->dir, &c->path, &problem);
    if (!e)
        e = buf_cstr(&c->path) ? action(c, &problem) : ERR_NOMEM;
    if (e)
        say("%s", buf_span(&problem).n > 0 ? say_text(&problem) : err_text(e));
    buf_free(&problem);
    buf_free(&c->path);
    return e == ERR_USAGE ? 2 : e ? 1 : 0;
}

int ca_main(int argc, char **argv)
{
    static const struct {
        const char *word;
        enum err (*run)(struct ca_command *c, struct buf *problem);
    } actions[] = {
#define CA_ACTION(word, function) {word, function},
        CA_ACTIONS(CA_ACTION)
#undef CA_ACTION
    };
    struct ca_command c = {.action = NULL};
    struct option_sink sink = {ca_option, ca_operand, &c};
    int code = options_read(COMMAND_CA, argc, argv, &sink, NULL);
    if (code >= 0)
        return code;
    const char *word = c.action ? c.action : "show";
    for (size_t i = 0; i < ARRAY_LEN(actions); i++)
        if (strcmp(word, actions[i].word) == 0) {
            if (c.format_given && actions[i].run != ca_export) {
                say("--format belongs to `ringtape ca export`");
                return 2;
            }
            return run(&c, actions[i].run);
        }
    const char *words[ARRAY_LEN(actions)];
    for (size_t i = 0; i < ARRAY_LEN(actions); i++)
        words[i] = actions[i].word;
    const char *nearest = suggest_nearest(word, words, ARRAY_LEN(words));
    if (nearest)
        say("ca has no action '%s'; did you mean '%s'?", word, nearest);
    else
        say("ca has no action '%s'; there are show, export, new and trust", word);
    return 2;
}
