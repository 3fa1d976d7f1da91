/* rlx.h: the public interface of rlx, a compiler and runtime for neural networks.
 *
 * A model in five calls:
 *
 *   rlx_context_create(NULL, &cx);
 *   rlx_model_load(cx, "models/bundled", NULL, &model);
 *   rlx_session_create(cx, &(rlx_session_options){.max_positions = 512}, &session);
 *   rlx_model_generate(model, session, &(rlx_generate_options){.prompt = "Once", .count = 64}, print, NULL, NULL);
 *   ... and destroy in reverse order.
 *
 * Conventions. Every fallible function returns rlx_status: NULL is success; anything else is a story that
 * the caller owns (rlx_status_text, rlx_status_free). `create` and `load` make handles that `destroy`
 * frees (NULL is fine). Option structs: all-zero means default. Results come last. Strings are UTF-8.
 * Contexts, models, weights and executables may be used from many threads; a session by one at a time;
 * a flow by the thread that builds it. The library never prints, exits or aborts.
 */
#ifndef RLX_H
#define RLX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define RLX_API __attribute__((visibility("default")))
#else
#define RLX_API
#endif

/* ---- versions ----------------------------------------------------------------------------------
 * Before 1.0 a minor version may change structs and functions: it has an ABI, and a library name
 * (librlx.so.0.1), of its own. All-zero options stay the defaults, so that a source needs no change. */

#define RLX_VERSION_MAJOR 0
#define RLX_VERSION_MINOR 1
#define RLX_VERSION_PATCH 0
#define RLX_ABI_VERSION 1              /* what this header describes; rises when a release's structs or functions change */
RLX_API const char *rlx_version(void); /* of the library: "0.1.0"; static */
RLX_API int rlx_abi_version(void);     /* of the library: RLX_ABI_VERSION when it was built */

/* ---- status ---------------------------------------------------------------------------------- */

#ifndef RLX_STATUS_TYPES /* runtime/base/status.h declares the same for the library's inside */
#define RLX_STATUS_TYPES
typedef struct rlx_error *rlx_status;
typedef enum rlx_code {
    RLX_CODE_OK = 0,
    RLX_INVALID_ARGUMENT, /* the caller passed something wrong: flag, shape, name */
    RLX_INVALID_IR,       /* a module breaks a rule of its level */
    RLX_INVALID_FILE,     /* a file is malformed, truncated or inconsistent */
    RLX_NOT_FOUND,        /* a file, tensor, symbol or device is not there */
    RLX_UNSUPPORTED,      /* understood, and not offered: the message names what and where */
    RLX_OUT_OF_MEMORY,
    RLX_IO,        /* the operating system refused: message has errno's text */
    RLX_EXHAUSTED, /* a limit was reached: context full, bucket exceeded */
    RLX_CANCELLED,
    RLX_INTERNAL /* our own mistake, caught before it did harm */
} rlx_code;
#define RLX_OK ((rlx_status)0)
#endif

RLX_API rlx_code rlx_status_code(rlx_status s);
RLX_API const char *rlx_status_message(rlx_status s); /* innermost message; lent */
RLX_API char *rlx_status_text(rlx_status s);          /* the whole story; caller frees with free() */
RLX_API void rlx_status_free(rlx_status s);

/* ---- tensors and weights --------------------------------------------------------------------- */

#ifndef RLX_FORMAT_TYPES /* runtime/base/format.h makes the same from formats.def */
#define RLX_FORMAT_TYPES
typedef enum rlx_format {
    RLX_FORMAT_NONE = 0,
    RLX_F32,
    RLX_F64,
    RLX_F16,
    RLX_BF16,
    RLX_I8,
    RLX_I16,
    RLX_I32,
    RLX_I64,
    RLX_U8,
    RLX_U16,
    RLX_U32,
    RLX_U64,
    RLX_BOOL,
    RLX_Q8_0, /* blocks of 32 to 256 elements, as GGUF lays them out: weights only */
    RLX_Q4_0,
    RLX_Q4_1,
    RLX_Q5_0,
    RLX_Q5_1,
    RLX_Q4_K,
    RLX_Q5_K,
    RLX_Q6_K,
    RLX_Q2_K,
    RLX_Q3_K,
    RLX_Q8_K,
    RLX_Q8_1,
    RLX_Q1_0,
    RLX_Q2_0,     /* of 64 elements */
    RLX_Q2_0_128, /* GGUF has one type for both */
    RLX_TQ1_0,
    RLX_TQ2_0,
    RLX_MXFP4,
    RLX_NVFP4,
    RLX_IQ4_NL,
    RLX_IQ4_XS,
    RLX_IQ3_S,
    RLX_IQ3_XXS,
    RLX_IQ2_S,
    RLX_IQ2_XS,
    RLX_IQ2_XXS,
    RLX_IQ1_M,
    RLX_IQ1_S,
    RLX_FORMAT_COUNT
} rlx_format;
#endif

#ifndef RLX_TENSOR_TYPES /* runtime/runtime.h declares the same */
#define RLX_TENSOR_TYPES
typedef struct rlx_tensor {
    const char *name;
    rlx_format format;
    int rank;
    int64_t dim[6];   /* elements, row-major, innermost last */
    const void *data; /* lent */
    size_t bytes;
} rlx_tensor;
#endif

/* A set of named tensors: mapped files, never copied (but for the few that a file does not align to their elements),
 * and memory that the caller keeps alive for as long as anything uses the set. Built by one thread; immutable from the
 * first use on, and then any number of threads may use it. Errors leave a set as it was. */
typedef struct rlx_weights rlx_weights;
RLX_API rlx_status rlx_weights_create(rlx_weights **out); /* empty */
RLX_API void rlx_weights_destroy(rlx_weights *w);
/* Adds all tensors of a .safetensors file or, given an .index.json, of all shards that it names beside itself, under
 * the files' names. Everything in the headers is checked: RLX_INVALID_FILE names the file and the tensor or byte.
 * Tensors of a dtype that rlx has no format for (U16, F8_E4M3 ..) have RLX_FORMAT_NONE: they are there, and nothing can
 * bind them. RLX_NOT_FOUND and RLX_IO: what the system said; RLX_INVALID_ARGUMENT: a name that the set has. */
RLX_API rlx_status rlx_weights_add_safetensors(rlx_weights *w, const char *path);
/* The same for a .gguf file, and for the others beside it when it is a part of several. */
RLX_API rlx_status rlx_weights_add_gguf(rlx_weights *w, const char *path);
/* Adds one tensor; its data is lent for as long as anything uses the set, its name copied. RLX_INVALID_ARGUMENT: no
 * name, one that is there, extents and format that do not make `bytes`, or data that is not aligned to its elements. */
RLX_API rlx_status rlx_weights_add(rlx_weights *w, const rlx_tensor *t);
/* Adds a second name for a tensor (tied weights): RLX_NOT_FOUND when there is no `existing`, RLX_INVALID_ARGUMENT when
 * there is a `name`. */
RLX_API rlx_status rlx_weights_alias(rlx_weights *w, const char *name, const char *existing);
/* Adds a part of a tensor as one of its own (fused weights): `rows` along its first axis from `first` on, where they
 * lie. RLX_NOT_FOUND and RLX_INVALID_ARGUMENT as above, and when it has not so many. */
RLX_API rlx_status rlx_weights_add_rows(rlx_weights *w, const char *name, const char *existing,
                                        int64_t first, int64_t rows);
/* Adds to every tensor whose name is known its name in other files, as a second one: in a hub's checkpoint, which flows
 * of families use ("model.layers.3.self_attn.q_proj.weight"), of GGUF's ("blk.3.attn_q.weight") and Meta's
 * ("layers.3.attention.wq.weight"); or in a GGUF file, of the hub's. `architecture` ("llama") as GGUF files have it: some
 * names depend on it; NULL: those that do not. Names that are there stay. Nothing is permuted: rows of q and k in GGUF
 * files of llama and smollm3, and in Meta's, are for rope_interleaved. */
typedef enum rlx_naming { RLX_NAMES_HUB, RLX_NAMES_GGUF } rlx_naming;
RLX_API rlx_status rlx_weights_add_names(rlx_weights *w, const char *architecture, rlx_naming naming);
RLX_API const rlx_tensor *rlx_weights_find(const rlx_weights *w, const char *name); /* NULL: none; lent */
RLX_API int rlx_weights_count(const rlx_weights *w);
RLX_API const rlx_tensor *rlx_weights_at(const rlx_weights *w, int i); /* 0 <= i < count; lent */
#ifndef RLX_ORIGIN_TYPES /* runtime/runtime.h declares the same */
#define RLX_ORIGIN_TYPES
typedef struct rlx_tensor_origin {
    const char *file; /* the path; NULL: the caller's memory; lent, as the type is */
    const char *type; /* of the elements, in the file's words: "BF16", "iq2_xxs" */
    int64_t offset;   /* of the first byte in the file; -1: no file */
    int source;       /* index of the tensor of which this is another name or a part; -1: none */
} rlx_tensor_origin;
#endif
RLX_API void rlx_weights_get_origin(const rlx_weights *w, int i, rlx_tensor_origin *out); /* 0 <= i < count */

/* For programs whose weight files may be made shorter while they are mapped (a download that begins anew): a read
 * behind the end of such a file raises SIGBUS, which ends the process. From this call on it gives zeros, and what read
 * them, loading or a step, fails with RLX_IO and the file's name; a step that fails so changes no sequence. Installs a
 * handler of SIGBUS, once in a process; faults elsewhere go on to the handler that was there. The library never
 * calls it; `rlx` does. */
RLX_API rlx_status rlx_guard_files(void);

/* Writes tensors to a .safetensors file, atomically; to a pipe or a device in place. Links are followed.
 * `metadata`: key, value, ..., NULL; or NULL. */
RLX_API rlx_status rlx_safetensors_write(const char *path, const rlx_tensor *tensors, int n,
                                         const char *const *metadata);

/* ---- the compile cache ---------------------------------------------------------------------------
 * Compiled code in files, one for each flow and bucket, under a key made of everything that decides what is
 * compiled (docs/cache.md). A context opens its own; a program opens one to look after it. Any number of threads may use a cache, any number of processes a folder. */

typedef struct rlx_cache rlx_cache;
#ifndef RLX_CACHE_TYPES /* runtime/cache.h declares the same */
#define RLX_CACHE_TYPES
typedef struct rlx_cache_options {
    const char *folder;        /* NULL: $RLX_CACHE_DIR, else rlx in $XDG_CACHE_HOME or $HOME/.cache */
    const char *system_folder; /* looked in when `folder` has no entry, never written; NULL: $RLX_CACHE_SYSTEM_DIR */
    const char *trusted_key;   /* a file with a public key: of the system folder, which anybody may then have written, only
                                  entries that were signed with it are taken; NULL: $RLX_CACHE_KEY, or none */
    int64_t max_bytes;         /* of `folder`; beyond it what was used least recently goes; 0: 4 GiB */
    bool shared;               /* folders that others can write to are taken, too: their code is run */
    void (*warn)(void *user, const char *message); /* damaged entries, writes that fail; may be NULL */
    void *warn_user;
} rlx_cache_options;
typedef struct rlx_cache_entry {
    char key[65]; /* hex */
    int64_t bytes;
    int64_t used; /* seconds since 1970, within an hour */
    bool system;  /* in the system folder */
    int64_t driver_bytes; /* beside it, and not in `bytes`: what drivers of devices made of it */
} rlx_cache_entry;
typedef struct rlx_cache_stats {
    int64_t hits, misses, written, damaged; /* since it was opened */
} rlx_cache_stats;
#endif
/* A named folder that cannot be used is RLX_INVALID_ARGUMENT (others can write to it) or RLX_IO; the
 * user's own is a warning then, and nothing is kept. */
RLX_API rlx_status rlx_cache_open(const rlx_cache_options *o, rlx_cache **out);
RLX_API void rlx_cache_close(rlx_cache *c);
RLX_API const char *rlx_cache_folder(const rlx_cache *c); /* NULL: nothing is kept; lent */
RLX_API bool rlx_cache_is_sealed(const rlx_cache *c);
RLX_API void rlx_cache_get_stats(const rlx_cache *c, rlx_cache_stats *out);
/* Calls `fn` for every entry, those of the user's folder first; false from it ends. */
typedef bool rlx_cache_visit(void *user, const rlx_cache_entry *e);
RLX_API rlx_status rlx_cache_each(rlx_cache *c, rlx_cache_visit *fn, void *user);
RLX_API rlx_status rlx_cache_remove(rlx_cache *c, const rlx_cache_entry *e);
/* Removes what was used least recently until at most `max_bytes` are left. *removed: how many entries; may be NULL. */
RLX_API rlx_status rlx_cache_trim(rlx_cache *c, int64_t max_bytes, int64_t *removed);
/* An entry as text: "line" (key, bytes, target, bucket, flow), "text" (that and every field of its key) or "json". *text is freed
 * by the caller. */
RLX_API rlx_status rlx_cache_describe(rlx_cache *c, const rlx_cache_entry *e, const char *what,
                                      char **text);
/* Holds an entry to its checksum and its name; `recompile`: and to what compiling it anew gives, byte for byte.
 * RLX_INVALID_FILE says what is wrong; RLX_UNSUPPORTED: it is of another build of rlx, or for a machine that is
 * neither this one nor one with a name, and cannot be made again here. */
RLX_API rlx_status rlx_cache_verify(rlx_cache *c, const rlx_cache_entry *e, bool recompile);
/* Puts a signature beside each entry of the folder, by the secret key in a file: the folder can then be another's system folder
 * (rlx_cache_options.trusted_key). *count: how many. */
RLX_API rlx_status rlx_cache_sign(rlx_cache *c, const char *secret_key, int64_t *count);
/* All entries into one file, and out of one into the folder. `secret_key`: a file; entries are signed with it; NULL: not.
 * `trusted_key`: a file with a public key; an entry that is not signed with its other half ends the import. NULL: what is in the file
 * is trusted as it is, and its code will be run. RLX_INVALID_FILE names the byte; what was taken before stays.
 * A damaged entry is not exported: rlx_cache_options.warn hears of it, and rlx_cache_stats.damaged counts it. */
RLX_API rlx_status rlx_cache_export(rlx_cache *c, const char *path, const char *secret_key,
                                    int64_t *count);
RLX_API rlx_status rlx_cache_import(rlx_cache *c, const char *path, const char *trusted_key,
                                    int64_t *count);
/* Makes a pair of keys: `path`, secret, and `path`.pub. Neither may be there. */
RLX_API rlx_status rlx_cache_make_keys(const char *path);
/* Records that the set of entries is complete: from then on nothing is compiled with this cache; or no longer. */
RLX_API rlx_status rlx_cache_seal(rlx_cache *c, bool sealed);

/* ---- devices and contexts ---------------------------------------------------------------------- */

typedef struct rlx_device_info {
    const char *name;        /* as contexts take it: "cpu", "ref:mir"; static, as the next three */
    const char *target;      /* what code is made for: "x86-64-v4+avx512bf16"; "" for evaluators and what cannot be used */
    const char *features;    /* all that the target stands for: "sse3 ssse3 ..."; "" for evaluators */
    const char *description; /* the processor's or device's name; what the evaluator does */
    int cores;               /* that the process may use */
    int64_t l1_bytes, l2_bytes, l3_bytes; /* of a core, of a core, of all; 0: unknown */
    /* Of a device with memory of its own, else 0: all of it; of a team; that a kernel reaches of one tensor or state. */
    int64_t memory_bytes, team_bytes, range_bytes;
    const char *why_not; /* it is there, and no context can be made on it; "": nothing speaks against it; static */
} rlx_device_info;
/* The CPU, the evaluators, then Vulkan's devices ("vulkan:0"), for which Vulkan's loader is opened (a machine without it has none), then
 * NVIDIA's ("cuda:0") and AMD's ("hip:0"), for which their drivers are. All that is there, what cannot be used as well. */
RLX_API int rlx_device_count(void);
RLX_API void rlx_device_get_info(int i, rlx_device_info *out); /* 0 <= i < count */
/* Why there is no device of a maker ("cuda", "hip"): no driver, one that is too old; "": there is one; static. NULL: no such maker. */
RLX_API const char *rlx_device_why_none(const char *maker);
/* Bytes per second that a device's queue copies: from the host's memory, to it, within its own. */
typedef struct rlx_device_speeds {
    double upload, download, copy;
} rlx_device_speeds;
/* Copies an eighth of its memory a few times, at most 64 MiB to and from the host's and 1 GiB within its own. RLX_UNSUPPORTED: the device has no memory of its own; RLX_NOT_FOUND: it is not there. */
RLX_API rlx_status rlx_device_measure(const char *name, rlx_device_speeds *out);

typedef struct rlx_context rlx_context;
typedef enum rlx_log_level { RLX_LOG_ERROR, RLX_LOG_WARNING, RLX_LOG_INFO } rlx_log_level;
/* How `perf` learns of kernels (docs/embedding.md). The contexts of a process share its file of a form. */
#ifndef RLX_PERF_TYPES /* runtime/perf.h declares the same */
#define RLX_PERF_TYPES
typedef enum rlx_perf_form {
    RLX_PERF_NONE,
    RLX_PERF_MAP,    /* names and addresses: /tmp/perf-PID.map, which perf report finds by itself */
    RLX_PERF_JITDUMP /* the code, too: FOLDER/jit-PID.dump, for perf inject --jit */
} rlx_perf_form;
#endif
typedef struct rlx_context_options {
    const char *device; /* "cpu" (default), "cpu:x86-64-v3", "cpu:native,-avx512f", "vulkan" (the first that is no
                           software, else that, with a warning), "vulkan:1,-int8", "vulkan:0,memory=4G,range=64M" (as
                           if it had less memory, or bound less of it at once: for tests),
                           "cuda", "cuda:1,memory=4G", "cuda:0,step=kernel" (a step's kernels in one
                           launch; step=graph: one by one in a graph, the default; step=auto: by
                           what a launch moves), "hip:0", "ref:mir", "ref:lir" */
    int threads;        /* 0: the cores that affinity and cgroup give */
    void (*log)(void *user, rlx_log_level level, const char *message); /* may be NULL */
    void *log_user;
    rlx_cache_options cache; /* where compiled code is; without `warn` of its own, `log` hears of it */
    bool no_cache;           /* compiled code and tokenizers' tables are neither looked for nor kept */
    bool no_compile;         /* what the cache does not have is an error, RLX_NOT_FOUND, that says why */
    rlx_perf_form perf;      /* loaded kernels are named to Linux's profiler; NONE: as RLX_PERF (map, jitdump) says */
    const char *perf_folder; /* of a jitdump; NULL: the current one */
    /* Of a flow's layers the last so many run on the device, with all that follows them, and what is before on the CPU: "0"
     * (nothing is on the device) .. "all" (NULL), or any number above that of the layers. */
    const char *device_layers;
} rlx_context_options;
/* Makes a context for programs whose rlx.h has the ABI `abi`: RLX_UNSUPPORTED, with both numbers, when the library
 * has another. For bindings from other languages; C and C++ call rlx_context_create. `options` may be NULL. */
RLX_API rlx_status rlx_context_create_for(int abi, const rlx_context_options *options,
                                          rlx_context **out);
static inline rlx_status rlx_context_create(const rlx_context_options *options, rlx_context **out)
{
    return rlx_context_create_for(RLX_ABI_VERSION, options, out);
}
RLX_API void rlx_context_destroy(rlx_context *cx);
/* Opens a device anew that was lost (RLX_IO "device lost"): what is compiled, loaded and created afterwards runs. What was
 * before does not, models (rlx_model), executables and sessions; it is to be destroyed, and no thread may use the context
 * meanwhile. RLX_NOT_FOUND: another device is now in its place. Nothing where nothing is lost.
 * "cuda" and "hip": what this process has on the device ends with that, other contexts' and other libraries', which must not use it
 * meanwhile. Those contexts are lost, too, and are opened anew themselves, each by a call of its own, which ends nothing once more.
 * NVIDIA says of some errors (an address out of memory) that only a new process can use the device again: then it fails as before. AMD's
 * runtime may end the process when a kernel fails: nothing is left to be opened anew. Neither was seen on hardware. */
RLX_API rlx_status rlx_context_reopen(rlx_context *cx);
RLX_API const char *rlx_context_device(const rlx_context *cx); /* "cpu:x86-64-v4+avx512bf16"; lent */
RLX_API int rlx_context_threads(const rlx_context *cx);
RLX_API rlx_cache *rlx_context_cache(const rlx_context *cx); /* NULL: none; lent */
/* What the context made executables of, since it was created: flows that were compiled, and those whose code the cache had;
 * seconds that each took, of all threads together. From any thread. */
typedef struct rlx_context_stats {
    int64_t compiled, loaded;
    double compile_seconds, load_seconds;
} rlx_context_stats;
RLX_API void rlx_context_get_stats(const rlx_context *cx, rlx_context_stats *out);

/* ---- flows -----------------------------------------------------------------------------------
 * A flow is a list of stages that a tensor passes through. Stages are recorded; shapes and weights are
 * checked when the flow is compiled, and an error names the stage. The first error of a recording
 * (out of memory, a nesting mistake) is kept and returned by compile.
 *
 * "{}" in a weight's key stands for the layer index inside rlx_flow_repeat_layers. Shapes below: T tokens,
 * H hidden, N heads, G kv heads, D head dim, V vocab, I ffn, R rows. Linear weights are [out, in]. */

typedef struct rlx_flow rlx_flow;
/* An empty flow; `name` is copied, and stands in messages and IR texts. RLX_OUT_OF_MEMORY is the only error. */
RLX_API rlx_status rlx_flow_create(const char *name, rlx_flow **out);
RLX_API void rlx_flow_destroy(rlx_flow *f);

/* The tensor that enters the flow; a later one waits until a stage asks for it by name ("values by name"). Dims:
 * constants >= 0, or rlx_flow_symbol. */
RLX_API int64_t rlx_flow_symbol(rlx_flow *f, const char *name); /* "TOKENS", "ROWS" or one's own */
RLX_API void rlx_flow_input(rlx_flow *f, const char *name, rlx_format format, int rank,
                            const int64_t *dims);
RLX_API void rlx_flow_embed(rlx_flow *f, const char *key); /* ids i32[T] -> f32[T,H], key [V,H] */
RLX_API void rlx_flow_rms_norm(rlx_flow *f, const char *key, double eps);
RLX_API void rlx_flow_linear(rlx_flow *f, const char *key, const char *bias_key /* may be NULL */);
RLX_API void rlx_flow_scale(rlx_flow *f, double by); /* x * by, of any shape f32[..,H]: logits, embeddings, a residual branch */
RLX_API void rlx_flow_residual_save(rlx_flow *f); /* saves nest */
RLX_API void rlx_flow_residual_add(rlx_flow *f);  /* adds what the matching save kept */
RLX_API void rlx_flow_swiglu(rlx_flow *f, const char *gate_key, const char *up_key,
                             const char *down_key);

typedef struct rlx_attention_spec {
    const char *q_key, *k_key, *v_key;                /* [N*D,H], [G*D,H], [G*D,H] */
    const char *q_bias_key, *k_bias_key, *v_bias_key; /* may be NULL */
    int64_t heads, kv_heads, head_dim;
    double scale; /* 0: 1/sqrt(D) */
    const char *q_norm_key, *k_norm_key; /* [D], both or NULL: RMSNorm of every head before the rotation */
    double norm_eps;
    int64_t window; /* keys that a query sees at most, its own included; 0: all */
    bool no_rope;   /* queries and keys are not rotated */
    bool rope_interleaved; /* rotates the pairs 2i, 2i + 1 of a head rather than i, i + R/2 */
    int64_t rotary_dim; /* R: that many first elements of a head rotate, even; 0: all of them */
    const char *rope;   /* of the tables of rlx_flow_rope_tables; NULL: inputs rope_cos and rope_sin */
    double softcap;     /* c: scores s become c * tanh(s / c); 0: they stay */
    int64_t chunk;      /* a query sees keys of its own chunk of so many positions only; 0: none */
    int64_t block;      /* a query also sees what is behind it in its own block of so many positions, a divisor of 256,
                           as far as the step has it: it brings whole blocks but for a sequence's last; 0: none. At most one of window, chunk and block */
    const char *sinks_key; /* [N]: a score more per head, without a value; may be NULL */
    bool gated;         /* q_key is [N*2*D,H], of every head its queries, then a gate: o * sigmoid(gate) */
    bool v_norm;        /* RMSNorm of every value head, without a weight */
    bool norm_plus_one; /* q_norm and k_norm multiply by 1 + w */
    bool kv_shared;     /* there are no keys and values (k_key and v_key NULL): those of layer kv_layer are read, an earlier
                           one of the same kv_heads, head_dim, window and chunk */
    int64_t kv_layer;
} rlx_attention_spec;
/* Causal self-attention with rotary positions (inputs rope_cos, rope_sin f32[T,R/2]) over the
 * session's KV pages: f32[T,H] -> f32[T,N*D]. With v_key NULL values are the k projection before its norm. A query at
 * position p sees the keys of its sequence at positions j <= p, with a window w only those with j > p - w. The output
 * projection is a linear stage of its own. Once per layer of one rlx_flow_repeat_layers: the layer's index names its
 * pages. Values inside: those of rlx_flow_probe_inside, and "keys", "values" [T,G*D] as they are kept. */
RLX_API void rlx_flow_self_attention(rlx_flow *f, const rlx_attention_spec *spec);

/* Records `layer(flow, index, user)` for index 0..count-1. Equal layers become one function: keys that spell the index
 * out instead of "{}" make every layer a function of its own. */
RLX_API void rlx_flow_repeat_layers(rlx_flow *f, int64_t count,
                                    void (*layer)(rlx_flow *f, int64_t index, void *user),
                                    void *user);
RLX_API void rlx_flow_select_rows(rlx_flow *f); /* keeps the rows that input rows i32[R] names */
/* One token of each sequence of a filled batch, f32[B,S,H] -> f32[B,1,H]: the one that input last_token_idx i32[B] names
 * (zeros for an index out of range), or token length - 1 of all, where S is a constant. Ragged batches, f32[T,H], have
 * rlx_flow_select_rows. */
RLX_API void rlx_flow_gather_last_token(rlx_flow *f);
RLX_API void rlx_flow_gather_last_token_at(rlx_flow *f, int64_t length);
RLX_API void rlx_flow_lm_head(rlx_flow *f, const char *key); /* f32[R,H] -> f32[R,V] */
/* Names the module whose output the tensor now is, for probes ("model.layers.{}"). Costs nothing unless asked for. */
RLX_API void rlx_flow_probe_point(rlx_flow *f, const char *path);
/* The same for a value inside the stage before: "q", "k" [T,N*D], [T,G*D] before norm and rotation, "v", "q_norm",
 * "k_norm" [T,N,D], [T,G,D] of self_attention; "gate", "up", "act" [T,I] of swiglu. Kernels that are fused across it
 * are cut there when it is asked for. */
RLX_API void rlx_flow_probe_inside(rlx_flow *f, const char *value, const char *path);
/* The same for the rotary tables, f32[T,R] with both halves alike. */
RLX_API void rlx_flow_probe_rotary(rlx_flow *f, int64_t rotary_dim, const char *cos_path, const char *sin_path);
/* The tensor now is an output. In a layer "{}" stands for its index: "hidden.{}" is an output of every layer that
 * records it; a name without "{}" is that of one layer. No input has the name; it does not begin with a colon. */
RLX_API void rlx_flow_output(rlx_flow *f, const char *name);

/* What rlx_flow_activation and others apply element by element. */
typedef enum rlx_activation {
    RLX_ACT_CUSTOMARY, /* what is said where one is chosen (rlx_cell_spec); elsewhere x */
    RLX_ACT_RELU, /* max(x, 0) */
    RLX_ACT_RELU6, /* min(max(x, 0), 6) */
    RLX_ACT_RELU_SQUARED, /* max(x, 0)^2 */
    RLX_ACT_LEAKY_RELU, /* x, alpha x below 0; alpha 0.01 */
    RLX_ACT_ELU, /* x, alpha (e^x - 1) below 0; alpha 1 */
    RLX_ACT_SELU, /* 1.0507.. times elu of alpha 1.6732.. */
    RLX_ACT_GELU, /* x/2 (1 + erf(x/sqrt 2)) */
    RLX_ACT_GELU_TANH, /* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
    RLX_ACT_QUICK_GELU, /* x sigmoid(1.702 x) */
    RLX_ACT_SILU, /* x sigmoid(x) */
    RLX_ACT_MISH, /* x tanh(log(1 + e^x)) */
    RLX_ACT_SIGMOID, /* 1/(1 + e^-x) */
    RLX_ACT_LOG_SIGMOID, /* log(sigmoid(x)) */
    RLX_ACT_HARD_SIGMOID, /* min(max(x + 3, 0), 6)/6 */
    RLX_ACT_HARD_SWISH, /* x min(max(x + 3, 0), 6)/6 */
    RLX_ACT_TANH, /* tanh(x) */
    RLX_ACT_SOFTPLUS, /* log(1 + e^(alpha x))/alpha; alpha 1 */
    RLX_ACT_SOFTSIGN, /* x/(1 + |x|) */
    RLX_ACT_CLAMP, /* min(max(x, alpha), beta); alpha -1, beta 1 */
    RLX_ACT_SOFTCAP, /* alpha tanh(x/alpha); alpha 30 */
    RLX_ACT_IDENTITY /* x */
} rlx_activation;

/* Recurrences over axis 1 of f32[B,S,I]: torch's nn.GRU and nn.LSTM with batch_first, all layers, without dropout. Weights
 * "PREFIX.weight_ih_l0" and so on, PREFIX "" for none; [.., 2H] with both directions. The streams (rlx_flow_bind_stream
 * makes one of an input) may be NULL. */
typedef struct rlx_recurrent_spec {
    const char *prefix;
    int64_t layers; /* 0: 1; 1024 at most */
    bool bidirectional, no_bias;
    bool backwards;                 /* the one direction is from the last step to the first */
    bool reset_before;              /* as in rlx_cell_spec */
    const char *lengths;            /* stream i32[B]: the steps of each row, behind which is 0; as of a packed sequence */
    const char *h, *c;              /* streams f32[layers * directions,B,H]: first states, else zeros; LSTM: both or none */
    const char *h_last, *c_last;    /* streams to keep the last states in, of the same shape */
    rlx_activation gate, cell, out; /* as in rlx_cell_spec, as clip is */
    double clip;
} rlx_recurrent_spec;
RLX_API void rlx_flow_gru(rlx_flow *f, const rlx_recurrent_spec *spec);
RLX_API void rlx_flow_lstm(rlx_flow *f, const rlx_recurrent_spec *spec);
/* A causal depthwise convolution, key [C,1,K] or [C,K], bias_key [C] or NULL: of f32[B,S,C]; with `state`, the name of a
 * state of the session ("conv.{}"), of f32[T,C]. */
RLX_API void rlx_flow_short_conv(rlx_flow *f, const char *key, const char *bias_key, const char *state);
/* The gated delta rule (rlx_build_delta_rule) of the streams "gdn.q", "gdn.k", "gdn.v", "gdn.g", "gdn.beta", which a stage before
 * it stores; the tensor is what it gives, f32[..,H,E]. `state` as above, NULL: zeros at the first step of axis 1. */
typedef struct rlx_gdn_spec {
    double scale, norm_eps; /* as in rlx_delta_rule_spec */
    bool tile;
    const char *state;
    int64_t chunk;          /* as in rlx_delta_rule_spec */
} rlx_gdn_spec;
RLX_API void rlx_flow_gdn_scan(rlx_flow *f, const rlx_gdn_spec *spec);

/* ---- values by name ----------------------------------------------------------------------------
 * Streams are tensors that a flow keeps under names: in @main, through layers (which take those that they read as
 * arguments and hand on those that they store, so that equal layers still share a function), and for the build
 * functions of custom stages. "{}" in a name is the layer's index: "hidden.{}" stored by every layer is "hidden.3"
 * behind them. What a stream holds is read at the stage that loads it: a name that nothing stored before is refused
 * there (RLX_NOT_FOUND, with the nearest). */

RLX_API void rlx_flow_store_stream(rlx_flow *f, const char *stream); /* keeps the tensor, which passes on */
RLX_API void rlx_flow_load_stream(rlx_flow *f, const char *stream);  /* goes on with that tensor */
/* Inputs behind the first: rlx_flow_input declares them, anywhere outside of layers; the tensor passes on. These go on
 * with one, and keep one as a stream. */
RLX_API void rlx_flow_load_input(rlx_flow *f, const char *input);
RLX_API void rlx_flow_bind_stream(rlx_flow *f, const char *input, const char *stream);
/* Keeps a value inside the stage before, by the names of rlx_flow_probe_inside: "k" of self_attention. */
RLX_API void rlx_flow_name_value(rlx_flow *f, const char *value, const char *stream);
RLX_API void rlx_flow_output_stream(rlx_flow *f, const char *name, const char *stream); /* as rlx_flow_output */

/* ---- flows of parts ----------------------------------------------------------------------------
 * Functions that record are the simplest parts. Scopes give stages places, which errors name and patches find; stacks
 * are recorded once and put into flows as often as they are needed. */

/* Records if the condition holds. */
RLX_API void rlx_flow_when(rlx_flow *f, bool condition, void (*record)(rlx_flow *f, void *user), void *user);
/* Records what belongs together under a name ("attn"; no / or #); scopes nest. */
RLX_API void rlx_flow_scope(rlx_flow *f, const char *name, void (*record)(rlx_flow *f, void *user), void *user);

/* A group of stages for layers, "{}" in keys as there: a flow without an input, for the two that follow, which leave it
 * as it is. Its name is the scope of its stages. rlx_flow_destroy frees it. */
RLX_API rlx_status rlx_stack_create(const char *name, rlx_flow **out);
RLX_API void rlx_flow_stack(rlx_flow *f, const rlx_flow *stack);
RLX_API void rlx_flow_repeat_stack(rlx_flow *f, int64_t count, const rlx_flow *stack); /* as layers 0..count-1 */

typedef enum rlx_patch_edit { RLX_PATCH_BEFORE, RLX_PATCH_AFTER, RLX_PATCH_REPLACE, RLX_PATCH_REMOVE } rlx_patch_edit;
/* Changes what was recorded. `where` is [layers/ | layers.N/][SCOPE/..]STAGE[#n]: a stage by what it is ("swiglu") or
 * its name, of every layer, of layer N, or outside of layers; of several that are alike the n-th, from 0; or a whole
 * scope. `record` records what comes before it, after it or in its place, once for each that is found. Refused, with
 * the nearest: a place where nothing is; one that is several stages; what would leave residuals unbalanced, a name
 * twice, or the flow without its input. */
RLX_API void rlx_flow_patch(rlx_flow *f, const char *where, rlx_patch_edit edit,
                            void (*record)(rlx_flow *f, void *user), void *user);

/* ---- stages of encoders and vision models ------------------------------------------------------
 * x is f32[..,H] unless it is said otherwise; B batch, S sequence. A NULL key leaves that weight out. */

/* A function of one element. alpha and beta are numbers of those that have them; both 0: as said here. */
RLX_API void rlx_flow_activation(rlx_flow *f, rlx_activation fn, double alpha, double beta);
RLX_API void rlx_flow_logit_softcap(rlx_flow *f, double cap); /* cap tanh(x/cap) */
/* (x - mean) / sqrt(variance + eps) * w + bias over the last axis; keys [H]. */
RLX_API void rlx_flow_layer_norm(rlx_flow *f, const char *key, const char *bias_key, double eps);
RLX_API void rlx_flow_gemma_rms_norm(rlx_flow *f, const char *key, double eps); /* rms_norm with the weight 1 + w */
RLX_API void rlx_flow_layer_scale(rlx_flow *f, const char *key); /* x * gamma, key [H] */
RLX_API void rlx_flow_embed_scale(rlx_flow *f, int64_t hidden);  /* x * sqrt(hidden) */

/* Two linear maps with biases and gelu (erf) between, by the keys of a family: "PREFIX.intermediate.dense" and
 * "PREFIX.output.dense" (BERT), "PREFIX.mlp.fc1" and "PREFIX.mlp.fc2" (DINOv2), each with .weight and .bias. */
typedef enum rlx_ffn_keys { RLX_FFN_BERT, RLX_FFN_DINOV2 } rlx_ffn_keys;
RLX_API void rlx_flow_gelu_ffn(rlx_flow *f, const char *prefix, rlx_ffn_keys keys);

typedef struct rlx_gated_mlp_spec {
    const char *gate_key, *up_key, *down_key;                /* [I,H], [I,H], [H,I] */
    const char *gate_bias_key, *up_bias_key, *down_bias_key; /* may be NULL */
    const char *norm_key, *norm_bias_key;                    /* [I]: a layer norm in front of down, with norm_eps; or NULL */
    double norm_eps;
    rlx_activation activation; /* of the gate */
} rlx_gated_mlp_spec;
/* down(norm(activation(gate(x)) * up(x))) */
RLX_API void rlx_flow_gated_mlp(rlx_flow *f, const rlx_gated_mlp_spec *spec);
/* The same with gelu_tanh, as Gemma has it. */
RLX_API void rlx_flow_geglu(rlx_flow *f, const char *gate_key, const char *up_key,
                            const char *down_key);
/* The same as "PREFIX.mlp.fc12" (gate), "fc11" (up), "norm" and "fc2", all with biases, and silu. */
RLX_API void rlx_flow_vision_swiglu_ffn(rlx_flow *f, const char *prefix, double norm_eps);

/* Images f32[N,C,H,W] as rows f32[N,P,M] of patches, by rlx_build_patch_embed; key [M,C,h,w], bias [M] or NULL. */
RLX_API void rlx_flow_patch_embed(rlx_flow *f, const char *key, const char *bias_key);
RLX_API void rlx_flow_cls_token_pool(rlx_flow *f); /* f32[B,S,H] -> f32[B,H]: what stands at 0 */
/* f32[B,S,H] -> f32[B,H]: the mean over those s for which the input `mask` i32[B,S] is not 0; NULL: over all. A row
 * without any gives 0. */
RLX_API void rlx_flow_mean_pool(rlx_flow *f, const char *mask);
/* Rows of a table [V,H] by the ids i32[..] of an input that rlx_flow_input declares: f32[..,H] in place of the tensor,
 * or added to it, of that shape or f32[..,S,H] for ids i32[S]. */
RLX_API void rlx_flow_gather_from_input(rlx_flow *f, const char *input, const char *key);
RLX_API void rlx_flow_gather_add(rlx_flow *f, const char *input, const char *key);

/* ---- attention of whole sequences, rotary tables -------------------------------------------------
 * B batch, S sequence. */

/* How a model stretches its rotations; of frontend/rope.c, for tables and frequencies of one's own. */
typedef enum rlx_rope_type {
    RLX_ROPE_DEFAULT, /* 1 / theta^(2i/D) */
    RLX_ROPE_LINEAR,  /* divided by factor */
    RLX_ROPE_LLAMA3,  /* low frequencies divided by factor, high ones kept, a ramp between */
    RLX_ROPE_YARN,    /* a ramp over the index between both, and an attention factor */
    RLX_ROPE_DYNAMIC, /* theta grows with the length beyond max_positions */
    RLX_ROPE_LONGROPE /* each divided by a factor of its own: others beyond the original length */
} rlx_rope_type;

/* What a config says, by transformers' names. Only `dim` and `theta` count for the default type. */
typedef struct rlx_rope_spec {
    rlx_rope_type type;
    int64_t dim;                   /* D: even, > 0 */
    double theta;                  /* base, > 1 */
    double factor;                 /* linear, llama3, yarn, dynamic: > 0; longrope: 0: max_positions / original */
    double original;               /* llama3, yarn, longrope: original_max_position_embeddings */
    double max_positions;          /* dynamic, longrope: max_position_embeddings */
    double low, high;              /* llama3: low_freq_factor < high_freq_factor */
    double beta_fast, beta_slow;   /* yarn; 0: 32 and 1 */
    double mscale, mscale_all_dim; /* yarn: both, or the plain attention factor; 0: none */
    double attention_factor;       /* yarn, longrope; 0: from factor (and mscale) */
    bool no_truncate;              /* yarn: correction indices are not rounded outwards */
    const float *factors;                     /* D/2 divisors of the inverse frequencies; NULL: none */
    const float *short_factor, *long_factor; /* longrope: D/2 divisors each, > 0 */
} rlx_rope_spec;
/* dim/2 frequencies, for rlx_flow_rope_spec's freqs_key, and what multiplies cosines and sines, its amplitude. `length`:
 * that of the sequences, for types whose frequencies depend on it (dynamic, longrope); others do not read it.
 * RLX_INVALID_ARGUMENT names a parameter that makes no sense. */
RLX_API rlx_status rlx_rope_frequencies(const rlx_rope_spec *spec, int64_t length, float *freqs,
                                        double *amplitude);

typedef enum rlx_rope_order {
    RLX_ROPE_AXES,     /* each axis has frequencies of its own, pairs of one behind those of another: images, video, Flux */
    RLX_ROPE_SECTIONS, /* one series of frequencies, cut into the axes' pairs: Qwen2-VL */
    RLX_ROPE_TURNS     /* one series; pair i is of axis i mod n while i < n * pairs of that axis, else of axis 0: Qwen3.5 */
} rlx_rope_order;

typedef struct rlx_flow_rope_spec {
    const char *name;      /* for the `rope` of attentions; streams "NAME.cos" and "NAME.sin" hold the tables f32[..,R/2] */
    int64_t rotary_dim;    /* R */
    double theta;          /* tables are computed: pair i has the frequency theta^(-2i/R) / factor */
    double factor;         /* 0: 1 */
    double amplitude;      /* multiplies cosines and sines (YaRN, LongRoPE); 0: 1 */
    const char *freqs_key; /* in place of theta: frequencies [R/2] (rlx_rope_frequencies) */
    const char *cos_key, *sin_key; /* in place of all these: tables [places,R/2] */
    const char *positions; /* an input i32[..], or with sections i32[A,..]. NULL: of f32[TOKENS,H] and ids i32[TOKENS] the
                              session's, of f32[B,S,H] and ids i32[B,S] 0, 1, .. */
    int64_t sections[4];   /* pairs of each of A axes of positions; all 0: one axis */
    rlx_rope_order order;  /* of the sections */
} rlx_flow_rope_spec;
/* Several tables of one flow have names of their own (Gemma 3: two thetas). The tensor passes on. */
RLX_API void rlx_flow_rope_tables(rlx_flow *f, const rlx_flow_rope_spec *spec);
/* Keeps T5's and MPNet's bias f32[N,S,S] of the tensor f32[B,S,H] (or ids i32[B,S]) under a stream's name: a table
 * [buckets,N] by the bucket of key - query; one_sided: keys behind the query count as distance 0. */
RLX_API void rlx_flow_bucket_bias(rlx_flow *f, const char *stream, const char *key, int64_t max_distance,
                                  bool one_sided);

typedef struct rlx_encoder_attention_spec {
    const char *q_key, *k_key, *v_key;                /* [N*D,H], [G*D,H], [G*D,H] ... */
    const char *q_bias_key, *k_bias_key, *v_bias_key; /* may be NULL */
    const char *qkv_key, *qkv_bias_key;               /* ... or all rows of q, of k, of v in one */
    int64_t heads, kv_heads, head_dim;                /* kv_heads 0: heads */
    double scale, softcap;                            /* scale 0: 1/sqrt(D); softcap 0: none */
    bool causal;
    int64_t window;        /* keys at distances below it are seen (causal: so many keys); 0: all */
    const char *mask;      /* an input i32[B,S]: keys that are not 0 are seen; NULL: all */
    const char *bias;      /* a stream that is added to the scores, of a shape that repeats to [B,N,S,S]; or NULL */
    const char *rope;      /* of rlx_flow_rope_tables; NULL: nothing rotates */
    bool rope_interleaved; /* as in rlx_attention_spec, as the next one */
    int64_t rotary_dim;
    const char *context;   /* a stream f32[B,K,H'] that keys and values are made of (cross-attention); NULL: the tensor */
} rlx_encoder_attention_spec;
/* f32[B,S,H] -> f32[B,S,N*D]; the output projection is a linear stage of its own. Nothing is kept: for encoders, and for
 * decoders that see whole texts. Values inside: "q", "k", "v", and "keys", "values" as attention sees them. */
RLX_API void rlx_flow_encoder_attention(rlx_flow *f, const rlx_encoder_attention_spec *spec);

/* ---- layers of well-known models ----------------------------------------------------------------
 * Each records a sequence of the stages above: a flow prints as what it is. `prefix` is what a layer's keys begin with. */

typedef enum rlx_bert_style {
    RLX_BERT_BERT, /* attention.self.query, attention.output.dense */
    RLX_BERT_MPNET /* attention.attn.q, attention.attn.o; a stream RLX_MPNET_BIAS is added to the scores */
} rlx_bert_style;
#define RLX_MPNET_BIAS "relative_attention_bias" /* made by rlx_flow_repeat_bert_layers, or by rlx_flow_bucket_bias */
typedef struct rlx_encoder_layer_spec {
    const char *prefix; /* "encoder.layer.{}"; of the repeat functions what stands in front of that, or NULL */
    int64_t heads, head_dim;
    double eps;
    const char *mask;      /* input i32[B,S], "attention_mask"; NULL: all tokens are there */
    const char *rope;      /* Nomic: of rlx_flow_rope_tables; may be NULL */
    bool rope_interleaved; /* Nomic vision */
    rlx_bert_style style;
} rlx_encoder_layer_spec;
/* f32[B,S,H] -> f32[B,S,H]. BERT and Nomic norm behind the residual, the others in front. */
RLX_API void rlx_flow_bert_encoder_layer(rlx_flow *f, const rlx_encoder_layer_spec *spec);
RLX_API void rlx_flow_nomic_encoder_layer(rlx_flow *f, const rlx_encoder_layer_spec *spec);
RLX_API void rlx_flow_dinov2_layer(rlx_flow *f, const rlx_encoder_layer_spec *spec);
RLX_API void rlx_flow_nomic_vision_layer(rlx_flow *f, const rlx_encoder_layer_spec *spec);
RLX_API void rlx_flow_siglip_layer(rlx_flow *f, const rlx_encoder_layer_spec *spec);
/* Attention with biases by "PREFIX.QKV" and its output projection "PREFIX.OUT": "attn.qkv", "attn.proj". */
RLX_API void rlx_flow_vit_self_attention(rlx_flow *f, const rlx_encoder_layer_spec *spec, const char *qkv,
                                         const char *out);
/* `count` of them: "encoder.layer.{}" (BERT, MPNet with its table of distances), "encoder.layers.{}" (Nomic, SigLIP),
 * "blocks.{}" (DINOv2), "layers.{}" (Nomic vision). */
RLX_API void rlx_flow_repeat_bert_layers(rlx_flow *f, int64_t count, const rlx_encoder_layer_spec *spec);
RLX_API void rlx_flow_repeat_nomic_layers(rlx_flow *f, int64_t count, const rlx_encoder_layer_spec *spec);
RLX_API void rlx_flow_repeat_dinov2_layers(rlx_flow *f, int64_t count, const rlx_encoder_layer_spec *spec);
RLX_API void rlx_flow_repeat_vision_layers(rlx_flow *f, int64_t count, const rlx_encoder_layer_spec *spec);
RLX_API void rlx_flow_repeat_siglip_layers(rlx_flow *f, int64_t count, const rlx_encoder_layer_spec *spec);

typedef enum rlx_decoder_kind {
    RLX_DECODER_LLAMA,
    RLX_DECODER_QWEN2,  /* biases of q, k and v */
    RLX_DECODER_QWEN3,  /* norms of every head of q and k */
    RLX_DECODER_GEMMA,  /* norms by 1 + w, gelu_tanh */
    RLX_DECODER_GEMMA2, /* and norms behind attention and feed-forward */
    RLX_DECODER_GEMMA3  /* and of every head of q and k */
} rlx_decoder_kind;
typedef struct rlx_decoder_layer_spec {
    const char *prefix; /* "model.layers.{}"; of rlx_flow_repeat_decoder_layers what stands in front of "layers"; NULL: "model" */
    rlx_decoder_kind kind;
    int64_t heads, kv_heads, head_dim;
    double eps;
    double scale, softcap;  /* Gemma 2: query_pre_attn_scalar^-0.5, attn_logit_softcapping; 0: 1/sqrt(D), none */
    bool attention_bias;    /* biases of q, k, v and o */
    int64_t window;         /* keys that a query sees at most; 0: all */
    int64_t full_every;     /* layer i has no window if full_every divides i + 1: Gemma 2: 2, Gemma 3: 6; 0: none such */
    const char *rope;       /* of rlx_flow_rope_tables; NULL: inputs rope_cos and rope_sin */
    const char *local_rope; /* the same of layers with a window, if they have others */
    bool export_kv;         /* keys (rotated) and values of layer i are outputs "k_i" and "v_i" f32[T,G*D] */
} rlx_decoder_layer_spec;
/* f32[TOKENS,H] -> f32[TOKENS,H], over the session's pages: for prefill and decode alike. */
RLX_API void rlx_flow_decoder_layer(rlx_flow *f, const rlx_decoder_layer_spec *spec);
RLX_API void rlx_flow_repeat_decoder_layers(rlx_flow *f, int64_t count, const rlx_decoder_layer_spec *spec);

/* ---- custom stages -----------------------------------------------------------------------------
 * A stage that adds HIR of its own, by the builder that the library's own blocks use. `build` appends what the stage
 * computes and returns its tensor, which passes on; `x` is the tensor that came. It is called whenever the flow is
 * compiled or inspected, for every layer that records the stage, on the thread that compiles; from equal calls it must
 * build equal things. Layers for which it builds the same share a function.
 *
 *   static rlx_value *scale(rlx_builder *b, rlx_value *x, void *user)
 *   {
 *       return rlx_build_map2(b, RLX_MAP_MUL, x, rlx_build_weight(b, "layers.{}.scale"));
 *   }
 *   ... rlx_flow_custom(f, "scale", scale, NULL);
 *
 * The first error of a build is kept: later calls do nothing and return NULL, NULL operands included, so that a build
 * function reads straight. Compile returns it, with the stage's name. Values and the builder are lent until `build`
 * returns. */

typedef struct rlx_builder rlx_builder;
typedef struct rlx_value rlx_value; /* a tensor that is known by shape and format only */

/* `user` is lent until the flow is destroyed. */
RLX_API void rlx_flow_custom(rlx_flow *f, const char *name,
                             rlx_value *(*build)(rlx_builder *b, rlx_value *x, void *user),
                             void *user);

/* The same for two streams: `build` gets what they hold in *x and *y and leaves there what they shall hold; the flow
 * goes on with *x. */
RLX_API void rlx_flow_dual_stream(rlx_flow *f, const char *name, const char *a, const char *b,
                                  void (*build)(rlx_builder *b, rlx_value **x, rlx_value **y, void *user),
                                  void *user);

/* Build functions by name, for the whole process, which keeps a copy of the entry. RLX_INVALID_ARGUMENT: a name that is
 * taken, or missing. From any thread. */
typedef struct rlx_plugin {
    const char *name, *meaning; /* "snake"; a few words, or NULL */
    rlx_value *(*build)(rlx_builder *b, rlx_value *x, void *user);
    void *user; /* lent for as long as the process uses the plugin */
} rlx_plugin;
RLX_API rlx_status rlx_plugin_register(const rlx_plugin *p);
/* A custom stage that a plugin builds; named: a name of its own, and `user` in place of the plugin's unless it is NULL. */
RLX_API void rlx_flow_plugin(rlx_flow *f, const char *plugin);
RLX_API void rlx_flow_plugin_named(rlx_flow *f, const char *plugin, const char *name, void *user);

RLX_API int64_t rlx_builder_layer(const rlx_builder *b); /* index in its rlx_flow_repeat_layers; -1: in none */
/* Ends the build with an error of one's own. */
RLX_API void rlx_builder_fail(rlx_builder *b, rlx_code code, const char *message);
RLX_API rlx_format rlx_value_format(const rlx_value *v); /* of the elements; RLX_FORMAT_NONE for no value */
RLX_API int rlx_value_rank(const rlx_value *v);          /* axes; 0 for no value, too */
RLX_API int64_t rlx_value_dim(const rlx_value *v, int i); /* elements; -1 where a symbol decides, and for no value */

/* Extents. Wherever a builder takes dims, each is a constant >= 0, an rlx_flow_symbol, or what these give: "the same as
 * axis i of v", whatever decides it, and sums, products and quotients of such. A product of two symbols has no extent,
 * nor has a quotient by one: an error. */
RLX_API int64_t rlx_value_extent(const rlx_value *v, int i);
typedef enum rlx_extent_op {
    RLX_EXTENT_ADD,
    RLX_EXTENT_MUL,
    RLX_EXTENT_DIV,      /* rounded down, by a constant > 0 */
    RLX_EXTENT_CEIL_DIV, /* rounded up, by a constant > 0 */
    RLX_EXTENT_MOD,      /* by a constant > 0 */
    RLX_EXTENT_MIN,
    RLX_EXTENT_MAX
} rlx_extent_op;
RLX_API int64_t rlx_build_extent(rlx_builder *b, rlx_extent_op op, int64_t x, int64_t y);

/* A weight by key ("{}": the layer's index), as it is stored: floats, a matrix of blocks, or experts' [E,N,K] of blocks. */
RLX_API rlx_value *rlx_build_weight(rlx_builder *b, const char *key);
/* A tensor of one's own, T[dims] of constant extents, row-major: a window, a table of positions, indices. Of any format
 * but blocks; bools are bytes 0 and 1. `data` is copied: every executable has its own copy, so that what is large is better
 * a weight. It is compiled like a weight whose name is a hash of its content, "table:...": layers with equal ones share a
 * function, and code in the cache serves a flow whose tables are equal. */
RLX_API rlx_value *rlx_build_table(rlx_builder *b, rlx_format format, int rank, const int64_t *dims,
                                   const void *data);
/* A tensor that runs are given by name; dims as in rlx_flow_input. */
RLX_API rlx_value *rlx_build_input(rlx_builder *b, const char *name, rlx_format format, int rank,
                                   const int64_t *dims);
RLX_API rlx_value *rlx_build_declared(rlx_builder *b, const char *input); /* one that rlx_flow_input declares */
RLX_API rlx_value *rlx_build_load(rlx_builder *b, const char *stream);    /* what a stream holds */
RLX_API void rlx_build_store(rlx_builder *b, const char *stream, rlx_value *v); /* what it holds from now on */
/* x f32[..,K], w [N,K], bias [N] or NULL -> f32[..,N]: x w^T + bias */
RLX_API rlx_value *rlx_build_linear(rlx_builder *b, rlx_value *x, rlx_value *w, rlx_value *bias);
/* x f32[..,H], w [H]: x * rsqrt(mean(x^2) + eps) * w over the last axis */
RLX_API rlx_value *rlx_build_rms_norm(rlx_builder *b, rlx_value *x, rlx_value *w, double eps);
/* ids i32[T], w [V,H] -> f32[T,H] */
RLX_API rlx_value *rlx_build_embed(rlx_builder *b, rlx_value *ids, rlx_value *w);
RLX_API rlx_value *rlx_build_constant(rlx_builder *b, double value); /* f32 of rank 0 */

typedef enum rlx_map {
    RLX_MAP_ADD, /* x + y */
    RLX_MAP_SUB,
    RLX_MAP_MUL,
    RLX_MAP_DIV,
    RLX_MAP_MIN,   /* a NaN x gives y, as in MAX */
    RLX_MAP_MAX,
    RLX_MAP_FMA,   /* x*y + z, rounded once */
    RLX_MAP_NEG,   /* -x */
    RLX_MAP_ABS,
    RLX_MAP_SQRT,
    RLX_MAP_RSQRT, /* 1 / sqrt(x) */
    RLX_MAP_EXP,   /* of f32 at most 3.4028e38: no infinity */
    RLX_MAP_ROUND, /* to the nearest integer, ties to even */
    RLX_MAP_FLOOR,
    RLX_MAP_LOG,
    RLX_MAP_SIN,
    RLX_MAP_COS,
    RLX_MAP_ATAN,
    RLX_MAP_TANH,
    RLX_MAP_ERF,
    RLX_MAP_MOD,   /* x - floor(x / y) * y, of integers; DIV of integers rounds down */
    RLX_MAP_LT,    /* x < y, a bool, as LE and EQ are */
    RLX_MAP_LE,
    RLX_MAP_EQ,
    RLX_MAP_AND,   /* of integers by bits, as OR and XOR; of bools */
    RLX_MAP_OR,
    RLX_MAP_XOR,
    RLX_MAP_SHL,
    RLX_MAP_SHR,   /* the sign of signed integers stays */
    RLX_MAP_SELECT /* x, a bool, decides between y and z */
} rlx_map;
/* A function of one, two or three operands, element by element. Shapes are broadcast as in numpy: from the last axis on,
 * extents are equal or one of them is 1. Operands have one format; floats of several meet in f32 (f64 if one is). */
RLX_API rlx_value *rlx_build_map1(rlx_builder *b, rlx_map fn, rlx_value *x);
RLX_API rlx_value *rlx_build_map2(rlx_builder *b, rlx_map fn, rlx_value *x, rlx_value *y);
RLX_API rlx_value *rlx_build_map3(rlx_builder *b, rlx_map fn, rlx_value *x, rlx_value *y,
                                  rlx_value *z);

/* Extensions rewrite the HIR of any flow: `rewrite` is called for every node with one result, when a function is built,
 * and returns what is used in its place, of the same type, or NULL. What it builds stands before the node; what nothing
 * uses any more is removed, so that inputs and weights of it are unused (F8). Not visited: nodes inside of recurrences'
 * steps, calls, nodes of several results. Streams are those of stages: rlx_build_load and rlx_build_store are errors
 * here. rlx_builder_layer says of which layer the node is: layers that come out alike share a function. Registered like
 * plugins; all apply, in order, unless rlx_compile_options names those that do. */
typedef struct rlx_node rlx_node; /* lent until `rewrite` returns */
typedef struct rlx_extension {
    const char *name, *meaning;
    rlx_value *(*rewrite)(rlx_builder *b, const rlx_node *n, void *user);
    void *user;
} rlx_extension;
RLX_API rlx_status rlx_extension_register(const rlx_extension *e);
RLX_API const char *rlx_node_op(const rlx_node *n);    /* "swiglu": docs/reference has them; static */
RLX_API const char *rlx_node_place(const rlx_node *n); /* "model.layers.{}.mlp"; lent */
RLX_API int rlx_node_count(const rlx_node *n);         /* of operands */
RLX_API rlx_value *rlx_node_operand(const rlx_node *n, int i); /* NULL: there is none */
RLX_API bool rlx_node_number(const rlx_node *n, const char *attribute, double *out); /* false: it has none of the name */

/* Recipes make flows of configurations: `assemble` records into an empty flow, named like the recipe. The families that
 * the library knows are recipes ("llama"), of the text of a config.json and the weights, to which they may add aliases. */
typedef struct rlx_recipe_input {
    const char *config;   /* text; what it means is the recipe's */
    rlx_weights *weights; /* may be NULL for recipes that need none */
    const struct rlx_execution *execution; /* what the flow is for; NULL: any. Families' flows are for all phases */
} rlx_recipe_input;
typedef struct rlx_recipe {
    const char *name, *meaning;
    rlx_status (*assemble)(rlx_flow *f, const rlx_recipe_input *in, void *user);
    void *user;
} rlx_recipe;
RLX_API rlx_status rlx_recipe_register(const rlx_recipe *r);
/* RLX_NOT_FOUND, with the nearest; else what `assemble` or the recording says. `in` may be NULL. */
RLX_API rlx_status rlx_flow_from_recipe(const char *name, const rlx_recipe_input *in, rlx_flow **out);
/* Tensor expressions. T is any format, [..] any axes; a negative axis counts from the end. What is a view moves no data.
 * Errors (axes and shapes that do not fit, formats that an op does not take) are the build's. */

RLX_API rlx_value *rlx_build_number(rlx_builder *b, rlx_format format, double value); /* T, rank 0 */
RLX_API rlx_value *rlx_build_size(rlx_builder *b, rlx_format format, int64_t extent); /* the extent as a number T, rank 0 */
RLX_API rlx_value *rlx_build_iota(rlx_builder *b, rlx_format format, int64_t extent); /* T[extent]: 0, 1, 2, .. */
RLX_API rlx_value *rlx_build_not(rlx_builder *b, rlx_value *x);                       /* bool[..] */
RLX_API rlx_value *rlx_build_clamp(rlx_builder *b, rlx_value *x, double low, double high);
RLX_API rlx_value *rlx_build_sigmoid(rlx_builder *b, rlx_value *x);
RLX_API rlx_value *rlx_build_pow(rlx_builder *b, rlx_value *x, rlx_value *y); /* floats, broadcast: x^y by exp and log */

/* Another format. Floats round to nearest even, integers wrap, to bool: whether it is not 0. A float to an integer is cut
 * off; it must fit, or saturate, which holds it in the range (NaN becomes 0). Blocks of weights become f32. */
RLX_API rlx_value *rlx_build_cast(rlx_builder *b, rlx_value *x, rlx_format format);
RLX_API rlx_value *rlx_build_saturate(rlx_builder *b, rlx_value *x, rlx_format format);
RLX_API rlx_value *rlx_build_bitcast(rlx_builder *b, rlx_value *x, rlx_format format); /* the same bits, of equal size */

/* Shapes: dims as said at rlx_value_extent. */
RLX_API rlx_value *rlx_build_reshape(rlx_builder *b, rlx_value *x, int rank, const int64_t *dims); /* a view: as many elements */
RLX_API rlx_value *rlx_build_expand(rlx_builder *b, rlx_value *x, int rank, const int64_t *dims);  /* a view: as numpy broadcasts */
RLX_API rlx_value *rlx_build_transpose(rlx_builder *b, rlx_value *x, const int64_t *perm); /* a view: axis i is x's axis perm[i] */
RLX_API rlx_value *rlx_build_move(rlx_builder *b, rlx_value *x, int from, int to);         /* a view: one axis elsewhere */
RLX_API rlx_value *rlx_build_insert(rlx_builder *b, rlx_value *x, int axis);               /* a view: an axis of 1, which has that index */
RLX_API rlx_value *rlx_build_flatten(rlx_builder *b, rlx_value *x, int first, int last);   /* a view: axes first..last as one */
/* A view: `size` elements from start, `step` apart (backwards when it is negative), of an axis of constant extent. */
RLX_API rlx_value *rlx_build_slice(rlx_builder *b, rlx_value *x, int axis, int64_t start,
                                   int64_t size, int64_t step);
RLX_API rlx_value *rlx_build_flip(rlx_builder *b, rlx_value *x, int axis); /* backwards */
/* low times fill in front of an axis, high times behind it; negative ones cut off, of a constant extent; 31 bits each. */
RLX_API rlx_value *rlx_build_pad(rlx_builder *b, rlx_value *x, int axis, int64_t low, int64_t high,
                                 double fill);
/* The same with what is there: L elements 1 2 3 become 3 2 [1 2 3] 2 1, 1 1 [1 2 3] 3 3 or 2 3 [1 2 3] 1 2. Reflection
 * reaches less far than L. */
typedef enum rlx_pad { RLX_PAD_REFLECT, RLX_PAD_EDGE, RLX_PAD_WRAP } rlx_pad;
RLX_API rlx_value *rlx_build_pad_with(rlx_builder *b, rlx_value *x, int axis, int64_t low, int64_t high, rlx_pad pad);
RLX_API rlx_value *rlx_build_roll(rlx_builder *b, rlx_value *x, int axis, int64_t by); /* element i goes to (i + by) mod L; of a symbol's L |by| is 2^53 at most */
/* A view: an axis so many times, one behind another (1 2 1 2), or each of its elements (1 1 2 2). */
RLX_API rlx_value *rlx_build_repeat(rlx_builder *b, rlx_value *x, int axis, int64_t times, bool each);
/* A view: the axis L becomes two, [O,size], [o,k] being element o*step + k*dilation; O is as many as lie inside. */
RLX_API rlx_value *rlx_build_window(rlx_builder *b, rlx_value *x, int axis, int64_t size,
                                    int64_t step, int64_t dilation);
RLX_API rlx_value *rlx_build_concat(rlx_builder *b, int n, rlx_value *const *x, int axis); /* 1 to 64 values */
/* Views: parts of `sizes` along an axis of constant extent, which they fill, to out[0..n-1] (NULL after an error). */
RLX_API void rlx_build_split(rlx_builder *b, rlx_value *x, int axis, int n, const int64_t *sizes,
                             rlx_value **out);

/* Folds with ADD, MUL, MIN, MAX (of numbers) or AND, OR (of bools) over n axes; keep: they stay, as 1. Of nothing: 0, 1,
 * the largest and the least of the format, true, false. Sums, products and means of f16 and bf16 are made in f32 and
 * rounded once. */
RLX_API rlx_value *rlx_build_reduce(rlx_builder *b, rlx_map fn, rlx_value *x, int n, const int *axes,
                                    bool keep);
RLX_API rlx_value *rlx_build_mean(rlx_builder *b, rlx_value *x, int n, const int *axes); /* floats; axes stay, as 1 */
RLX_API rlx_value *rlx_build_variance(rlx_builder *b, rlx_value *x, int n, const int *axes); /* the mean of (x - mean)^2; the same */
RLX_API rlx_value *rlx_build_log_sum_exp(rlx_builder *b, rlx_value *x, int n, const int *axes); /* floats; axes stay, as 1; NaN where one is */
/* All elements so far along an axis, with ADD, MUL, MIN or MAX; reverse: from the end; exclusive (ADD, MUL): without the
 * element itself. A cumulative sum is ADD. */
RLX_API rlx_value *rlx_build_scan(rlx_builder *b, rlx_map fn, rlx_value *x, int axis, bool exclusive,
                                  bool reverse);
RLX_API rlx_value *rlx_build_softmax(rlx_builder *b, rlx_value *x, int axis);     /* f32[..] */
RLX_API rlx_value *rlx_build_log_softmax(rlx_builder *b, rlx_value *x, int axis); /* f32[..] */
/* As numpy's matmul: x [..,M,K], y [..,K,N] -> [..,M,N], leading axes broadcast; vectors drop their axis. (Rows times
 * a matrix [N,K] of weights: linear.) */
RLX_API rlx_value *rlx_build_matmul(rlx_builder *b, rlx_value *x, rlx_value *y);

/* Indices are i32 or i64. Compiled code reads some element for an index that is out of range; the evaluators refuse it. */
RLX_API rlx_value *rlx_build_take(rlx_builder *b, rlx_value *x, rlx_value *ids, int axis); /* x's axis becomes those of ids; -1: the last */
/* ids [..] of x's rank -> T[..]: at the index along the axis, and where the index stands along the others (torch.gather). */
RLX_API rlx_value *rlx_build_take_along(rlx_builder *b, rlx_value *x, rlx_value *ids, int axis);
/* x T[V,..], ids [N], u T[N,..] -> x with row ids[n] replaced by u[n], n ascending, or folded with it by ADD, MUL, MIN or
 * MAX. Rows out of range are left out. */
RLX_API rlx_value *rlx_build_scatter(rlx_builder *b, rlx_value *x, rlx_value *ids, rlx_value *u);
RLX_API rlx_value *rlx_build_scatter_fold(rlx_builder *b, rlx_map fn, rlx_value *x, rlx_value *ids,
                                          rlx_value *u);

/* ---- norms, activations and images of custom stages --------------------------------------------
 * f32 tensors; weights may have any float format. N batch, C channels, S.. one to three axes of places. NULL weights
 * are left out, and a bias needs a weight. */

RLX_API rlx_value *rlx_build_activation(rlx_builder *b, rlx_activation fn, double alpha, double beta,
                                        rlx_value *x);
/* The last axis in halves u, g -> u * fn(g): sigmoid is GLU, gelu GEGLU, silu SwiGLU. */
RLX_API rlx_value *rlx_build_gated(rlx_builder *b, rlx_activation fn, rlx_value *x);
/* x [N,C,S..], alpha [C]: x + sin(alpha x)^2 / alpha */
RLX_API rlx_value *rlx_build_snake(rlx_builder *b, rlx_value *x, rlx_value *alpha);
/* Over the last axis, w and bias [H]. */
RLX_API rlx_value *rlx_build_layer_norm(rlx_builder *b, rlx_value *x, rlx_value *w, rlx_value *bias,
                                        double eps);
/* rlx_build_rms_norm with the weight w + shift; w may be NULL. */
RLX_API rlx_value *rlx_build_rms_norm_shifted(rlx_builder *b, rlx_value *x, rlx_value *w, double eps,
                                              double shift);
/* x [N,C,S..], constant but for N; w, bias [C]: over each of `groups` groups of channels and all their places. */
RLX_API rlx_value *rlx_build_group_norm(rlx_builder *b, rlx_value *x, rlx_value *w, rlx_value *bias,
                                        int64_t groups, double eps);
RLX_API rlx_value *rlx_build_instance_norm(rlx_builder *b, rlx_value *x, rlx_value *w,
                                           rlx_value *bias, double eps); /* each channel by itself */
/* x [N,C,S..], w, bias [C]: a layer norm over the channels of each place (LayerNorm2d). */
RLX_API rlx_value *rlx_build_channel_norm(rlx_builder *b, rlx_value *x, rlx_value *w, rlx_value *bias,
                                          double eps);
/* x [N,C,S..], mean, variance, w, bias [C]: (x - mean) / sqrt(variance + eps) * w + bias, with the running ones. */
RLX_API rlx_value *rlx_build_batch_norm(rlx_builder *b, rlx_value *x, rlx_value *mean,
                                        rlx_value *variance, rlx_value *w, rlx_value *bias,
                                        double eps);
/* x / max(sqrt(sum of squares), eps) along an axis. */
RLX_API rlx_value *rlx_build_l2_norm(rlx_builder *b, rlx_value *x, int axis, double eps);
/* Orders. Equal elements go by index; NaNs are equal to each other and larger than all else. */

/* The `count` largest (smallest) of x T[..,N,..] along an axis, in order: T[..,count,..], and their indices i32 to *indices
 * (may be NULL). N is a constant. */
RLX_API rlx_value *rlx_build_top_k(rlx_builder *b, rlx_value *x, int axis, int64_t count,
                                   bool smallest, rlx_value **indices);
/* All of them; *indices (may be NULL) is the argsort. */
RLX_API rlx_value *rlx_build_sort(rlx_builder *b, rlx_value *x, int axis, bool descending,
                                  rlx_value **indices);
RLX_API rlx_value *rlx_build_arg_best(rlx_builder *b, rlx_value *x, int axis, bool smallest, bool keep); /* argmax, argmin: i32 */
RLX_API rlx_value *rlx_build_one_hot(rlx_builder *b, rlx_value *ids, int64_t extent, rlx_format format); /* ids [..], i32 or i64 -> T[..,extent] */

/* Routing. Scores of a token's experts are softmax(logits), or sigmoid(logits). The `count` largest of score + bias are
 * chosen; with groups, among the experts of the groups_chosen best of so many equal groups: by the largest score + bias
 * (softmax), by the sum of the two largest (sigmoid). Weights are the scores of what is chosen, divided by their sum
 * + 1e-20 if normalize, times scale. DeepSeek-V3, arXiv 2412.19437; the simple case is Mixtral's and Qwen's. */
typedef struct rlx_route_spec {
    int64_t count;
    bool sigmoid, normalize;
    int64_t groups, groups_chosen; /* 0: no groups */
    double scale;                  /* 0: 1 */
} rlx_route_spec;
/* logits f32[..,E], bias [E] or NULL -> weights f32[..,count]; the experts i32[..,count] to *experts (may be NULL). */
RLX_API rlx_value *rlx_build_route(rlx_builder *b, const rlx_route_spec *spec, rlx_value *logits,
                                   rlx_value *bias, rlx_value **experts);
/* x f32[..,K], w [E,N,K] of any weight format, ids i32[..] -> f32[..,N]: each row times the matrix of its expert. With one
 * more axis, ids i32[..,S] -> f32[..,S,N]: times those of S experts. Only what is chosen is read and computed, and many rows
 * go expert by expert (docs/decisions/2026-11-29-grouped-contractions.md); an id outside of 0..E-1 is the nearest one. */
RLX_API rlx_value *rlx_build_experts(rlx_builder *b, rlx_value *x, rlx_value *w, rlx_value *ids);
typedef struct rlx_moe_weights {
    rlx_value *router;           /* [E,H] */
    rlx_value *bias;             /* [E], or NULL */
    rlx_value *gate, *up, *down; /* [E,I,H], [E,I,H], [E,H,I] */
} rlx_moe_weights;
/* x f32[..,H] -> f32[..,H]: the sum over a token's experts of weight * down(silu(gate(x)) * up(x)). */
RLX_API rlx_value *rlx_build_moe(rlx_builder *b, rlx_value *x, const rlx_moe_weights *w,
                                 const rlx_route_spec *spec);
/* x f32[..,K], w [N,K], a [R,K], up [N,R] -> f32[..,N]: x w^T + scale * (x a^T) up^T */
RLX_API rlx_value *rlx_build_lora(rlx_builder *b, rlx_value *x, rlx_value *w, rlx_value *a,
                                  rlx_value *up, double scale);

/* Integers with scales: code = round(x / scale) + zero, held in the codes' range, ties to even; x = (code - zero) * scale.
 * scale and zero (NULL: none) are numbers, vectors [C] along `axis`, or, with a block of elements of the axis that share
 * one, of x's shape with axis / block. */
typedef struct rlx_quantize_spec {
    rlx_format format; /* of codes: i8 (when it is none), u8, i16, u16 */
    int bits;          /* of it that are used: 4; 0: all */
    int axis;
    int64_t block;
} rlx_quantize_spec;
RLX_API rlx_value *rlx_build_quantize(rlx_builder *b, const rlx_quantize_spec *spec, rlx_value *x,
                                      rlx_value *scale, rlx_value *zero);
RLX_API rlx_value *rlx_build_dequantize(rlx_builder *b, const rlx_quantize_spec *spec, rlx_value *codes,
                                        rlx_value *scale, rlx_value *zero);
RLX_API rlx_value *rlx_build_fake_quantize(rlx_builder *b, const rlx_quantize_spec *spec, rlx_value *x,
                                           rlx_value *scale, rlx_value *zero);
/* 8-bit floats (OCP, 1.0) as codes u8. Beyond the largest: saturate holds there; else infinity, NaN in e4m3. */
typedef enum rlx_f8 {
    RLX_F8_E4M3, /* no infinity, to 448 */
    RLX_F8_E5M2  /* to 57344 */
} rlx_f8;
RLX_API rlx_value *rlx_build_f8_encode(rlx_builder *b, rlx_value *x, rlx_f8 kind, bool saturate);
RLX_API rlx_value *rlx_build_f8_decode(rlx_builder *b, rlx_value *codes, rlx_f8 kind);

/* Fourier transforms along the last axis, of constant extent N, of f32, or of f64, which is by element and not fast;
 * complex numbers are two values. */

/* re + i im (im NULL: real) -> all N bins; inverse: the other sign, and / N. Imaginary parts go to *out_im, *im: NULL where
 * nobody asks for them, as rlx_build_stft's. */
RLX_API rlx_value *rlx_build_fft(rlx_builder *b, rlx_value *re, rlx_value *im, bool inverse,
                                 rlx_value **out_im);
RLX_API rlx_value *rlx_build_rfft(rlx_builder *b, rlx_value *x, rlx_value **im); /* the bins 0..N/2 */
RLX_API rlx_value *rlx_build_irfft(rlx_builder *b, rlx_value *re, rlx_value *im, int64_t n); /* n points of n/2+1 bins */
/* As torch.stft: frames of n_fft points, hop apart, times a window [W], W <= n_fft, in their middle (NULL: ones); center:
 * x f32[..,L], L > n_fft/2, is mirrored by n_fft/2 at both ends first. -> re, im f32[..,n_fft/2+1,F]. L may be a symbol
 * when it is centred. */
typedef struct rlx_stft_spec {
    int64_t n_fft, hop;
    bool center;
} rlx_stft_spec;
RLX_API rlx_value *rlx_build_stft(rlx_builder *b, const rlx_stft_spec *s, rlx_value *x,
                                  rlx_value *window, rlx_value **im);
/* As torch.istft: frames are added, times the window, and divided by the sum of its squares; `length` points (an extent),
 * from n_fft/2 on when it is centred. */
RLX_API rlx_value *rlx_build_istft(rlx_builder *b, const rlx_stft_spec *s, rlx_value *re,
                                   rlx_value *im, rlx_value *window, int64_t length);
/* Recurrences. They run over axis 1 of tensors [B,S,..]; or, given a state of the session, over the tokens of tensors
 * [T,..]: of several sequences, in whatever steps they come; token t reads and updates the state of its sequence. The
 * same bits in any batch and any chunks.
 *
 * A state of the session: f32[SEQS,dims..], one for each sequence, zeros at its first token. Its name is the flow's own;
 * "{}" is the layer's index. What holds such a state can be forked, saved and begun anew, and cannot go back
 * (rlx_session_rewind). Each is updated once. Programs may share a session's sequences where their states are the same: one
 * that has a state which a sequence's earlier tokens have not gone through is refused there (RLX_INVALID_ARGUMENT). */
RLX_API rlx_value *rlx_build_state(rlx_builder *b, const char *name, int rank, const int64_t *dims);

typedef struct rlx_cell_spec {
    rlx_value *w_ih, *w_hh; /* GRU: [3H,I], [3H,H], gates r, z, n; LSTM: [4H,I], [4H,H], gates i, f, g, o; as torch has them */
    rlx_value *b_ih, *b_hh; /* [3H] or [4H]; both or NULL */
    rlx_value *h, *c;       /* first states f32[B,H]; NULL: zeros. LSTM: both or NULL */
    bool backwards;         /* from the last step to the first */
    bool reset_before;      /* GRU: r multiplies h, not the product with it */
    rlx_value *lengths;     /* i32[B], the steps that each row has (its first ones, in either direction); NULL: all */
    rlx_value *peephole;    /* LSTM: [3H]: the gates i and f see c before the step, o c after it, times these; NULL: none */
    rlx_activation gate, cell, out; /* of the gates, of n (g), of an LSTM's c; with their usual numbers; customary: sigmoid, tanh, tanh */
    double clip;            /* what these take is held in -clip..clip; 0: it is not */
} rlx_cell_spec;
/* x f32[B,S,I] -> f32[B,S,H], zeros behind a row's length; the states after a row's last step, f32[B,H], in *h and *c, which
 * may be NULL. One direction; other cells are an rlx_build_recur. */
RLX_API rlx_value *rlx_build_gru(rlx_builder *b, rlx_value *x, const rlx_cell_spec *spec, rlx_value **h);
RLX_API rlx_value *rlx_build_lstm(rlx_builder *b, rlx_value *x, const rlx_cell_spec *spec, rlx_value **h, rlx_value **c);
/* A causal depthwise convolution: x f32[B,S,C] or f32[T,C], w [C,K] or [C,1,K] (K >= 2), bias [C] or NULL, state
 * f32[B,K-1,C]: the inputs before x (NULL: zeros), or one of the session -> x's shape; *last (may be NULL): the state
 * behind x. */
RLX_API rlx_value *rlx_build_short_conv(rlx_builder *b, rlx_value *x, rlx_value *w, rlx_value *bias, rlx_value *state,
                                        rlx_value **last);
typedef struct rlx_delta_rule_spec {
    rlx_value *q, *k;     /* f32[B,S,G,D] or f32[T,G,D] */
    rlx_value *v;         /* f32[..,H,E], H a multiple of G */
    rlx_value *g, *beta;  /* f32[..,H]: the logarithm of the decay, the rate */
    rlx_value *state;     /* f32[B,H,D,E] (NULL: zeros), or one of the session, dims H,D,E */
    double scale;         /* of what is read; 0: 1/sqrt(D) */
    double norm_eps;      /* not 0: q and k are divided by sqrt(sum of squares + norm_eps) first */
    bool tile;            /* value head h uses q and k of h mod G; false: of h / (H/G) */
    int64_t chunk;        /* 16, 32 or 64: by chunks of so many steps; 0: step by step */
} rlx_delta_rule_spec;
/* The gated delta rule, per head: S *= e^g; S += k (beta (v - S^T k))^T; o = scale S^T q -> f32[..,H,E].
 * By chunks it is computed by products of matrices, with other roundings, which the place of a step in its chunk decides: the
 * same in whatever steps and batches a sequence comes. Chunks begin at multiples of `chunk` of a sequence's positions (without
 * a session, of axis 1). With a state of the session NAME, the session keeps it as it is where the chunk began, as NAME.chunk,
 * and NAME.keys, NAME.values and NAME.decays of the chunk that is not whole: for 128 x 128 (64 KiB a head) and 32 steps 32 KiB
 * more, for 64 twice that, in forks and saved files, too. */
RLX_API rlx_value *rlx_build_delta_rule(rlx_builder *b, const rlx_delta_rule_spec *spec, rlx_value **last);
typedef struct rlx_selective_scan_spec {
    rlx_value *x, *dt;    /* f32[B,S,C], f32[B,S,C] (Mamba); or f32[B,S,H,P], f32[B,S,H] (Mamba-2); or of tokens */
    rlx_value *a;         /* [C,N]; or [H]: what dt multiplies in the exponent, -e^A_log */
    rlx_value *b, *c;     /* f32[..,N]; or f32[..,G,N], head h using h / (H/G) */
    rlx_value *d;         /* [C]; or [H]; NULL: none */
    rlx_value *state;     /* f32[B,C,N]; or f32[B,H,P,N] (NULL: zeros); or one of the session */
} rlx_selective_scan_spec;
/* h = e^(dt a) h + dt x b; y = c . h + d x -> x's shape. */
RLX_API rlx_value *rlx_build_selective_scan(rlx_builder *b, const rlx_selective_scan_spec *spec, rlx_value **last);

/* Any recurrence, by a function that builds one step. */
typedef struct rlx_recur_spec {
    int sequences, states, stay; /* how many of the operands are what, in this order; one state or more */
    rlx_value *operand[16];      /* sequences T[S,P..,..], states T[P..,..] (or all of the session), what stays T[..] */
    int parallel;                /* leading axes P.., 0 to 3, along which all runs independently: a step does not see them */
    int outputs;                 /* values that a step gives, besides the next states */
    int64_t steps;               /* as a dim of rlx_build_reshape, when there are no sequences */
    bool backwards;
    /* One step: args are the operands without S and P; results are to be outputs, then next states. Tensor ops with
     * constant extents only (no stages' ops such as linear: rlx_build_matmul); weights, tables, inputs are operands. A
     * recurrence inside of a step is unrolled: its step function is called for each of its steps, at most 64. */
    void (*step)(rlx_builder *b, rlx_value *const *args, rlx_value **results, void *user);
    void *user;
    /* 0, or the number, from 1, of a state that is one bool (to the step): a loop that data ends. Once it is false no step
     * is taken: states stay as they are, outputs are 0. */
    int live;
} rlx_recur_spec;
/* *results: outputs T[S,P..,..], then the states after the last step. */
RLX_API void rlx_build_recur(rlx_builder *b, const rlx_recur_spec *spec, rlx_value **results);
/* ---- attention of custom stages -----------------------------------------------------------------
 * Over tensors that are given; keys that a session keeps are rlx_flow_self_attention's. B.. up to three axes, S queries,
 * K keys, N heads, G kv heads (G divides N; query head h uses kv head h / (N/G), and nothing is repeated), D and E
 * elements of a head. */

typedef struct rlx_dense_attention_spec {
    double scale;   /* of q.k; 0: 1/sqrt(D) */
    double softcap; /* c: scores s become c * tanh(s / c), before bias and mask; 0: they stay */
    bool causal;    /* key j is seen by the query at position p if j <= p */
    bool aligned;   /* the last query stands at the last key, as behind a cache; else query i stands at i */
    int64_t at;     /* is added to the queries' positions */
    int64_t window; /* w: keys at distances below w are seen (causal: w keys with the query's own); 0: all */
    int64_t chunk;  /* keys of the query's own chunk of so many positions are seen; 0: all */
    int64_t block;  /* keys up to the end of the query's own block are seen; 0: all */
    int64_t left;   /* the row of `relative` that is distance 0 */
    /* Each may be NULL. */
    rlx_value *valid;    /* bool or i32 [B..,K]: keys that are not 0 are seen */
    rlx_value *lengths;  /* i32 [B..]: keys below it are seen */
    rlx_value *offset;   /* i32 [] or [B..]: is added to the queries' positions */
    rlx_value *mask;     /* bool, of a shape that repeats to [B..,N,S,K]: is seen */
    rlx_value *bias;     /* float, of such a shape: is added to the scores */
    rlx_value *sinks;    /* [N]: a score more per head, without a value */
    rlx_value *relative; /* [L,D]: row j - p + left (the nearest there is) is added to key j, as w2v-BERT has it */
} rlx_dense_attention_spec;
/* q f32[B..,S,N,D], k f32[B..,K,G,D], v f32[B..,K,G,E] -> f32[B..,S,N,E]. A query that sees no key weighs all keys
 * alike, as eager attention of transformers does; with sinks, when there are no keys, and when all scores are -inf
 * by a bias, it gives 0. `spec` may be NULL. */
RLX_API rlx_value *rlx_build_dense_attention(rlx_builder *b, rlx_value *q, rlx_value *k, rlx_value *v,
                                             const rlx_dense_attention_spec *spec);

/* x f32[L..,N*D], tables f32[M..,R/2] whose M.. are the last of L.. -> f32[L..,N*D]: of every head's first R elements i
 * turns with i + R/2, interleaved 2i with 2i + 1, by the table's entry i; the others pass. each: tables [M..,R], an
 * entry for every element. */
RLX_API rlx_value *rlx_build_rope(rlx_builder *b, rlx_value *x, rlx_value *cosine, rlx_value *sine,
                                  int64_t heads, bool interleaved, bool each);

typedef struct rlx_rope_tables_spec {
    int naxes;               /* 1 to 4; 0: 1 */
    rlx_value *positions[4]; /* i32 or f32 [M..], of one shape */
    int64_t pairs[4];        /* of each axis; R/2 together */
    rlx_rope_order order;
    double theta;     /* pair i of a series of n has the frequency theta^(-i/n) */
    double factor;    /* divides frequencies; 0: 1 */
    double amplitude; /* multiplies cosines and sines; 0: 1 */
    rlx_value *freqs; /* [R/2] in place of theta; may be NULL */
    bool each;        /* tables [M..,R] for rlx_build_rope's each: an axis's series stands twice, one behind the other */
    int64_t still;    /* so many tokens that do not turn follow along the last axis: SAM 2's object pointers */
} rlx_rope_tables_spec;
/* Cosines and sines, f32[M..,R/2], computed where they are used. */
RLX_API void rlx_build_rope_tables(rlx_builder *b, const rlx_rope_tables_spec *spec, rlx_value **cosine,
                                   rlx_value **sine);

/* Biases f32[N,queries,keys] for `bias`; extents as rlx_value_extent gives them. By buckets of key - query (T5, MPNet): table
 * [buckets,N]; one_sided: keys behind the query count as distance 0, else they have half of the buckets. */
RLX_API rlx_value *rlx_build_bucket_bias(rlx_builder *b, rlx_value *table, int64_t queries, int64_t keys,
                                         int64_t max_distance, bool one_sided);
RLX_API rlx_value *rlx_build_alibi(rlx_builder *b, int64_t heads, int64_t queries, int64_t keys); /* -slope * distance */
/* q f32[B,H*W,N,D], tables [2H-1,D] and [2W-1,D] of distances along height and width (others are interpolated) ->
 * f32[B,N,H*W,H*W]: SAM's decomposed relative positions, q as it is, not scaled. */
RLX_API rlx_value *rlx_build_grid_bias(rlx_builder *b, rlx_value *q, rlx_value *table_h, rlx_value *table_w,
                                       int64_t height, int64_t width);
/* x f32[B,H,W,C] with constant H and W, zeros put behind them -> f32[B*ceil(H/s)*ceil(W/s),s,s,C], and back. */
RLX_API rlx_value *rlx_build_window_partition(rlx_builder *b, rlx_value *x, int64_t size);
RLX_API rlx_value *rlx_build_window_join(rlx_builder *b, rlx_value *x, int64_t batch, int64_t height,
                                         int64_t width);

/* Windows over places, an entry per axis of S... All-zero (or no spec): one apart, no padding, one group. */
typedef struct rlx_window_spec {
    int64_t stride[3], dilation[3]; /* 0: 1; stride 0 of pools: the window's size */
    int64_t low[3], high[3];        /* padding in front of the places and behind them */
    int64_t more[3];                /* conv_transpose: places that it adds behind (output_padding) */
    int64_t groups;                 /* convolutions: that channels fall into; 0: one */
    bool ceil;                      /* pools: a last window may reach over the end */
    bool count_padding;             /* mean_pool: padding counts; what a window finds behind it does not */
} rlx_window_spec;
/* x [N,C,S..], w [M,C/groups,K..], bias [M] or NULL -> [N,M,O..], O = (S + low + high - (K-1)*dilation - 1)/stride + 1. S may
 * be a symbol's where the padding is what a window reaches over, or more. With 8 channels a group or more it is a matrix
 * product of stored windows, else loops. x, w and bias may be i32, too, all of them. */
RLX_API rlx_value *rlx_build_conv(rlx_builder *b, rlx_value *x, rlx_value *w, rlx_value *bias,
                                  const rlx_window_spec *spec);
/* w [C,M/groups,K..] -> [N,M,O..], O = (S-1)*stride - low - high + (K-1)*dilation + 1 + more; S constant. */
RLX_API rlx_value *rlx_build_conv_transpose(rlx_builder *b, rlx_value *x, rlx_value *w,
                                            rlx_value *bias, const rlx_window_spec *spec);
/* Images [N,C,S..], S divisible by w's [M,C,K..], as rows [N,P,M] of patches K.., P in row-major order. */
RLX_API rlx_value *rlx_build_patch_embed(rlx_builder *b, rlx_value *x, rlx_value *w, rlx_value *bias);
/* x [N,C,S..] -> [N,C,O..] of windows of `size` places; padding is never the largest. */
RLX_API rlx_value *rlx_build_max_pool(rlx_builder *b, rlx_value *x, const int64_t *size,
                                      const rlx_window_spec *spec);
RLX_API rlx_value *rlx_build_mean_pool(rlx_builder *b, rlx_value *x, const int64_t *size,
                                       const rlx_window_spec *spec);
/* rlx_build_max_pool; *places (may be NULL): where the largest of a window lies in the plane S.., i64 [N,C,O..], row-major;
 * of equal ones the first; of a window with nothing but padding 2^53. NaNs are larger than all else (without places they may be
 * lost, as by RLX_MAP_MAX). */
RLX_API rlx_value *rlx_build_max_pool_places(rlx_builder *b, rlx_value *x, const int64_t *size,
                                             const rlx_window_spec *spec, rlx_value **places);
/* x [N,C,S..] -> [N,C,parts..]: part o of an axis goes from floor(o*S/parts) to ceil((o+1)*S/parts); S constant. */
RLX_API rlx_value *rlx_build_adaptive_max_pool(rlx_builder *b, rlx_value *x, const int64_t *parts);
RLX_API rlx_value *rlx_build_adaptive_mean_pool(rlx_builder *b, rlx_value *x, const int64_t *parts);

typedef enum rlx_resize { RLX_RESIZE_NEAREST, RLX_RESIZE_LINEAR, RLX_RESIZE_CUBIC /* a -0.75, antialiased -0.5 */ } rlx_resize;
/* Where element o of the result lies in x. Nearest: asymmetric rounds down, the others to the nearest, halves up. */
typedef enum rlx_resize_align {
    RLX_ALIGN_HALF_PIXEL, /* (o + 1/2) * S/size - 1/2 */
    RLX_ALIGN_CORNERS,    /* o * (S-1)/(size-1) */
    RLX_ALIGN_ASYMMETRIC  /* o * S/size */
} rlx_resize_align;
/* x [N,C,S..] -> [N,C,sizes..], S constant; antialias: filters that shrink are as much wider; not of nearest, nor with
 * RLX_ALIGN_CORNERS. */
RLX_API rlx_value *rlx_build_resize(rlx_builder *b, rlx_value *x, rlx_resize mode, rlx_resize_align align,
                                    bool antialias, const int64_t *sizes);
RLX_API rlx_value *rlx_build_pixel_shuffle(rlx_builder *b, rlx_value *x, int64_t by); /* [N,C*by*by,H,W] -> [N,C,H*by,W*by] */
RLX_API rlx_value *rlx_build_pixel_unshuffle(rlx_builder *b, rlx_value *x, int64_t by); /* the inverse; H, W constant */

/* ---- compiling and running ------------------------------------------------------------------- */

typedef struct rlx_bucket {
    const char *symbol;
    int64_t upper; /* largest live value the compiled code will be asked to take */
} rlx_bucket;

/* The buckets of a symbol, ascending. A run takes the least that holds it, at its own length: the bucket chooses schedules and
 * sizes memory, never what is computed. docs/tuning.md. */
enum { RLX_LADDER_RUNGS = 16 };
typedef struct rlx_ladder {
    const char *symbol; /* "SEQ", "BATCH", or one of a flow; in any case of letters */
    int n;
    int64_t upper[RLX_LADDER_RUNGS];
} rlx_ladder;

/* What may be rounded. Exact: activations and sums in f32 on weights decoded as the file has them, the
 * same bits in both phases. Fast: weights in blocks are multiplied as integers with activations of 8
 * bits, a scale for every 32, and sums go in the order that suits the phase; of a prompt, activations are
 * rounded to f16 or bf16 for weights in that format where a GPU's matrix unit multiplies it, and to bf16 where
 * a CPU does. Either way a token's result has the same bits on any number of threads, in any batch and
 * bucket. docs/precision.md has the bounds. */
typedef enum rlx_precision { RLX_EXACT = 0, RLX_FAST } rlx_precision;
/* What the tokens of a fast flow are: parts of a text, many at a time; or one at the end of each. */
typedef enum rlx_phase { RLX_PREFILL = 0, RLX_DECODE } rlx_phase;

/* What becomes of tensors of a set that the flow does not use: often a sign of a mistake. Models are always strict. */
typedef enum rlx_unused {
    RLX_UNUSED_IGNORE = 0,
    RLX_UNUSED_WARN,  /* the context's log names them */
    RLX_UNUSED_REFUSE /* RLX_INVALID_FILE names them */
} rlx_unused;

/* How kernels are made. Every choice gives the same bits; all-zero is what is meant for use, the rest is for finding
 * out why something is slow or wrong (docs/tuning.md). */
typedef enum rlx_fusion { RLX_FUSION_FULL = 0, RLX_FUSION_BLOCKS, RLX_FUSION_NONE } rlx_fusion;
typedef struct rlx_tuning {
    rlx_fusion fusion;   /* kernels hold all that fits; what belongs to one place in the model; one operation */
    bool unfuse_maps;    /* element by element operations that no other kernel takes have one each */
    bool assert_clean;   /* RLX_UNSUPPORTED names a value that goes through memory though nothing asks for it there */
    bool verbose;        /* the context's log gets the fusion report of what is compiled */
    int64_t l1_bytes, l2_bytes; /* what schedules assume of a core's caches; 0: as they are */
    int teams;                  /* and of threads that run together; 0: as the device has them */
} rlx_tuning;

typedef struct rlx_compile_options {
    const rlx_bucket *buckets;
    int nbuckets;
    const char *const *probes; /* module paths that become outputs "probe:PATH" */
    int nprobes;
    rlx_precision precision;
    rlx_phase phase; /* of the bucket; exact flows are the same in both */
    /* How the session's pages hold keys and values: f32, f16, bf16 (each the nearest), or q8_0, whose head dims are
     * multiples of 32: 32 elements of a head share a scale; 0: f32, of a fast program f16. A session serves programs of
     * one choice. */
    rlx_format kv_key_format, kv_value_format;
    rlx_unused unused;             /* a tensor is used when one that was made of it is */
    const char *const *may_unused; /* endings of names that may be unused whatever that says; NULL-ended; or NULL */
    rlx_tuning tuning;
    const char *const *extensions; /* that apply, in order, NULL-ended; NULL: all that are registered */
} rlx_compile_options;

typedef struct rlx_compile_stats {
    double seconds; /* flow to executable, wall */
    bool cached;    /* the code came out of the compile cache */
    int kernels, functions; /* functions: distinct layers and the one that calls them */
    int64_t code_bytes, arena_bytes, arena_lower_bound;
    int64_t token_weight_bytes; /* weights that a run for one token reads */
    int64_t token_operations; /* that contracting with weights takes per token; a multiply-add is two */
    int64_t row_operations;   /* the same per row of ROWS: a head, after rows were selected */
    int64_t position_bytes;   /* keys and values that a token reads of every position that it sees, in layers without a window */
    int64_t window_position_bytes, window; /* the same in layers that see the last `window` positions at most */
} rlx_compile_stats;

typedef struct rlx_executable rlx_executable;
/* Compiles for the context's device. `w` is borrowed by the executable. `stats` may be NULL. */
RLX_API rlx_status rlx_flow_compile(rlx_context *cx, const rlx_flow *f, const rlx_weights *w,
                                    const rlx_compile_options *options, rlx_compile_stats *stats,
                                    rlx_executable **out);
RLX_API void rlx_executable_destroy(rlx_executable *e);

/* What a flow looks like at a level, as text: "flow", "hir", "mir", "lir", "llvm", "asm", "spirv" (Vulkan), "ptx" (NVIDIA),
 * "amdgcn" (AMD), and the reports "fusion", "memory" and "composition"; for the context's device, or for a machine that need not
 * be here: "lir@znver4", "amdgcn@hip:gfx942" (names as of rlx_warm_options; a level of other devices than the context's without
 * one: vulkan:base, cuda:sm_80, hip:gfx942). *text is freed by the caller. RLX_INVALID_ARGUMENT names the nearest level or target. */
RLX_API rlx_status rlx_flow_inspect(rlx_context *cx, const rlx_flow *f, const rlx_weights *w,
                                    const rlx_compile_options *options, const char *what,
                                    char **text);

/* How a flow is made of layers, derived from what it is compiled to: layers with equal functions are one. */
typedef enum rlx_composition_kind {
    RLX_COMPOSITION_SINGLE,      /* no layers, or one */
    RLX_COMPOSITION_HOMOGENEOUS, /* equal layers */
    RLX_COMPOSITION_PAIR,        /* a run of equal ones, and another */
    RLX_COMPOSITION_SEQUENCE     /* more runs */
} rlx_composition_kind;
typedef struct rlx_composition_run {
    int64_t first, count; /* layers */
    char fingerprint[65]; /* of the function's canonical text, in hexadecimal */
} rlx_composition_run;
typedef struct rlx_composition {
    rlx_composition_kind kind;
    int nruns;
    rlx_composition_run *runs;
    char fingerprint[65]; /* of the whole: layers and what is around them */
} rlx_composition;
/* `options` as for compiling; text: rlx_flow_inspect "composition". */
RLX_API rlx_status rlx_flow_compose(rlx_context *cx, const rlx_flow *f, const rlx_weights *w,
                                    const rlx_compile_options *options, rlx_composition *out);
RLX_API void rlx_composition_deinit(rlx_composition *c);

/* What a flow runs as: how many sequences, how long, in which phase. */
typedef enum rlx_execution_phase { RLX_RUN_PREFILL, RLX_RUN_DECODE, RLX_RUN_ENCODE, RLX_RUN_INFER } rlx_execution_phase;
typedef struct rlx_execution {
    rlx_execution_phase phase;
    int64_t batch, seq, past; /* sequences (0: one), tokens of each at once (0: 128; decoding: one), positions before; 31 bits each */
} rlx_execution;
enum { RLX_EXECUTION_BUCKETS = 16 };
typedef struct rlx_execution_options {
    rlx_compile_options options; /* its buckets are those below */
    rlx_bucket buckets[RLX_EXECUTION_BUCKETS];
} rlx_execution_options;
/* Options for compiling `f` for that: phase, and a bucket for each symbol of the flow: BATCH, SEQ, PAST as they are, TOKENS
 * batch * seq, ROWS and SEQS batch; others from `more` ([nmore]), which wins. *out is filled in place (options point
 * into it); everything else in it is default. RLX_INVALID_ARGUMENT: a symbol that nothing bounds. */
RLX_API rlx_status rlx_execution_resolve(const rlx_execution *e, const rlx_flow *f, const rlx_bucket *more, int nmore,
                                         rlx_execution_options *out);
/* "decode batch=4 seq=1 past=512": equal texts, equal variants. The caller frees *text. */
RLX_API rlx_status rlx_execution_describe(const rlx_execution *e, char **text);

/* Sequences of tokens: their KV pages, page tables, and memory to compute in. A sequence is a number below max_sequences,
 * empty until a step appends to it. Memory is used as positions are; layers with a sliding window keep what the window sees. */
typedef struct rlx_session rlx_session;
#ifndef RLX_SESSION_TYPES /* runtime/runtime.h declares the same */
#define RLX_SESSION_TYPES
typedef struct rlx_session_options {
    int64_t max_positions; /* of one sequence; 0: 4096 */
    int max_sequences;     /* 0: one */
    bool time_kernels;     /* every kernel's time is taken: rlx_session_kernel_at */
} rlx_session_options;
typedef struct rlx_session_stats {
    int64_t steps, tokens;
    int64_t copied_bytes; /* of keys, values and other states: a shared page that is written to, rows of a fork */
} rlx_session_stats;
/* A kernel that has run in a session with `time_kernels`. */
typedef struct rlx_kernel_time {
    const char *program, *kernel; /* lent by the session; as rlx_flow_inspect's "lir" names it */
    int64_t launches;
    double seconds; /* in it, the mean over the threads: what they wait for each other is not in */
    /* Of all launches, as counted from its text: bytes read and written, and operations (a multiply-add is two). Of a loop
     * over a sequence's pages one page counts. */
    double bytes, operations;
} rlx_kernel_time;
#endif
RLX_API rlx_status rlx_session_create(rlx_context *cx, const rlx_session_options *options,
                                      rlx_session **out);
RLX_API void rlx_session_destroy(rlx_session *s);
RLX_API void rlx_session_reset(rlx_session *s); /* forgets every sequence; keeps the memory */
RLX_API int64_t rlx_session_past(const rlx_session *s, int seq); /* positions that a sequence holds */

/* Sequence `to` becomes a copy of sequence `from`; what it held is forgotten. Full pages of 256 positions are shared,
 * the last one is copied when either writes to it: forking costs no memory for a common prompt. RLX_INVALID_ARGUMENT for a sequence that
 * the session does not have, or the same twice; where a device fails, `to` holds nothing. */
RLX_API rlx_status rlx_session_fork(rlx_session *s, int from, int to);
/* Sequence `seq` forgets all but its first `positions` (0 <= positions <= past). With 0 it is free: its pages go to whoever
 * needs some. RLX_EXHAUSTED when a layer with a sliding window would look back to what is gone, which never happens within 256
 * positions of the most that the sequence has held; RLX_UNSUPPORTED when a layer keeps a state without a past, unless
 * `positions` is 0. Errors leave the session as it was. */
RLX_API rlx_status rlx_session_rewind(rlx_session *s, int seq, int64_t positions);

/* What the session did since it was created. A decode loop appends, and copies nothing. */
RLX_API void rlx_session_get_stats(const rlx_session *s, rlx_session_stats *out);
/* Times of the kernels of all that has run in a session with `time_kernels` (none in another), since it was created or the
 * times were cleared. Taking them costs a few clock readings per kernel and step. */
RLX_API int rlx_session_kernel_count(const rlx_session *s);
RLX_API void rlx_session_kernel_at(const rlx_session *s, int i, rlx_kernel_time *out); /* 0 <= i < count */
RLX_API void rlx_session_clear_times(rlx_session *s);

/* Ends what runs in the session (rlx_executable_run, rlx_model_step, rlx_model_generate) with RLX_CANCELLED, at the
 * step's next phase: within milliseconds. When nothing runs, the next call ends at once. Each cancel ends one call; two
 * before it are one. What is cancelled appends nothing, but chunks of a prompt that were done stay: rlx_session_past
 * tells. A device other than the CPU runs a step as one: it ends, and appends nothing. rlx_session_reset drops a cancel that
 * nothing has answered. From any thread and from a signal handler (one atomic
 * flag is stored), as long as the session exists. */
RLX_API void rlx_session_cancel(rlx_session *s);

/* Runs once. Symbols are bound by the inputs' shapes. Inputs that the session makes itself (pos, seq,
 * table) need not be given. Outputs are lent until the session's next run. */
RLX_API rlx_status rlx_executable_run(rlx_executable *e, rlx_session *s, const rlx_tensor *inputs,
                                      int ninputs);
/* An output of the session's last run, by its name, with its live extents. The data, row-major in the output's format,
 * is lent until the next run, restore or end. On a device this may copy, and fail. RLX_NOT_FOUND: it had none of the name. */
RLX_API rlx_status rlx_session_output(rlx_session *s, const char *name, rlx_tensor *out);

/* A flow's executables for ladders of lengths: one for every bucket, compiled when a run first needs it. What they are made of
 * is lent for as long. Any number of threads may use them; who needs a bucket that another one compiles waits for that one. */
typedef struct rlx_executables rlx_executables;
/* `e` as for rlx_execution_resolve: what no ladder says. Ladders of SEQ and BATCH stand for its seq and batch, and so for TOKENS,
 * ROWS and SEQS; others for symbols of the flow, and win. Of several ladders every combination is a bucket. `o` (NULL: none): its
 * `buckets` bound symbols that no ladder does, its phase is the execution's. RLX_INVALID_ARGUMENT: a ladder that does not
 * ascend from 1 or more, of a symbol that the flow has not, or twice; a symbol that nothing bounds; RLX_EXHAUSTED: more than 256 buckets. */
RLX_API rlx_status rlx_executables_create(rlx_context *cx, const rlx_flow *f, const rlx_weights *w, const rlx_execution *e,
                                          const rlx_ladder *ladders, int nladders, const rlx_compile_options *o,
                                          rlx_executables **out);
RLX_API void rlx_executables_destroy(rlx_executables *x);
/* As rlx_executable_run, by the least bucket that holds the inputs. RLX_EXHAUSTED names the symbol that outgrows every
 * bucket; errors of compiling name the bucket. */
RLX_API rlx_status rlx_executables_run(rlx_executables *x, rlx_session *s, const rlx_tensor *inputs, int ninputs);
RLX_API rlx_status rlx_executables_compile(rlx_executables *x); /* all that are not yet, before anybody waits for them */
typedef struct rlx_executables_bucket {
    const rlx_bucket *buckets; /* a bound for each symbol; lent */
    int nbuckets;
    bool compiled;
    rlx_compile_stats stats; /* once it is */
} rlx_executables_bucket;
RLX_API int rlx_executables_count(const rlx_executables *x);
RLX_API void rlx_executables_at(const rlx_executables *x, int i, rlx_executables_bucket *out); /* 0 <= i < count; the least first */

/* ---- tokenizers --------------------------------------------------------------------------------
 * Text to ids and back, as a model's own file says; docs/tokenizers.md has what is offered. A tokenizer is
 * immutable: any number of threads may use it. */

typedef struct rlx_tokenizer rlx_tokenizer;
typedef struct rlx_tokenizer_options {
    const char *pre; /* the pattern, as GGUF files name it, of a list of ranks (tiktoken; NULL: the known list's) or
                      * of a GGUF file's byte-level vocabulary (NULL: its own); anything else refuses one */
    bool no_cache;   /* neither reads nor writes the compiled table in the cache folder (docs/tokenizers.md) */
    const char *cache_folder; /* of the table; NULL: as rlx_cache_options.folder. Models have that of their context */
} rlx_tokenizer_options;
/* `path`: tokenizer.json, tokenizer.model (sentencepiece, tiktoken), vocab.json with merges.txt beside it,
 * vocab.txt, a .gguf file, or a directory with one of them. `options` may be NULL. RLX_NOT_FOUND when there is none;
 * RLX_INVALID_FILE and RLX_UNSUPPORTED name the file and the key; RLX_INVALID_ARGUMENT: `pre` has no meaning there. */
RLX_API rlx_status rlx_tokenizer_load(const char *path, const rlx_tokenizer_options *options,
                                      rlx_tokenizer **out);
RLX_API void rlx_tokenizer_destroy(rlx_tokenizer *t);

/* *ids (*n of them; NULL for none) of `bytes` bytes of UTF-8; the caller frees them. `special`: with the tokens that
 * the post-processor puts around a text. Added tokens that stand in the text are those tokens. RLX_INVALID_ARGUMENT
 * when the text is not UTF-8. */
RLX_API rlx_status rlx_tokenizer_encode(const rlx_tokenizer *t, const char *text, size_t bytes,
                                        bool special, int32_t **ids, int64_t *n);
/* Of two texts, as the post-processor joins a pair; `second` NULL: of one. *types, too: the type id of each token. */
RLX_API rlx_status rlx_tokenizer_encode_pair(const rlx_tokenizer *t, const char *text, size_t bytes,
                                             const char *second, size_t second_bytes, bool special,
                                             int32_t **ids, int32_t **types, int64_t *n);

RLX_API int64_t rlx_tokenizer_count(const rlx_tokenizer *t); /* ids are 0..count-1; some may be unused */
/* The bytes that a token stands for inside a text (perhaps part of a character), lent and not ended by a NUL; NULL when
 * there is no such token. */
RLX_API const char *rlx_tokenizer_bytes(const rlx_tokenizer *t, int32_t id, size_t *len);
/* The same of its text in the file ("<0x41>", "##ing"). */
RLX_API const char *rlx_tokenizer_text(const rlx_tokenizer *t, int32_t id, size_t *len);
RLX_API bool rlx_tokenizer_is_special(const rlx_tokenizer *t, int32_t id);
RLX_API int32_t rlx_tokenizer_find(const rlx_tokenizer *t, const char *text); /* the id of a token by its text, or -1 */

/* Ids to text, one at a time. Bytes wait until they make whole characters; what never can becomes U+FFFD. Special
 * tokens give nothing. */
typedef struct rlx_token_stream {
    const rlx_tokenizer *tokenizer; /* borrowed */
    bool started; /* false: the next token opens the text, and its leading space may belong to the tokenizer */
    size_t held;  /* bytes that wait */
    char hold[4];
    int32_t last; /* token */
} rlx_token_stream;
typedef bool rlx_token_emit(void *user, const char *utf8, size_t bytes);
RLX_API void rlx_token_stream_init(rlx_token_stream *s, const rlx_tokenizer *t, bool opens_text);
/* Calls `emit` at most a few times; false when `emit` returned false, which then gets nothing more of this stream. */
RLX_API bool rlx_token_stream_push(rlx_token_stream *s, int32_t id, rlx_token_emit *emit, void *user);
RLX_API bool rlx_token_stream_end(rlx_token_stream *s, rlx_token_emit *emit, void *user);

/* ---- models ------------------------------------------------------------------------------------ */

typedef struct rlx_model rlx_model;
typedef struct rlx_model_options {
    /* Buckets (lent while the model is loaded), compiled as steps need them. SEQ: tokens of a step; prompts go in parts of the
     * largest. BATCH: sequences that decode together in a fast model, more of them in parts; an exact model has SEQ for them. */
    const rlx_ladder *ladders;
    int nladders;
    int64_t prefill;           /* the largest SEQ, smaller ones stay; 0: the ladder's, else 128, fast 512 */
    int64_t max_positions;     /* of one sequence; 0: what the model was made for, and then the most */
    bool any_length;           /* there may be more positions than it was made for */
    const char *text;          /* that is going to be gone on from: what would refuse it (no tokenizer, bytes that
                                  are no UTF-8, too few positions) refuses the model before anything is compiled; and
                                  its bucket is compiled beside the one that decodes */
    int64_t length;            /* what sequences will hold, if that is known: rotary scaling that depends
                                  on the length ("dynamic") follows it; 0: what they hold so far */
    const char *const *probes; /* as in rlx_compile_options */
    int nprobes;
    rlx_precision precision;
    rlx_format kv_key_format, kv_value_format; /* as there */
    rlx_tuning tuning;
} rlx_model_options;

/* Loads a Hugging Face directory (config.json, *.safetensors, tokenizer.json or tokenizer.model), a .safetensors file
 * or its .index.json with the rest beside it, or a .gguf file (of several parts any one), and compiles the bucket that decodes
 * a token; others when a step first needs them. A model without a tokenizer, or with one that is not offered, runs on ids. */
RLX_API rlx_status rlx_model_load(rlx_context *cx, const char *path, const rlx_model_options *options,
                                  rlx_model **out);
/* A model that is not read from files: what they would say. */
typedef struct rlx_model_source {
    const char *config;     /* the text of config.json */
    rlx_weights *weights;   /* under a hub's names, with or without a prefix, GGUF's or Meta's. Lent for as long as the
                               model; second names and parts are added. Models may share it, loaded one after the other */
    const char *generation; /* the text of generation_config.json; NULL: none */
    const char *tokenizer;  /* as rlx_tokenizer_load takes it; NULL: the model runs on ids */
} rlx_model_source;
/* As rlx_model_load. RLX_INVALID_ARGUMENT without config or weights. */
RLX_API rlx_status rlx_model_load_from(rlx_context *cx, const rlx_model_source *source,
                                       const rlx_model_options *options, rlx_model **out);
/* Compiles the buckets that no step has needed yet, before anybody waits for them. Steps may run meanwhile. */
RLX_API rlx_status rlx_model_compile(rlx_model *m);
RLX_API void rlx_model_destroy(rlx_model *m);

typedef struct rlx_model_info {
    const char *family; /* "llama" */
    int64_t layers, hidden, vocab, max_positions;
    int64_t made_for;   /* positions that it was made for */
    int64_t prefill;    /* the most tokens of one step: the last of: */
    rlx_ladder seq, batch; /* buckets by tokens of a step; of sequences that decode together (n 0: as many tokens) */
    const char *output; /* what a step gives per token: "logits", or "last_hidden_state" without a head */
    int64_t width;      /* elements of that: V or H */
    int64_t weight_bytes;
    int64_t token_bytes; /* weights read to decode one token */
    int64_t token_operations, row_operations; /* as in rlx_compile_stats: per token; per row of logits */
    int64_t position_bytes, window_position_bytes, window; /* as there: keys and values that a token reads */
    double load_seconds, compile_seconds; /* of the buckets that were needed until now, as the next three: */
    bool cached; /* all of the code came out of the compile cache */
    int kernels, layer_functions;
    rlx_precision precision;
} rlx_model_info;
RLX_API void rlx_model_get_info(const rlx_model *m, rlx_model_info *out);
RLX_API const rlx_weights *rlx_model_weights(const rlx_model *m); /* lent */

/* Appends `n` tokens to sequence `seq` (in parts of the largest bucket). out: for each of the last `rows`
 * tokens the model's output, f32[rows, info.width], written to the caller's memory; rows may be 0.
 * RLX_EXHAUSTED when the sequence would outgrow the session or the model; then nothing was appended.
 * RLX_CANCELLED after rlx_session_cancel; then the chunks before it were. */
RLX_API rlx_status rlx_model_step(rlx_model *m, rlx_session *s, int seq, const int32_t *ids,
                                  int64_t n, int64_t rows, float *out);
/* Tokens of several sequences that are appended together; those of one sequence in their order. */
typedef struct rlx_model_batch {
    int64_t tokens;
    const int32_t *ids, *seq;  /* [tokens] */
    const int32_t *positions;  /* [tokens] that tokens are rotated to; NULL: their places in the sequence */
    int64_t rows;
    const int32_t *row_index;  /* [rows] tokens whose outputs are wanted, ascending */
} rlx_model_batch;
/* As rlx_model_step, for a batch. A token's result has the same bits in any batch. In a fast model a
 * token that is alone of its sequence in the call is decoded, and others are prefilled. */
RLX_API rlx_status rlx_model_step_batch(rlx_model *m, rlx_session *s, const rlx_model_batch *batch, float *out);
/* A probe's value f32[T,..] for the tokens of the last step, which may have been of at most one
 * prefill bucket. Lent until the session's next step. */
RLX_API rlx_status rlx_model_probe(rlx_model *m, rlx_session *s, const char *path, rlx_tensor *out);

/* Writes a sequence to a file, atomically, and reads one back, in place of what sequence `seq` of
 * that session holds: a prompt that is computed once, a conversation that outlives the process. The
 * sequence goes on with the same bits. The file names the model (a hash of its flow, its weights'
 * names and types and a sample of their bytes), the formats and shapes of the states, and has a
 * checksum over all. RLX_INVALID_ARGUMENT when it is of another model, format or layout of pages:
 * the message names both; RLX_INVALID_FILE when it is damaged; RLX_EXHAUSTED when the session takes
 * fewer positions. Errors leave session and file as they were. `m` NULL: for flows of one's own;
 * what they are is for the caller to know, and the session must have run them once. */
RLX_API rlx_status rlx_session_save(rlx_session *s, int seq, const rlx_model *m, const char *path);
RLX_API rlx_status rlx_session_restore(rlx_session *s, int seq, const rlx_model *m,
                                       const char *path);

/* Text to ids; *ids is freed by the caller. `special`: put the tokens in front that the tokenizer's
 * post-processor asks for. RLX_NOT_FOUND when the model came without a tokenizer,
 * RLX_UNSUPPORTED, naming what is not offered, when it came with another. */
RLX_API rlx_status rlx_model_encode(const rlx_model *m, const char *text, bool special, int32_t **ids,
                                    int64_t *n);
/* The bytes that one id stands for inside a text (perhaps a part of a character); lent by the model. */
RLX_API rlx_status rlx_model_decode(const rlx_model *m, int32_t id, const char **bytes, size_t *len);

/* How a token is chosen from logits: penalty, top-k, top-p, min-p, temperature, in this order. All-zero: the likeliest
 * token. Probabilities of the cuts are those at temperature 1; of equal logits the smaller id comes first. */
typedef struct rlx_sampling {
    double temperature;    /* chooses by softmax(logits / temperature) of the tokens that are left; 0: the likeliest */
    int64_t top_k;         /* keeps the k likeliest; 0: all */
    double top_p;          /* keeps the fewest likeliest whose probabilities reach p together; 0 or 1: all */
    double min_p;          /* keeps those of at least p times the likeliest's probability; 0: all */
    double repeat_penalty; /* logits of tokens that were there are divided by it, negative ones multiplied; 0 or 1: not */
    int64_t repeat_last_n; /* how many of the last tokens (prompt and new) count as having been there; -1: all */
} rlx_sampling;
/* What the model's own files ask for (generation_config.json; general.sampling.* of a GGUF file); a value that they
 * leave out: temperature 0.8, top_k 40, top_p 0.95, min_p 0.05, no penalty, of 64 tokens. */
RLX_API void rlx_model_get_sampling(const rlx_model *m, rlx_sampling *out);

typedef struct rlx_generate_options {
    const char *prompt;
    const int32_t *ids; /* in place of the prompt, [nids] of them: they are appended as they are, without tokens in
                           front and without what the last call left; nids 0: the prompt */
    int64_t nids;
    int64_t count;                /* new tokens at most; 0: until the context is full or the text ends */
    const rlx_sampling *sampling; /* NULL: rlx_model_get_sampling */
    uint64_t seed;                /* the same seed, the same choices */
    bool ignore_eos;
    const char *const *stops; /* the text ends before the first of these, which is not emitted, though tokens made it */
    int nstops;
    /* Own sampling, in place of the above: returns the id that follows, or a negative number to end the text. The
     * logits f32[vocab] are lent. */
    int32_t (*choose)(void *user, const float *logits, int64_t vocab);
    void *choose_user;
    void (*on_token)(void *user, int32_t id); /* is told each new token, before its text; may be NULL */
    void *on_token_user;
} rlx_generate_options;
typedef struct rlx_generate_stats {
    int64_t prompt_tokens, new_tokens;
    double prefill_seconds, decode_seconds;
    bool ended; /* by an end-of-text token, a stop string or `choose`; else by count, room, emit or an error */
} rlx_generate_stats;
/* Appends the prompt to the session's sequence 0 and goes on from there, until `count` tokens, an
 * end-of-text token, a stop string or false from `emit`, which receives the new text in pieces of whole UTF-8
 * characters; what never becomes one is U+FFFD. The last new token is emitted and not appended, because nothing was
 * computed from it: the session keeps it, and the next call on the session appends it before its prompt, which may then be empty. An
 * end-of-text token is neither emitted nor appended. RLX_EXHAUSTED when the context is full before `count` tokens;
 * RLX_CANCELLED after rlx_session_cancel: what was generated before either was emitted; RLX_UNSUPPORTED when the
 * model has no head. stats may be NULL. */
RLX_API rlx_status rlx_model_generate(rlx_model *m, rlx_session *s, const rlx_generate_options *options,
                                      bool (*emit)(void *user, const char *utf8, size_t bytes),
                                      void *user, rlx_generate_stats *stats);

/* What MODEL's files hold, as text: each tensor with its type, shape, bytes, file and offset, and all metadata
 * (config.json, __metadata__, a GGUF file's keys). `path` as in rlx_model_load, or any .safetensors file; no family
 * need know it. `json`: for programs, {"files", "metadata", "tensors"} (docs/files.md). Of metadata's long lists
 * the first elements. *text is freed by the caller. Errors as those of rlx_weights_add_safetensors. */
RLX_API rlx_status rlx_model_describe(const char *path, bool json, char **text);

/* One bucket of a model, for one target. */
typedef struct rlx_warm_step {
    const char *target, *bucket; /* "znver4", "prefill"; lent */
    int64_t tokens;              /* of the bucket */
    bool there;                  /* the cache had it */
    const char *why;             /* in a dry run, where it had not: how the nearest entry differs, as lines; lent */
    int done, total;             /* buckets, this one among those that are done */
    double seconds;
} rlx_warm_step;
typedef struct rlx_warm_options {
    const char *const *targets; /* machines by name, which need not be here (docs/cache.md); none: this one */
    int ntargets;
    bool dry_run; /* nothing is compiled; `progress` hears what is missing */
    bool (*progress)(void *user, const rlx_warm_step *step); /* after each bucket; false ends; may be NULL */
    void *user;
} rlx_warm_options;
/* Puts the code of all buckets that a model loaded with `how` is compiled for into the context's cache, on all
 * cores. What is there is left as it is. Options may be NULL. RLX_INVALID_ARGUMENT when the context has no
 * cache, or there is no such target; RLX_UNSUPPORTED when the cache is sealed; RLX_CANCELLED by `progress`;
 * else as rlx_model_load. */
RLX_API rlx_status rlx_model_warm(rlx_context *cx, const char *path, const rlx_model_options *how,
                                  const rlx_warm_options *options);

/* What the model's flow looks like, for one of its buckets ("decode", "prefill": the largest, "prefill:16", "decode:16": of
 * several sequences), loaded with `options` (NULL: none): as rlx_flow_inspect, and "buckets": a line for each. */
RLX_API rlx_status rlx_model_inspect(rlx_context *cx, const char *path, const rlx_model_options *options,
                                     const char *bucket, const char *what, char **text);

/* ---- chat templates ----------------------------------------------------------------------------
 * A conversation becomes a prompt by the template that comes with a model: a program in the Jinja
 * language, which is rendered as Jinja2 does it with Hugging Face's settings (docs/chat.md). It is
 * untrusted: steps, memory and output have limits. */

typedef struct rlx_template rlx_template;
/* Reads a template of `bytes` bytes of UTF-8; `name` stands for it in messages. It is immutable: any
 * number of threads may render it. RLX_INVALID_FILE "NAME:LINE: ..." when it is none; RLX_UNSUPPORTED
 * for what is not offered: include, import, extends, autoescape. */
RLX_API rlx_status rlx_template_parse(const char *name, const char *text, size_t bytes,
                                      rlx_template **out);
RLX_API void rlx_template_destroy(rlx_template *t);
typedef struct rlx_template_options {
    int64_t now;       /* seconds since 1970 for strftime_now, shown in local time; 0: the clock's */
    int64_t max_steps; /* evaluated nodes and visited elements; 0: 50 million */
    size_t max_memory; /* bytes; 0: 256 MiB */
    size_t max_text;   /* bytes of the result; 0: 32 MiB */
} rlx_template_options;
/* The text of a template for the names of a JSON object: {"messages": [{"role": "user", "content": "Hi"}],
 * "add_generation_prompt": true}. *text: UTF-8, *bytes of it (NULL: not asked for) and a NUL, freed
 * by the caller with free(). `options` may be NULL. RLX_INVALID_ARGUMENT "NAME:LINE: ..." when the
 * template raises an exception, or the names are not what it takes, or `names` is no JSON object;
 * RLX_EXHAUSTED when a limit is reached. */
RLX_API rlx_status rlx_template_render(const rlx_template *t, const char *names,
                                       const rlx_template_options *options, char **text,
                                       size_t *bytes);

/* What the files of a model say about conversations: its templates, and the texts of its special
 * tokens. Needs no loaded model. Any number of threads may use one. */
typedef struct rlx_chat rlx_chat;
/* Of MODEL, as in rlx_model_load. A directory's templates: chat_template.jinja, and those of the folders
 * additional_chat_templates and chat_templates by their names; else chat_template of
 * chat_template.json or tokenizer_config.json: a text, or a list of named ones. A .gguf file's:
 * tokenizer.chat_template and tokenizer.chat_template.NAME. There may be none: rlx_chat_count. */
RLX_API rlx_status rlx_chat_load(const char *path, rlx_chat **out);
RLX_API void rlx_chat_destroy(rlx_chat *c);
/* Takes the template of a file (Jinja) in place of those of the model. */
RLX_API rlx_status rlx_chat_use(rlx_chat *c, const char *path);
RLX_API int rlx_chat_count(const rlx_chat *c);                /* of templates */
RLX_API const char *rlx_chat_name(const rlx_chat *c, int i);     /* "default", "tool_use"; 0 <= i < count; lent */
RLX_API const char *rlx_chat_template(const rlx_chat *c, int i); /* its text; lent */

typedef struct rlx_chat_options {
    const char *messages;  /* JSON: [{"role": "user", "content": "Hi"}, ...], with whatever else the template reads */
    const char *tools;     /* JSON: a list of tools; NULL: none. As the next one, None for the template then */
    const char *documents; /* JSON: a list */
    const char *names;     /* JSON: an object of further names, {"enable_thinking": false}; NULL: none */
    const char *which;     /* of several templates; NULL: "tool_use" if there are tools and it is there, else "default" */
    bool no_generation_prompt; /* the text does not end with the beginning of an answer */
    int64_t now;               /* as in rlx_template_options */
} rlx_chat_options;
/* The prompt that a conversation is, with the special tokens that belong to it: it is encoded without
 * others (rlx_model_encode with `special` false). *text is freed by the caller with free().
 * RLX_NOT_FOUND when there is no template, or none of that name; else as rlx_template_parse and _render. */
RLX_API rlx_status rlx_chat_render(const rlx_chat *c, const rlx_chat_options *options, char **text);

/* ---- profiles ----------------------------------------------------------------------------------
 * Settings in a file, *.rlx.toml (TOML; docs/profiles.md has the keys):
 *
 *   rlx_profile_load("server.rlx.toml", &profile);
 *   rlx_profile_apply_context(profile, &context_options);
 *   rlx_profile_apply_model(profile, &model_options);
 *
 * Applying sets the fields of the keys that the file has, and no others: what is set before is a default, what is set
 * after wins. A profile may be read from many threads. */

typedef struct rlx_profile rlx_profile;
/* RLX_INVALID_FILE "FILE:LINE: ...": an unknown key, with the
 * nearest known one; a value of the wrong type, out of range, or a device that is not
 * here. */
RLX_API rlx_status rlx_profile_load(const char *path, rlx_profile **out);
/* The profile that only starts from a preset ("llama32_decode"; docs/profiles.md has them). */
RLX_API rlx_status rlx_profile_preset(const char *name, rlx_profile **out);
/* The path of the profile beside a model: FAMILY.rlx.toml, by config.json's model_type or a .gguf file's architecture.
 * *path is freed by the caller; NULL: there is none, or no such model. `rlx` uses it unless --profile names another. */
RLX_API rlx_status rlx_profile_find(const char *model, char **path);
RLX_API void rlx_profile_destroy(rlx_profile *p);
/* Texts and ladders in the options are lent by the profile. */
RLX_API void rlx_profile_apply_context(const rlx_profile *p, rlx_context_options *options);
RLX_API void rlx_profile_apply_model(const rlx_profile *p, rlx_model_options *options);
RLX_API void rlx_profile_apply_compile(const rlx_profile *p, rlx_compile_options *options); /* but its buckets */
RLX_API void rlx_profile_apply_execution(const rlx_profile *p, rlx_execution *e);
RLX_API const rlx_bucket *rlx_profile_buckets(const rlx_profile *p, int *n); /* of [buckets], the largest of each; lent */
RLX_API const rlx_ladder *rlx_profile_ladders(const rlx_profile *p, int *n); /* of [buckets]; SEQ of its preset; lent */

typedef struct rlx_profile_setting {
    char key[64], value[256]; /* value: as it stands in the file; or what is without it */
    char origin[512];         /* "FILE:LINE", "preset NAME" or "default" */
    const char *meaning;      /* static */
} rlx_profile_setting;
/* All keys, with what a profile (NULL: none) makes of them, and its buckets behind them; 0 <= i < count. */
RLX_API int rlx_profile_count(const rlx_profile *p);
RLX_API void rlx_profile_at(const rlx_profile *p, int i, rlx_profile_setting *out);

/* ---- quantizing --------------------------------------------------------------------------------- */

typedef struct rlx_quantize_options {
    const char *type;    /* "Q4_K_M", in either case: one of rlx_quantize_type_name */
    const char *imatrix; /* a file that says how much columns matter, as llama-imatrix writes it; NULL: all alike */
    int threads;         /* 0: the cores that affinity and cgroup give */
    /* Called now and then on the calling thread, bytes of IN that are done; false cancels. May be NULL. */
    bool (*progress)(void *user, int64_t done, int64_t total, const char *tensor);
    void *user;
    /* Told, before anything is written, of each tensor whose rows are no whole blocks of the format that the type has
     * for it ("q4_k"), and what it gets ("q5_0"). On the calling thread; may be NULL. */
    void (*replaced)(void *user, const char *tensor, const char *wanted, const char *got);
} rlx_quantize_options;
/* Writes the model `in`, a .gguf file or any of its parts, or a hub's directory, to `out`, one .gguf file that is there
 * whole or not at all. RLX_UNSUPPORTED names what of a directory is not written to such files.
 * Matrices get the formats that the type has for them (docs/formats.md), others are f32; metadata is kept. The same
 * bytes on any number of threads. RLX_INVALID_ARGUMENT: there is no such type, a team has no such number of threads, or
 * `in` is none of these; RLX_INVALID_FILE: a damaged file, a configuration that would not load, numbers that are not
 * finite, or importance for other matrices; RLX_CANCELLED. */
RLX_API rlx_status rlx_quantize(const char *in, const char *out, const rlx_quantize_options *options);
RLX_API int rlx_quantize_type_count(void);
RLX_API const char *rlx_quantize_type_name(int i);  /* 0 <= i < count; "Q4_K_M"; static */
RLX_API const char *rlx_quantize_type_about(int i); /* what it is good for, in a few words; static */

#ifdef __cplusplus
}
#endif

#endif
