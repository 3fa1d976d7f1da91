#include <stdio.h>
#include <stdlib.h>

#include "frontend/tool/args.h"

typedef struct inspection {
    rlx_context *cx;
    const char *model, *bucket;
    rlx_precision precision;
} inspection;

static rlx_status inspect(const inspection *i, const char *what)
{
    char *text;
    rlx_status st = rlx_model_inspect(i->cx, i->model, i->bucket, i->precision, what, &text);
    if (st)
        return st;
    fputs(text, stdout);
    free(text);
    return RLX_OK;
}

int command_inspect(int argc, char **argv)
{
    run_where where = {0};
    const char *level = NULL, *bucket = "decode";
    bool fusion = false, memory = false;
    const option_spec options[] = {
        OPTION_MODEL(where),
        {"level", "l", OPTION_TEXT, "LEVEL", "flow, hir, mir, lir, llvm or asm (flow)", &level},
        {"fusion", NULL, OPTION_FLAG, NULL, "what was fused, what was not, and why", &fusion},
        {"memory", NULL, OPTION_FLAG, NULL, "the arena's map, with its lower bound", &memory},
        {"bucket", "b", OPTION_TEXT, "NAME", "decode or prefill (decode)", &bucket},
        OPTION_PRECISION(where, "exact"),
        OPTION_DEVICE(where),
    };
    const command_spec spec = {"inspect", "what the compiler makes of a model, as text",
                               "MODEL",   &where.model,
                               options,   sizeof options / sizeof *options};
    int code = args_parse(&spec, argc, argv);
    if (code >= 0)
        return code;
    inspection i = {.model = where.model, .bucket = bucket};
    code = read_precision(&where, &i.precision);
    if (code >= 0)
        return code;
    rlx_status st = open_context(&where, &i.cx);
    if (st)
        return report(st);
    if (level || (!fusion && !memory))
        st = inspect(&i, level ? level : "flow");
    if (!st && fusion)
        st = inspect(&i, "fusion");
    if (!st && memory)
        st = inspect(&i, "memory");
    rlx_context_destroy(i.cx);
    return st ? report(st) : finish_output();
}
