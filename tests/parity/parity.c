#include "tests/parity/parity.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/tool/process.h"

int parity_run(Suite *s, int least)
{
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    const bool bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < least;
    srunner_free(r);
    return bad;
}

void parity_must(rlx_status st)
{
    if (!st)
        return;
    char *text = rlx_status_text(st);
    ck_abort_msg("%s", text);
}

rlx_weights *parity_open(const char *path)
{
    rlx_weights *w;
    parity_must(rlx_weights_create(&w));
    parity_must(rlx_weights_add_safetensors(w, path));
    return w;
}

const rlx_tensor *parity_need(const rlx_weights *w, const char *name)
{
    const rlx_tensor *t = rlx_weights_find(w, name);
    ck_assert_msg(t != NULL, "no tensor \"%s\"", name);
    return t;
}

rlx_weights *parity_eval(const parity_way *way)
{
    enum { MOST = 64 };
    char out[] = "/tmp/rlx-parity-XXXXXX";
    int fd = mkstemp(out), n = 0;
    ck_assert_int_ge(fd, 0);
    close(fd);
    const char *argv[MOST] = {RLX_TOOL, "eval", way->model, "-i", way->inputs, "-o", out};
    n = 7;
    const char *const options[][2] = {{"--device", way->device},
                                      {"--threads", way->threads},
                                      {"--decode-from", way->decode_from},
                                      {"--generate", way->generate},
                                      {"-ctk", way->type_k},
                                      {"-ctv", way->type_v},
                                      {"--precision", way->precision}};
    for (int i = 0; i < 7; i++)
        if (options[i][1]) {
            argv[n++] = options[i][0];
            argv[n++] = options[i][1];
        }
    for (int i = 0; i < way->nprobes; i++) {
        ck_assert_int_lt(n + 2, MOST);
        argv[n++] = "--probe";
        argv[n++] = way->probes[i];
    }
    process p;
    process_run(&p, NULL, argv);
    ck_assert_msg(p.code == 0, "%s on %s: %s", way->model, way->device ? way->device : "cpu",
                  p.err);
    ck_assert_msg(!p.out_bytes, "%s on %s: %s", way->model, way->device ? way->device : "cpu",
                  p.out);
    process_free(&p);
    rlx_weights *w = parity_open(out);
    unlink(out);
    return w;
}

double parity_distance(const float *x, const float *y, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++) {
        const double d = fabs((double)x[i] - (double)y[i]);
        if (!(d <= most))
            most = d;
    }
    return most;
}
