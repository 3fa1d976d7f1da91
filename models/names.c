/* models/names.c: what tensors are called: in GGUF files (gguf_names.def, in both directions), in
 * the checkpoints that families read ("ours"), in files of other origin. */
#include <string.h>

#include "models/names.h"

typedef struct line {
    const char *arch, *theirs, *ours; /* arch NULL: any */
} line;

static const line gguf_lines[] = {
#define TENSOR(theirs, ours) {NULL, theirs, ours},
#define TENSOR_OF(arch, theirs, ours) {arch, theirs, ours},
#include "models/gguf_names.def"
#undef TENSOR_OF
#undef TENSOR
};
enum { GGUF_LINES = sizeof gguf_lines / sizeof *gguf_lines };

static const line meta_lines[] = {
#define META(theirs, ours) {NULL, theirs, ours},
#include "models/older_names.def"
#undef META
};
enum { META_LINES = sizeof meta_lines / sizeof *meta_lines };

/* ---- one name ------------------------------------------------------------------------------- */

/* Does `name` follow `pattern`, whose "{}" is a number? `*layer` gets its digits. */
static bool follows(const char *pattern, const char *name, const char **layer, size_t *digits)
{
    const char *hole = strstr(pattern, "{}");
    *digits = 0;
    if (!hole)
        return strcmp(pattern, name) == 0;
    size_t before = (size_t)(hole - pattern);
    if (strncmp(pattern, name, before) != 0)
        return false;
    *layer = name + before;
    *digits = strspn(*layer, "0123456789");
    return *digits > 0 && strcmp(*layer + *digits, hole + 2) == 0;
}

static bool is_of(const line *l, const char *arch)
{
    return !l->arch || (arch && !strcmp(l->arch, arch));
}

/* Is their name another tensor's in this architecture? */
static bool is_taken(const line *l, const char *arch)
{
    for (int i = 0; !l->arch && i < GGUF_LINES; i++)
        if (gguf_lines[i].arch && is_of(&gguf_lines[i], arch) &&
            !strcmp(gguf_lines[i].theirs, l->theirs))
            return true;
    return false;
}

/* *found: a line of the table is the name's, and the other name of it is in *out. */
static rlx_status translate(const line *lines, int n, const char *arch, bool to_ours,
                            const char *name, rlx_text *out, bool *found)
{
    const char *layer = NULL;
    size_t digits = 0;
    int i = 0;
    while (i < n && (!is_of(&lines[i], arch) || is_taken(&lines[i], arch) ||
                     !follows(to_ours ? lines[i].theirs : lines[i].ours, name, &layer, &digits)))
        i++;
    *found = i < n;
    if (!*found)
        return RLX_OK;
    const char *to = to_ours ? lines[i].ours : lines[i].theirs, *hole = strstr(to, "{}");
    if (hole)
        rlx_text_putf(out, "%.*s%.*s%s", (int)(hole - to), to, (int)digits, layer, hole + 2);
    else
        rlx_text_put(out, to);
    return out->oom ? RLX_OOM() : RLX_OK;
}

rlx_status rlx_name_from_gguf(const char *arch, const char *name, rlx_text *out, bool *found)
{
    return translate(gguf_lines, GGUF_LINES, arch, true, name, out, found);
}

rlx_status rlx_name_to_gguf(const char *arch, const char *name, rlx_text *out, bool *found)
{
    return translate(gguf_lines, GGUF_LINES, arch, false, name, out, found);
}

rlx_status rlx_name_from_meta(const char *arch, const char *name, rlx_text *out, bool *found)
{
    (void)arch;
    return translate(meta_lines, META_LINES, NULL, true, name, out, found);
}

rlx_status rlx_family_gguf_name(const char *arch, const char *name, rlx_text *out)
{
    bool found = false;
    RLX_TRY(rlx_name_to_gguf(arch, name, out, &found));
    return found ? RLX_OK
                 : RLX_FAIL(RLX_UNSUPPORTED, "tensor '%s' has no name in GGUF files of %s", name,
                            arch);
}
