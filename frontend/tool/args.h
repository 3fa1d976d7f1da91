/* frontend/tool/args.h: command lines, from tables. */
#ifndef RLX_TOOL_ARGS_H
#define RLX_TOOL_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "frontend/rlx.h"

/* Exit codes of the program. */
enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

enum { MAX_LIST = 256 };

typedef struct text_list {
    const char *item[MAX_LIST];
    int n;
} text_list;

typedef enum option_kind {
    OPTION_FLAG,    /* bool */
    OPTION_TEXT,    /* const char * */
    OPTION_INT,     /* int64_t, >= 0 */
    OPTION_ANY_INT, /* int64_t */
    OPTION_REAL,    /* double, >= 0 */
    OPTION_LIST     /* text_list: may be given often */
} option_kind;

typedef struct option_spec {
    const char *name;  /* without "--" */
    const char *brief; /* "p" for -p, "ctk" for -ctk; NULL: none */
    option_kind kind;
    const char *value; /* what stands for the value in the help */
    const char *help;
    void *target; /* of the kind's type; keeps its value when the option is absent */
} option_spec;

typedef struct command_spec {
    const char *name;
    const char *about; /* one line */
    const char
        *positional;     /* "MODEL", "IN OUT TYPE", "MODEL...", or NULL; the first must be there */
    const char **target; /* receives them: an element for each word; MAX_LIST of them with "..." */
    const option_spec *options;
    size_t noptions;
} command_spec;

/* Reads argv[0..argc) (without program and command). Returns -1 to go on, or the exit code after a
 * help text (stdout) or an error (stderr). */
int args_parse(const command_spec *c, int argc, char **argv);

/* The candidate nearest to `word`, or NULL when none is near. */
const char *nearest_word(const char *word, const char *const *candidates, size_t n);

/* "rlx: " and a message to stderr; returns EXIT_USAGE. */
int usage_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same for what is not the command line's fault; returns EXIT_FAILED. */
int failure(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The status's story to stderr (nothing for NULL), which is freed; returns the exit code. */
int report(rlx_status s);
/* The same, where an invalid argument of the library is one of the command line: a usage_error. */
int report_usage(const char *command, rlx_status s);
/* A bar on stderr, in place of the one before, and what stands behind it (it may come from files);
 * end_progress removes it. For terminals only: the caller asks isatty. */
void draw_progress(int64_t done, int64_t total, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void end_progress(void);
/* All of a file, or of standard input (NULL, "-"), and a NUL behind it; *text is the caller's to
 * free. `reading` begins a complaint ("tokenize: reading"), whose exit code comes back; -1: it was
 * read. */
int read_text(const char *reading, const char *file, char **text, size_t *bytes);
/* A JSON string. `text` is UTF-8. */
void write_json_text(FILE *to, const char *text);
/* The same to stdout. */
void put_json_text(const char *text);
/* Flushes stdout: EXIT_FAILED with a message when the data did not get out. */
int finish_output(void);

/* Options of every command that runs a model. */
typedef struct run_where {
    const char *command; /* "run": before what is said of these options */
    const char *model, *device, *layers, *precision, *profile_path;
    const char *type_k, *type_v; /* of kept keys and values */
    const char *cache_dir;
    bool no_cache, no_compile;
    int64_t threads;
    rlx_profile *profile; /* after read_model_options; NULL: none was asked for */
} run_where;
#define OPTION_MODEL(where)                                                              \
    {                                                                                    \
        "model", "m", OPTION_TEXT, "DIR", "the model (instead of MODEL)", &(where).model \
    }
#define OPTION_DEVICE(where)                                                             \
    {                                                                                    \
        "device", NULL, OPTION_TEXT, "D",                                                \
            "cpu, cpu:FEATURES, vulkan[:N][,-FEATURE][,memory=BYTES][,range=BYTES], "    \
            "cuda[:N][,memory=BYTES][,step=graph|kernel|auto], hip[:N][,memory=BYTES], " \
            "ref:lir or ref:mir (cpu)",                                                  \
            &(where).device                                                              \
    }
#define OPTION_LAYERS(where)                                                                  \
    {                                                                                         \
        "ngl", "ngl", OPTION_TEXT, "N",                                                       \
            "layers on the device, the last N and what follows; the others on the CPU (all)", \
            &(where).layers                                                                   \
    }
#define OPTION_THREADS(where)                                                            \
    {                                                                                    \
        "threads", "t", OPTION_INT, "N", "threads (all cores that the process may use)", \
            &(where).threads                                                             \
    }
#define OPTION_PRECISION(where, normally)                                                          \
    {                                                                                              \
        "precision", NULL, OPTION_TEXT, "P",                                                       \
            "exact (f32, the same in prefill and decode) or fast (8-bit activations with weights " \
            "in "                                                                                  \
            "blocks) (" normally ")",                                                              \
            &(where).precision                                                                     \
    }
/* What --precision says into *out, which keeps its value without it. As args_parse: -1 to go on. */
int read_precision(const run_where *w, rlx_precision *out);
const char *precision_name(rlx_precision p);
/* How keys or values are kept where f was asked for; 0: nobody did. */
const char *cache_type_name(rlx_format f, rlx_precision p);
#define OPTION_PROFILE(where)                                                      \
    {                                                                              \
        "profile", NULL, OPTION_TEXT, "FILE",                                      \
            "settings (FAMILY.rlx.toml beside the model); options given here win", \
            &(where).profile_path                                                  \
    }
#define OPTION_CACHE_DIR(where)                                                         \
    {                                                                                   \
        "cache-dir", NULL, OPTION_TEXT, "DIR",                                          \
            "where compiled code is kept (rlx in the user's cache)", &(where).cache_dir \
    }
#define OPTION_NO_CACHE(where)                                                                    \
    {                                                                                             \
        "no-cache", NULL, OPTION_FLAG, NULL, "compile, and keep nothing of it", &(where).no_cache \
    }
#define OPTION_NO_COMPILE(where)                                                              \
    {                                                                                         \
        "no-compile", NULL, OPTION_FLAG, NULL, "fail where the cache does not have the code", \
            &(where).no_compile                                                               \
    }
#define OPTION_CACHE_KEYS(where)                                                         \
    {                                                                                    \
        "cache-type-k", "ctk", OPTION_TEXT, "TYPE",                                      \
            "how keys are kept: f32, f16, bf16 or q8_0 (f32, fast f16)", &(where).type_k \
    }
#define OPTION_CACHE_VALUES(where)                                                        \
    {                                                                                     \
        "cache-type-v", "ctv", OPTION_TEXT, "TYPE", "the same of values", &(where).type_v \
    }
/* On what, by which settings, out of which cache: of all that run a model. */
#define OPTIONS_PLACE(where)                                                                    \
    OPTION_DEVICE(where), OPTION_LAYERS(where), OPTION_PROFILE(where), OPTION_CACHE_DIR(where), \
        OPTION_NO_CACHE(where), OPTION_NO_COMPILE(where), OPTION_CACHE_KEYS(where),             \
        OPTION_CACHE_VALUES(where)
/* What --profile, --precision and --cache-type-* say of the model into *o, in this order; the rest
 * keeps its value. As args_parse: -1 to go on, and then the caller destroys w->profile, behind
 * whatever uses it. */
int read_model_options(run_where *w, rlx_model_options *o);
/* Whether a device's name is that of one with memory of its own: Vulkan's, or a GPU's. */
bool has_own_memory(const char *device);
/* The context that these ask for, the profile first; its warnings go to stderr. The exit code. */
int open_context(const run_where *w, rlx_context **out);

int command_run(int argc, char **argv);
int command_eval(int argc, char **argv);
int command_inspect(int argc, char **argv);
int command_bench(int argc, char **argv);
int command_devices(int argc, char **argv);
int command_tokenize(int argc, char **argv);
int command_quantize(int argc, char **argv);
int command_warm(int argc, char **argv);
int command_cache(int argc, char **argv);
int command_profile(int argc, char **argv);
int command_perplexity(int argc, char **argv);

#endif
