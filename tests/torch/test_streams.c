/* tests/torch/test_streams.c: blocks of two streams (images and words that attend to one another),
 * as streams.py computed them. */
#include <stdio.h>

#include "tests/torch/harness.h"

enum { WIDTH = 8, HEADS = 2, LAYERS = 2 };

/* One stream of a block while it is built. */
typedef struct side {
    const char *name; /* in keys */
    rlx_builder *b;
    bool norms_heads;
    rlx_value *x;       /* f32[B,S,H] */
    rlx_value *mod[6];  /* f32[B,1,H]: shift, scale, gate; the same of the feed-forward part */
    rlx_value *head[3]; /* queries, keys, values f32[B,S,N,D] */
} side;

static rlx_value *weight(const side *s, const char *part, const char *what)
{
    char key[64];
    snprintf(key, sizeof key, "blocks.{}.%s.%s.%s", s->name, part, what);
    return rlx_build_weight(s->b, key);
}

static rlx_value *linear(const side *s, const char *part, rlx_value *x)
{
    return rlx_build_linear(s->b, x, weight(s, part, "weight"), weight(s, part, "bias"));
}

static rlx_value *map2(const side *s, rlx_map fn, rlx_value *x, rlx_value *y)
{
    return rlx_build_map2(s->b, fn, x, y);
}

/* norm(x) (1 + scale) + shift, the norm without a weight. */
static rlx_value *modulated(const side *s, rlx_value *x, rlx_value *shift, rlx_value *scale)
{
    x = rlx_build_layer_norm(s->b, x, NULL, NULL, 1e-6);
    scale = map2(s, RLX_MAP_ADD, scale, rlx_build_constant(s->b, 1));
    return map2(s, RLX_MAP_ADD, map2(s, RLX_MAP_MUL, x, scale), shift);
}

/* mod[0..n-1]: parts of a linear of the conditioning vector. */
static void modulate(side *s, int n)
{
    static const int64_t sizes[6] = {WIDTH, WIDTH, WIDTH, WIDTH, WIDTH, WIDTH};
    rlx_value *temb = rlx_build_activation(s->b, RLX_ACT_SILU, 0, 0, rlx_build_load(s->b, "temb"));
    rlx_value *m = rlx_build_insert(s->b, linear(s, "norm1.linear", temb), 1);
    rlx_build_split(s->b, m, -1, n, sizes, s->mod);
}

static void project(side *s, rlx_value *x)
{
    static const char *const parts[] = {"q", "k", "v"}, *const norms[] = {"norm_q", "norm_k"};
    const int64_t dims[] = {rlx_value_extent(x, 0), rlx_value_extent(x, 1), HEADS, WIDTH / HEADS};
    for (int i = 0; i < 3; i++) {
        s->head[i] = rlx_build_reshape(s->b, linear(s, parts[i], x), 4, dims);
        if (s->norms_heads && i < 2)
            s->head[i] = rlx_build_rms_norm(s->b, s->head[i], weight(s, norms[i], "weight"), 1e-6);
    }
}

/* x + gate out(attended), then the same of the feed-forward part. */
static void finish(side *s, rlx_value *attended)
{
    rlx_value *y = linear(s, "out", rlx_build_flatten(s->b, attended, 2, 3));
    s->x = map2(s, RLX_MAP_ADD, s->x, map2(s, RLX_MAP_MUL, s->mod[2], y));
    y = linear(s, "ff.0", modulated(s, s->x, s->mod[3], s->mod[4]));
    y = linear(s, "ff.2", rlx_build_activation(s->b, RLX_ACT_GELU_TANH, 0, 0, y));
    s->x = map2(s, RLX_MAP_ADD, s->x, map2(s, RLX_MAP_MUL, s->mod[5], y));
}

/* Of both: txt in front, as the models have it. */
static rlx_value *attend(const side *img, const side *txt)
{
    rlx_value *all[3];
    for (int i = 0; i < 3; i++)
        all[i] = rlx_build_concat(img->b, 2, (rlx_value *[]){txt->head[i], img->head[i]}, 1);
    return rlx_build_dense_attention(img->b, all[0], all[1], all[2],
                                     &(rlx_dense_attention_spec){0});
}

/* Of SD3 the words of the last layer are looked at, and left alone. */
static void build_block(rlx_builder *b, rlx_value **x, rlx_value **y, void *user)
{
    const bool sd3 = *(const bool *)user, leaves = sd3 && rlx_builder_layer(b) == LAYERS - 1;
    const int64_t sizes[] = {rlx_value_extent(*y, 1), rlx_value_extent(*x, 1)};
    side img = {.name = "img", .b = b, .norms_heads = !sd3, .x = *x};
    side txt = {.name = "txt", .b = b, .norms_heads = !sd3, .x = *y};
    rlx_value *part[2];
    modulate(&img, 6);
    modulate(&txt, leaves ? 2 : 6);
    project(&img, modulated(&img, *x, img.mod[0], img.mod[1]));
    project(&txt, modulated(&txt, *y, txt.mod[leaves], txt.mod[!leaves]));
    rlx_build_split(b, attend(&img, &txt), 1, 2, sizes, part);
    finish(&img, part[1]);
    if (!leaves)
        finish(&txt, part[0]);
    *x = img.x;
    *y = txt.x;
}

static void record_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    rlx_flow_dual_stream(f, "block", "img", "txt", build_block, user);
}

static void record(rlx_flow *f, const bool *sd3)
{
    int64_t dims[6];
    torch_input(f, "img", RLX_F32, "B,5,8");
    rlx_flow_store_stream(f, "img");
    int rank = torch_dims(f, "B,3,8", dims);
    rlx_flow_input(f, "txt", RLX_F32, rank, dims);
    rank = torch_dims(f, "B,8", dims);
    rlx_flow_input(f, "temb", RLX_F32, rank, dims);
    rlx_flow_bind_stream(f, "txt", "txt");
    rlx_flow_bind_stream(f, "temb", "temb");
    rlx_flow_repeat_layers(f, LAYERS, record_layer, (void *)sd3);
    rlx_flow_output(f, "img_out");
}

static const bool no = false, yes = true;

static void record_flux(rlx_flow *f)
{
    record(f, &no);
    rlx_flow_output_stream(f, "txt_out", "txt");
}

static void record_sd3(rlx_flow *f)
{
    record(f, &yes);
}

static const torch_case cases[] = {
    {"flux", record_flux, 2e-6, NULL},
    {"sd3", record_sd3, 2e-6, NULL},
};

int main(int argc, char **argv)
{
    return torch_main(argc, argv, "streams", cases, sizeof cases / sizeof *cases);
}
