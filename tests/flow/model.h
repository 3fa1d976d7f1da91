/* tests/flow/model.h: a Llama in memory, from a config's text and random weights or a directory,
 * and steps of it on the evaluators. */
#ifndef RLX_TESTS_FLOW_MODEL_H
#define RLX_TESTS_FLOW_MODEL_H

#include <cjson/cJSON.h>

#include "frontend/flow.h"
#include "frontend/rope.h"
#include "models/families.h"
#include "tests/hir/env.h"

typedef struct test_model {
    cJSON *json;
    rlx_weights *w;
    void *memory[ENV_TENSORS]; /* of random weights */
    int nmemory;
    rlx_flow *flow;
    rlx_model_config config;
    /* after model_build */
    test_env env;
    rlx_ir_module *hir;
    rlx_flow_outputs outputs;
} test_model;

/* A config for tests: 2 layers, H 36, I 53, N 6, G 2, D 10, V 47; `more` is further JSON (", \"a\":
 * 1") and wins over what is there. */
cJSON *model_config(const char *more);
/* One random tensor in the store. */
void model_add_weight(test_model *m, const char *name, rlx_format f, int rank, const int64_t *dims);
/* Random weights of a model of that config (of its family with a head, or by its architecture
 * without), which is taken over. */
void model_init(test_model *m, cJSON *config);
/* A Hugging Face directory; `file` is the weights' (NULL: found by the usual names). */
void model_init_directory(test_model *m, const char *directory, const char *file);
rlx_status model_make_flow(test_model *m);
/* The module of the flow, in place of any earlier one. */
rlx_status model_build(test_model *m, const char *const *probes, int nprobes);
void model_deinit(test_model *m);

enum { MODEL_SEQS = 4, MODEL_SLOTS = 2, MODEL_PAGES = MODEL_SEQS * MODEL_SLOTS };
/* Binds weights, empty pools and a page table for MODEL_SEQS sequences. */
void model_bind(test_model *m);
/* The inputs of a step of n tokens; every row is wanted. */
void model_set_step(test_model *m, test_env *e, int64_t n, const int32_t *ids, const int32_t *seq,
                    const int32_t *pos);
/* Runs @main on the HIR evaluator; results are freed by model_free_results. */
void model_run(test_model *m, rlx_eval_tensor *results);
void model_free_results(const test_model *m, rlx_eval_tensor *results);
/* How many functions the module has beside @main. */
int model_count_layers(const test_model *m);

#endif
