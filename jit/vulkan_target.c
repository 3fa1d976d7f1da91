#include "jit/vulkan_target.h"

#include <stdio.h>
#include <string.h>

#include "jit/module.h"
#include "lir/lir_team.h"

static const struct {
    const char *name, *features;
    int team, subgroup;
    int64_t team_bytes;
} kinds[] = {
#define VULKAN_TARGET(name, features, team, subgroup, team_bytes) \
    {name, features, team, subgroup, team_bytes},
#include "jit/vulkan_targets.def"
#undef VULKAN_TARGET
};
enum { NKINDS = sizeof kinds / sizeof *kinds };

static bool has_word(const char *words, const char *word)
{
    const size_t n = strlen(word);
    for (const char *w = words; *w;) {
        const size_t len = strcspn(w, " ");
        if (len == n && !memcmp(w, word, n))
            return true;
        w += len + (w[len] == ' ');
    }
    return false;
}

static rlx_status unknown_kind(const char *name)
{
    const char *names[NKINDS];
    rlx_text all = {0};
    for (int i = 0; i < NKINDS; i++) {
        names[i] = kinds[i].name;
        rlx_text_putf(&all, "%s%s", i ? ", " : "", names[i]);
    }
    const char *near = rlx_text_nearest(name, names, NKINDS);
    rlx_status st =
        RLX_FAIL(RLX_INVALID_ARGUMENT, "no kind of Vulkan device \"%s\"; %s%s%sthere are %s", name,
                 near ? "did you mean \"" : "", near ? near : "", near ? "\"? " : "",
                 all.data ? all.data : "none");
    rlx_text_deinit(&all);
    return st;
}

static void fill_target(int k, rlx_jit_target *out)
{
    *out = (rlx_jit_target){.kind = RLX_JIT_SPIRV,
                            .team = kinds[k].team,
                            .subgroup = kinds[k].subgroup,
                            .team_bytes = kinds[k].team_bytes};
    for (int f = 0; f < RLX_VULKAN_FEATURE_COUNT; f++)
        if (has_word(kinds[k].features, rlx_vulkan_feature_name((rlx_vulkan_feature)f)))
            out->features |= (uint64_t)1 << f;
}

/* Each once with the host's matrix unit, then without one. */
int rlx_jit_vulkan_count(void)
{
    return 2 * NKINDS;
}

/* Code for narrower subgroups is right in wider ones that a team is whole ones of. */
static bool takes_subgroups(const rlx_jit_target *host, const rlx_jit_target *t)
{
    return !(t->features & RLX_VULKAN_BIT(SUBGROUP)) || t->subgroup == host->subgroup ||
           (t->subgroup > 0 && host->subgroup % t->subgroup == 0 &&
            host->team % host->subgroup == 0);
}

/* Matrices are a whole subgroup's. */
static bool takes_matrix(const rlx_jit_target *host, rlx_jit_target *t)
{
    t->matrix = host->matrix;
    t->features |= RLX_VULKAN_BIT(MATRIX);
    return rlx_jit_vulkan_lanes(host) && t->subgroup == host->subgroup && rlx_jit_vulkan_lanes(t);
}

bool rlx_jit_vulkan_below(const rlx_jit_target *host, int i, rlx_jit_target *out)
{
    fill_target(i % NKINDS, out);
    if (i < NKINDS && !takes_matrix(host, out))
        return false;
    return host->kind == RLX_JIT_SPIRV && host->team == out->team && !host->range_bytes &&
           host->team_bytes >= out->team_bytes && takes_subgroups(host, out) &&
           !(rlx_jit_code_features(out) & ~host->features);
}

int rlx_jit_vulkan_lanes(const rlx_jit_target *t)
{
    const uint64_t needs = RLX_VULKAN_BIT(MATRIX) | RLX_VULKAN_BIT(SUBGROUP) | RLX_VULKAN_BIT(INT8);
    const int team = t->team > 0 ? t->team : RLX_JIT_DEFAULT_TEAM;
    return t->matrix.m && (t->features & needs) == needs && !(team & (team - 1))
               ? rlx_lir_lanes(team, t->subgroup)
               : 0;
}

/* ---- by name ---- */

/* "matrix=16x16x32" at the beginning of `text`; *rest: what is behind it. */
static rlx_status parse_matrix(const char *text, const char **rest, rlx_jit_target *out)
{
    static const char word[] = "matrix=";
    rlx_vulkan_matrix x;
    int used = 0;
    const int found = sscanf(text + sizeof word - 1, "%3dx%3dx%3d%n", &x.m, &x.n, &x.k, &used);
    *rest = text + sizeof word - 1 + (size_t)used;
    if (found != 3 || (**rest && **rest != ',') || !rlx_vulkan_is_side((uint64_t)x.m) ||
        !rlx_vulkan_is_side((uint64_t)x.n) || !rlx_vulkan_is_side((uint64_t)x.k))
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "\"%s\": expected rows, columns and bytes of K of a matrix, 8, 16 or 32 of "
                        "each: matrix=16x16x32",
                        text);
    out->matrix = x;
    out->features |= RLX_VULKAN_BIT(MATRIX);
    return RLX_OK;
}

/* The words behind a name: ",-f16,matrix=16x16x32", in any order. */
static rlx_status parse_words(const char *words, rlx_jit_target *out)
{
    const char *matrix = strstr(words, ",matrix="), *rest;
    rlx_text masks = {0};
    if (!matrix)
        return rlx_vulkan_mask_features(words, &out->features);
    RLX_TRY(parse_matrix(matrix + 1, &rest, out));
    rlx_text_putf(&masks, "%.*s%s", (int)(matrix - words), words, rest);
    rlx_status st = masks.oom
                        ? RLX_OOM()
                        : rlx_vulkan_mask_features(masks.data ? masks.data : "", &out->features);
    rlx_text_deinit(&masks);
    return st;
}

/* A unit that is asked for is there. */
static rlx_status check_matrix(const char *text, const rlx_jit_target *t)
{
    const uint64_t needs = RLX_VULKAN_BIT(SUBGROUP) | RLX_VULKAN_BIT(INT8);
    rlx_text missing = {0};
    if (!(t->features & RLX_VULKAN_BIT(MATRIX)) || !(needs & ~t->features))
        return RLX_OK;
    rlx_vulkan_list_features(needs & ~t->features, ", ", &missing);
    rlx_status st = RLX_FAIL(RLX_INVALID_ARGUMENT, "vulkan:%s: a matrix unit goes with %s", text,
                             missing.data ? missing.data : "features that are not there");
    rlx_text_deinit(&missing);
    return st;
}

rlx_status rlx_jit_vulkan_target(const char *text, rlx_jit_target *out)
{
    char name[32] = "";
    const size_t n = strcspn(text, ",");
    int k = 0;
    memcpy(name, text, n < sizeof name ? n : sizeof name - 1);
    while (k < NKINDS && strcmp(name, kinds[k].name))
        k++;
    if (k == NKINDS)
        return unknown_kind(name);
    fill_target(k, out);
    RLX_TRY(parse_words(text + n, out));
    return check_matrix(text, out);
}
