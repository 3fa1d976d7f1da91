/* tests/vulkan/layers.h: a flow of two layers with attention on a Vulkan device, under the validation layer, with the fault layer in
 * front; texts that sequences hold, and what a session that only ever went forward makes of them. */
#ifndef RLX_TESTS_VULKAN_LAYERS_H
#define RLX_TESTS_VULKAN_LAYERS_H

#include "frontend/context.h"
#include "tests/runtime/suite.h"
#include "tests/vulkan/environment.h"

enum { HIDDEN = 8, HEADS = 2, DIM = 4, BUCKET = 512, POSITIONS = 1024, PROMPT = 260, TEXTS = 3, TALK = 6 };

typedef struct layers_world {
    rlx_context *cx;
    rlx_weights *w;
    rlx_executable *e;
    bool known[TEXTS];
    float last[TEXTS][HIDDEN]; /* what layers_reference() gave */
} layers_world;

extern layers_world cpu, gpu;
extern const fault_layer *faults;
extern bool validated;
extern rlx_text said; /* by the validation layer */

/* With `conv`, the name of its weights, a convolution that keeps a state is before the layers; "h" is behind it. */
void layers_make_flow(const char *conv, rlx_flow **f);
extern int64_t layers_window; /* of the attention of what is made next; 0: all */
rlx_status layers_compile(rlx_context *cx, const rlx_weights *w, rlx_executable **out);
void layers_make_weights(rlx_weights **w);
rlx_session *layers_make_session(const layers_world *w, int sequences);

/* Makes `gpu`: with memory that the host sees, or with memory that is filled by copies, as on a card. */
void layers_open_mapped(void);
void layers_open_hidden(void);
/* Without addresses of buffers: pools of pages are ranges, as everything else. */
void layers_open_ranges(void);
/* The first layer is on the CPU. */
void layers_open_parts(void);
/* What is left behind is told while the device is destroyed. */
void layers_close_gpu(void);

/* Element `at` of a text. */
void layers_fill(float *x, int which, int64_t at);
/* Appends `n` elements of a text to a sequence, as the last ones of a step that is being made. */
int64_t layers_put(int64_t at, int seq, int which, int64_t from, int64_t n);
/* That step, of `n` elements. */
rlx_status layers_step(rlx_session *s, rlx_executable *e, int64_t n, const float **out);
/* Part of a text to a sequence; the output of its last token. */
void layers_say(rlx_session *s, rlx_executable *e, int seq, int which, int64_t from, int64_t to,
                float *out);
/* A prompt, then a token at a time, then another sequence beside it: what each of them gave. */
void layers_talk(const layers_world *w, float out[TALK][HIDDEN]);
/* What a session that went only forward gives: PROMPT tokens of text 0, then one of another. Once: it takes long. */
void layers_reference(layers_world *w, int which, float *out);
/* On the device, from weights to a step. */
rlx_status layers_use(void);

/* Runs a suite, between making `cpu` and its end; what main returns. Skips where there is no device. */
int layers_run(const char *name, void (*add_tests)(Suite *s), int minimum);

#define EXPECT_BITS(a, b) ck_assert_mem_eq((a), (b), sizeof(float[HIDDEN]))

#endif
