/* rlx: the program. A user of rlx.h like any other. */
#include <stdio.h>
#include <string.h>

#include "frontend/tool/args.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *about;
} commands[] = {
    {"run", command_run, "generate text"},
    {"eval", command_eval, "named tensors in, named tensors out"},
    {"inspect", command_inspect,
     "what a model's files hold, and the model at any level of the compiler"},
    {"bench", command_bench, "how fast a model runs here, and what of the machine that is"},
    {"tokenize", command_tokenize, "text to token ids, and back"},
    {"perplexity", command_perplexity,
     "how well a model foresees a text, how far its probabilities are from others"},
    {"quantize", command_quantize, "a model as a .gguf file in other formats"},
    {"warm", command_warm, "compiles a model's code before it is run, also for other machines"},
    {"cache", command_cache, "compiled code that is kept: lists, checks, explains, removes"},
    {"profile", command_profile, "settings in files: what they say, whether they are right"},
    {"devices", command_devices, "what models can run on here"},
};
enum { NCOMMANDS = sizeof commands / sizeof *commands };

static void print_usage(FILE *to)
{
    fprintf(to, "rlx %s: compiles neural networks to machine code and runs them\n\n",
            rlx_version());
    for (int i = 0; i < NCOMMANDS; i++)
        fprintf(to, "  rlx %-10s %s\n", commands[i].name, commands[i].about);
    fputs("\nrlx COMMAND --help tells a command's options.\n"
          "Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 a wrong "
          "command line, 130 ended by Ctrl-C.\n",
          to);
}

static int unknown_command(const char *word)
{
    const char *names[NCOMMANDS];
    for (int i = 0; i < NCOMMANDS; i++)
        names[i] = commands[i].name;
    const char *near = nearest_word(word, names, NCOMMANDS);
    if (near)
        return usage_error("no command %s; did you mean %s?", word, near);
    return usage_error("no command %s; see rlx --help", word);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    const char *word = argv[1];
    if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help")) {
        print_usage(stdout);
        return finish_output();
    }
    if (!strcmp(word, "--version")) {
        printf("rlx %s\n", rlx_version());
        return finish_output();
    }
    int code = report(rlx_guard_files());
    if (code)
        return code;
    for (int i = 0; i < NCOMMANDS; i++)
        if (!strcmp(word, commands[i].name))
            return commands[i].run(argc - 2, argv + 2);
    return unknown_command(word);
}
