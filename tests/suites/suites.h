/* tests/suites/suites.h: the conformance program: any folder of cases through `rlx eval`.
 *
 *   main.c      options, the walk over folders, the closing line
 *   fixtures.c  cases with inputs, expected outputs and probes, and their own bounds
 *   goldens.c   golden*.safetensors beside a model
 *   malformed.c files that must be refused, and such that must load
 *   gguf_quant.c  bytes of block formats and what they decode to
 *   tokenizers.c  vocabularies against what other implementations made of texts
 *   templates.c chat templates and the conversations that they are rendered for
 *   opvectors.c  operators of the ONNX backend suite (onnx/ makes flows of them)
 *   run.c       one run of `rlx eval`, or of any program
 *   compare.c   tensors against what was expected
 */
#ifndef RLX_TESTS_SUITES_H
#define RLX_TESTS_SUITES_H

#include "frontend/rlx.h"

enum { PATH_CHARS = 2048, MAX_PROBES = 200, MAX_WAYS = 8 };

/* How a case is run. */
enum { PREFILL = -1, FROM_MIDDLE = -2 };
typedef struct way {
    int64_t decode_from;
    const char *threads; /* NULL: the program's own choice */
} way;

typedef struct conformance {
    const char *device, *threads; /* NULL: the program's own choice; each way's */
    bool is_vulkan, validated;    /* the device; and it runs under the validation layer */
    bool is_gpu;                  /* NVIDIA's or AMD's, or what stands for it */
    /* NVIDIA's ("sm_80"), for which operators are assembled, not run; NULL: none */
    const char *processor;
    way ways[MAX_WAYS];
    int nways;
    int passed, failed, skipped;
} conformance;

/* What one case turned out to be. A failure and a skip print their line: the place and why. */
void case_passed(conformance *c);
void case_failed(conformance *c, const char *where, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void case_skipped(conformance *c, const char *where, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* A status as the failure of a case; frees it. Returns whether there was one. */
bool case_broke(conformance *c, const char *where, rlx_status st);

/* Runs the cases that lie in `dir` itself. */
void fixtures_run(conformance *c, const char *dir);
void goldens_run(conformance *c, const char *dir);
void tokenizers_run(conformance *c, const char *dir);
void malformed_run(conformance *c, const char *dir);
void gguf_quant_run(conformance *c, const char *dir);
void templates_run(conformance *c, const char *dir);
void opvectors_run(conformance *c, const char *dir);

bool has_file(const char *dir, const char *file);

/* A way for an input of S positions: split where there is something to split. */
way way_of(const conformance *c, int i, int64_t S);
/* "DIR", or "DIR (decoding from 3, threads 2)". */
void put_way(const char *dir, const way *w, char text[PATH_CHARS]);

/* ---- runs ----------------------------------------------------------------------------------- */

#define RLX_TOOL RLX_BINARY_DIR "/bin/rlx"
#define RLX_STAND_IN RLX_BINARY_DIR "/tests/gpu/rlx" /* tests/gpu/stand_in.h */

typedef struct program {
    int code;        /* 128 + the signal when one ended it */
    char *out, *err; /* what it wrote, without a last newline; heap, NULL when out of memory */
} program;

/* Runs argv[0] with its arguments (NULL-ended) to its end; false when that cannot be done. */
bool program_run(const char *const *argv, program *p);
void program_deinit(program *p);

typedef struct eval_run {
    const char *model, *inputs;
    way way;
    int64_t generate;              /* 0: none */
    const char *probe[MAX_PROBES]; /* paths */
    int nprobes;
    /* afterwards */
    rlx_weights *out; /* NULL: it failed */
    char *error;      /* then: what it said, heap */
} eval_run;

/* Errors are those of starting it; a run that fails has none. One that the validation layer says anything about fails. */
rlx_status eval_run_start(const conformance *c, eval_run *r);
void eval_run_deinit(eval_run *r);

/* ---- comparing ------------------------------------------------------------------------------ */

typedef struct mismatch {
    char text[256]; /* "[0,3,17] is 1.25, not 1.5 (bound 1e-4)" */
} mismatch;

/* Every element within `bound`, where `valid` (NULL: everywhere) has ones for want's leading axes;
 * at least one must be compared. Shapes agree but for leading axes of one element. */
bool is_within(const rlx_tensor *got, const rlx_tensor *want, const rlx_tensor *valid, double bound,
               mismatch *out);
double element(const rlx_tensor *t, int64_t i);

#endif
