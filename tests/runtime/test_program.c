/* Entry bytes: what goes in comes out; whatever is damaged is refused or harmless. */
#include "runtime/program.h"
#include "tests/runtime/suite.h"

/* A program with everything in it: two kernels, a layer function called three times, a nested call,
 * weights, inputs, a state, extents of several operations. */
typedef struct fixture {
    rlx_program p;
    rlx_program_kernel kernels[3]; /* the last one is a part */
    rlx_program_op ops[6];
    rlx_program_arg args[16];
    rlx_program_func funcs[3];
    rlx_program_tensor bound[4];
    rlx_program_tensor outputs[2];
} fixture;

static const uint8_t code0[] = {0x90, 0xc3, 0x12, 0x34, 0x56}, code1[] = {0xc3};

static rlx_program_arg frame(int64_t offset)
{
    return (rlx_program_arg){.kind = RLX_ARG_FRAME, .offset = offset};
}

static rlx_program_arg param(uint32_t i)
{
    return (rlx_program_arg){.kind = RLX_ARG_PARAM, .index = i};
}

static rlx_program_arg bound(uint32_t i)
{
    return (rlx_program_arg){.kind = RLX_ARG_SYMBOL, .index = i};
}

static void fill_tables(fixture *f)
{
    const rlx_program_arg args[] = {
        param(0),  bound(0), param(1),    /* 0: attend in @mix */
        param(0),  bound(2), frame(64),   /* 3: in @layer */
        frame(64), param(1),              /* 6: call @mix */
        bound(1),  bound(3), frame(0),    /* 8: in @main */
        frame(0),  param(0), frame(1024), /* 11: call @layer, three times */
        param(0),  param(0),              /* 14: finish */
    };
    memcpy(f->args, args, sizeof(args));
    const rlx_program_op ops[] = {
        {.kind = RLX_OP_LAUNCH, .target = 0, .first_arg = 0, .nargs = 3},
        {.kind = RLX_OP_LAUNCH, .target = 0, .first_arg = 3, .nargs = 3},
        {.kind = RLX_OP_CALL,
         .target = 0,
         .first_arg = 6,
         .nargs = 2,
         .nout = 1,
         .count = 1,
         .frame = 256},
        {.kind = RLX_OP_LAUNCH, .target = 0, .phase = 3, .first_arg = 8, .nargs = 3},
        {.kind = RLX_OP_CALL,
         .target = 1,
         .first_arg = 11,
         .nargs = 3,
         .nout = 1,
         .first = 2,
         .count = 3,
         .frame = 4096},
        {.kind = RLX_OP_LAUNCH, .target = 1, .phase = 9, .first_arg = 14, .nargs = 2},
    };
    memcpy(f->ops, ops, sizeof(ops));
    const rlx_program_func funcs[] = {
        {.name = "mix", .first_op = 0, .nops = 1, .nparams = 2, .nout = 1, .frame_bytes = 64},
        {.name = "layer", .first_op = 1, .nops = 2, .nparams = 2, .nout = 1, .frame_bytes = 512},
        {.name = "main", .first_op = 3, .nops = 3, .nparams = 1, .nout = 1, .frame_bytes = 4608},
    };
    memcpy(f->funcs, funcs, sizeof(funcs));
    f->kernels[0] = (rlx_program_kernel){.name = "attend",
                                         .code = code0,
                                         .code_bytes = sizeof(code0),
                                         .team_bytes = 128,
                                         .nbuffers = 3,
                                         .cost = {0, {1, 1 << 20}, {3, INT64_C(5) << 40}},
                                         .grid = {1, 1, 1}};
    f->kernels[1] = (rlx_program_kernel){.name = "finish",
                                         .code = code1,
                                         .code_bytes = sizeof(code1),
                                         .nbuffers = 2,
                                         .cost = {RLX_NO_SYMBOL, {77, 77}, {5, 5}},
                                         .grid = {2, 1, RLX_GRID_UNKNOWN}};
    f->kernels[2] = (rlx_program_kernel){
        .name = "part", .code = code1, .code_bytes = sizeof(code1), .cost.symbol = RLX_NO_SYMBOL};
}

static void fill(fixture *f)
{
    memset(f, 0, sizeof(*f));
    rlx_program *p = &f->p;
    p->dims = rlx_dims_create();
    rlx_dim tokens = rlx_dim_symbol(p->dims, "TOKENS"), pages = rlx_dim_symbol(p->dims, "PAGES");
    rlx_dim tiles = rlx_dim_make(p->dims, RLX_DIM_CEILDIV, tokens, 4);
    rlx_dim odd = rlx_dim_make(p->dims, RLX_DIM_MAX, rlx_dim_make(p->dims, RLX_DIM_MOD, tokens, 7),
                               rlx_dim_make(p->dims, RLX_DIM_ADD, tiles, 3));
    p->upper[0] = 32;
    p->upper[1] = 1000;
    fill_tables(f);
    f->kernels[0].grid[0] = tiles, f->kernels[0].grid[1] = odd;
    f->bound[0] = (rlx_program_tensor){.name = "kv.k.{}",
                                       .kind = RLX_BIND_STATE,
                                       .format = RLX_F32,
                                       .rank = 3,
                                       .dim = {pages, 4, 256}};
    f->bound[1] = (rlx_program_tensor){
        .name = "ids", .kind = RLX_BIND_INPUT, .format = RLX_I32, .rank = 1, .dim = {tokens}};
    f->bound[2] = (rlx_program_tensor){.name = "layers.{}.w",
                                       .kind = RLX_BIND_WEIGHT,
                                       .format = RLX_BF16,
                                       .rank = 2,
                                       .dim = {64, 32}};
    f->bound[3] = (rlx_program_tensor){
        .name = "mask", .kind = RLX_BIND_INPUT, .format = RLX_BOOL, .rank = 2, .dim = {tiles, odd}};
    f->outputs[0] = (rlx_program_tensor){
        .name = "y", .format = RLX_F32, .rank = 2, .dim = {tokens, 16}, .offset = 8192};
    p->name = "all";
    p->target = "x86-64-v3";
    p->features = 0x1fff;
    p->code_kind = RLX_CODE_X86_64_ELF;
    p->key = rlx_hash_bytes("key", 3);
    p->provenance = "a test";
    p->preimage = "what the key is of";
    p->source = "what it was made of";
    p->plan_least = 64;
    p->nkernels = 2, p->nparts = 1, p->kernels = f->kernels;
    p->nops = 6, p->ops = f->ops;
    p->nargs = 16, p->args = f->args;
    p->nfuncs = 3, p->funcs = f->funcs;
    p->nbound = 4, p->bound = f->bound;
    p->noutputs = 1, p->outputs = f->outputs;
    p->arena_bytes = 8192 + 32 * 16 * 4;
}

static rlx_text encode(const rlx_program *p)
{
    rlx_text t = {0};
    EXPECT_OK(rlx_program_encode(p, &t));
    return t;
}

/* Entry bytes of a program as text, whatever table its dims live in. */
static void print_tensor(const rlx_program *p, const rlx_program_tensor *t, rlx_text *out)
{
    rlx_text_putf(out, "%s kind %d %s @%lld [", t->name, t->kind, rlx_format_get(t->format)->name,
                  (long long)t->offset);
    for (int d = 0; d < t->rank; d++) {
        rlx_dim_print(p->dims, t->dim[d], out);
        rlx_text_put(out, " ");
    }
    rlx_text_put(out, "]\n");
}

static char *print(const rlx_program *p)
{
    rlx_text t = {0};
    rlx_text_putf(&t, "%s %s %llx kind %d '%s' of '%s' from '%s' arena %lld, least %lld\n", p->name,
                  p->target, (unsigned long long)p->features, p->code_kind, p->provenance,
                  p->preimage, p->source, (long long)p->arena_bytes, (long long)p->plan_least);
    char hex[65];
    rlx_hash_hex(p->key, hex);
    rlx_text_put(&t, hex);
    for (int i = 0; i < rlx_dim_symbol_count(p->dims); i++)
        rlx_text_putf(&t, " %s<=%lld", rlx_dim_symbol_name(p->dims, i), (long long)p->upper[i]);
    for (uint32_t i = 0; i < p->nkernels + p->nparts; i++) {
        const rlx_program_kernel *k = &p->kernels[i];
        rlx_text_putf(&t, "\n%s %s %zu %lld %u by %d %lld-%lld %lld-%lld:",
                      i < p->nkernels ? "kernel" : "part", k->name, k->code_bytes,
                      (long long)k->team_bytes, k->nbuffers, (int)k->cost.symbol,
                      (long long)k->cost.bytes[0], (long long)k->cost.bytes[1],
                      (long long)k->cost.operations[0], (long long)k->cost.operations[1]);
        for (size_t b = 0; b < k->code_bytes; b++)
            rlx_text_putf(&t, " %02x", k->code[b]);
        for (int a = 0; a < RLX_PROGRAM_GRID; a++) {
            rlx_text_put(&t, " by ");
            rlx_dim_print(p->dims, k->grid[a], &t);
        }
    }
    for (uint32_t i = 0; i < p->nfuncs; i++) {
        const rlx_program_func *f = &p->funcs[i];
        rlx_text_putf(&t, "\nfunc %s %u+%u params %u out %u frame %lld", f->name, f->first_op,
                      f->nops, f->nparams, f->nout, (long long)f->frame_bytes);
    }
    for (uint32_t i = 0; i < p->nops; i++) {
        const rlx_program_op *o = &p->ops[i];
        rlx_text_putf(&t, "\nop %d %u phase %u args %u+%u nout %u first %lld count %lld frame %lld",
                      o->kind, o->target, o->phase, o->first_arg, o->nargs, o->nout,
                      (long long)o->first, (long long)o->count, (long long)o->frame);
    }
    for (uint32_t i = 0; i < p->nargs; i++)
        rlx_text_putf(&t, "\narg %d %u %lld", p->args[i].kind, p->args[i].index,
                      (long long)p->args[i].offset);
    rlx_text_put(&t, "\n");
    for (uint32_t i = 0; i < p->nbound; i++)
        print_tensor(p, &p->bound[i], &t);
    for (uint32_t i = 0; i < p->noutputs; i++)
        print_tensor(p, &p->outputs[i], &t);
    return rlx_text_take(&t);
}

START_TEST(round_trip)
{
    fixture f;
    fill(&f);
    rlx_text bytes = encode(&f.p);
    rlx_program *back;
    /* From an odd address: entries come from anywhere. */
    char *odd = malloc(bytes.len + 1);
    memcpy(odd + 1, bytes.data, bytes.len);
    EXPECT_OK(rlx_program_decode(odd + 1, bytes.len, &back));
    free(odd);
    char *want = print(&f.p), *got = print(back);
    ck_assert_str_eq(got, want);
    rlx_text again = encode(back);
    ck_assert_uint_eq(again.len, bytes.len);
    ck_assert_mem_eq(again.data, bytes.data, bytes.len);
    free(want);
    free(got);
    rlx_text_deinit(&again);
    rlx_text_deinit(&bytes);
    rlx_program_destroy(back);
    rlx_program_destroy(NULL);
    rlx_dims_destroy(f.p.dims);
}
END_TEST

START_TEST(truncated_anywhere)
{
    fixture f;
    fill(&f);
    rlx_text bytes = encode(&f.p);
    for (size_t n = 0; n < bytes.len; n++) {
        char *part = malloc(n ? n : 1); /* exactly n bytes, so that a read beyond is seen */
        memcpy(part, bytes.data, n);
        rlx_program *p;
        EXPECT_ERROR(rlx_program_decode(part, n, &p), RLX_INVALID_FILE, "");
        free(part);
    }
    rlx_text_deinit(&bytes);
    rlx_dims_destroy(f.p.dims);
}
END_TEST

static void seal(uint8_t *bytes, size_t n)
{
    int64_t total = (int64_t)n;
    memcpy(bytes + 16, &total, 8);
    rlx_hash sum = rlx_hash_bytes(bytes, n - sizeof(sum));
    memcpy(bytes + n - sizeof(sum), &sum, sizeof(sum));
}

/* Refused as an invalid file, or decoded to something that encodes again. */
static bool refused(const uint8_t *bytes, size_t n)
{
    rlx_program *p = NULL;
    rlx_status st = rlx_program_decode(bytes, n, &p);
    if (st) {
        ck_assert_int_eq(rlx_status_code(st), RLX_INVALID_FILE);
        rlx_status_free(st);
        return true;
    }
    rlx_text again = encode(p);
    rlx_text_deinit(&again);
    rlx_program_destroy(p);
    return false;
}

START_TEST(flipped_bytes)
{
    fixture f;
    fill(&f);
    rlx_text bytes = encode(&f.p);
    uint8_t *b = (uint8_t *)bytes.data;
    for (size_t i = 0; i < bytes.len; i++) {
        b[i] ^= 0x10;
        ck_assert_msg(refused(b, bytes.len), "byte %zu flipped", i);
        b[i] ^= 0x10;
    }
    rlx_text_deinit(&bytes);
    rlx_dims_destroy(f.p.dims);
}
END_TEST

/* With a right checksum: the deeper checks must hold alone. */
START_TEST(flipped_and_sealed)
{
    fixture f;
    fill(&f);
    rlx_text bytes = encode(&f.p);
    uint8_t *b = malloc(bytes.len);
    static const uint8_t values[] = {0x00, 0x01, 0x02, 0x40, 0x7f, 0x80, 0xfe, 0xff};
    int refusals = 0, cases = 0;
    for (size_t i = 0; i < bytes.len - 32; i++) {
        for (size_t v = 0; v < sizeof(values); v++) {
            memcpy(b, bytes.data, bytes.len);
            b[i] = values[v];
            seal(b, bytes.len);
            refusals += refused(b, bytes.len);
            cases++;
        }
    }
    for (size_t n = 32; n < bytes.len; n++) { /* truncated with an honest size */
        memcpy(b, bytes.data, n);
        seal(b, n < 56 ? 56 : n);
        ck_assert(refused(b, n < 56 ? 56 : n));
    }
    ck_assert_int_ge(cases, 5000);
    ck_assert_int_ge(refusals, cases / 4);
    free(b);
    rlx_text_deinit(&bytes);
    rlx_dims_destroy(f.p.dims);
}
END_TEST

START_TEST(random_damage)
{
    fixture f;
    fill(&f);
    rlx_text bytes = encode(&f.p);
    uint8_t *b = malloc(bytes.len);
    uint64_t x = 88172645463325252u;
    for (int round = 0; round < 20000; round++) {
        memcpy(b, bytes.data, bytes.len);
        for (int k = 0; k < 1 + round % 4; k++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            b[x % bytes.len] = (uint8_t)(x >> 32);
        }
        seal(b, bytes.len);
        refused(b, bytes.len);
    }
    free(b);
    rlx_text_deinit(&bytes);
    rlx_dims_destroy(f.p.dims);
}
END_TEST

/* Each rule of program_check.c, broken once. Encoding refuses, too. */
#define BROKEN(rule, change)                                                \
    do {                                                                    \
        fixture f;                                                          \
        fill(&f);                                                           \
        change;                                                             \
        rlx_text t = {0};                                                   \
        rlx_text_put(&t, "kept");                                           \
        EXPECT_ERROR(rlx_program_encode(&f.p, &t), RLX_INVALID_FILE, rule); \
        ck_assert_str_eq(t.data, "kept");                                   \
        rlx_text_deinit(&t);                                                \
        rlx_dims_destroy(f.p.dims);                                         \
    } while (0)

START_TEST(rules)
{
    BROKEN("P1: no name", f.kernels[0].name = "");
    BROKEN("P1: no name", f.kernels[2].name = "");
    BROKEN("P1: attend takes 65", f.kernels[0].nbuffers = 65);
    BROKEN("P1: attend wants -1", f.kernels[0].team_bytes = -1);
    BROKEN("P1: attend costs by symbol 99", f.kernels[0].cost.symbol = 99);
    BROKEN("P1: attend costs -1 to", f.kernels[0].cost.bytes[0] = -1);
    BROKEN("P1: attend costs", f.kernels[0].cost.operations[1] = -1);
    BROKEN("P1: attend costs 8 to 7 bytes", f.kernels[0].cost.symbol = 0;
           f.kernels[0].cost.bytes[0] = 8; f.kernels[0].cost.bytes[1] = 7);
    BROKEN("P1: attend costs 8 to 7 operations", f.kernels[0].cost.symbol = 0;
           f.kernels[0].cost.operations[0] = 8; f.kernels[0].cost.operations[1] = 7);
    BROKEN("P1: the part part in code of kind 3", f.p.code_kind = RLX_CODE_SPIRV);
    BROKEN("P1: the part part has more than", f.kernels[2].nbuffers = 1);
    BROKEN("P1: the part part has more than", f.kernels[2].team_bytes = 64);
    BROKEN("P1: the part part has more than", f.kernels[2].cost.symbol = 0);
    BROKEN("P1: the part part has more than", f.kernels[2].cost.bytes[1] = 1);
    BROKEN("P1: the part part has more than", f.kernels[2].cost.operations[1] = 1);
    BROKEN("P1: the part part has more than", f.kernels[2].grid[1] = 1);
    BROKEN("P1: the part part has more than", f.kernels[2].code_bytes = 0);
    BROKEN("P1: two are named attend", f.kernels[2].name = "attend");
    BROKEN("P1: two are named finish", f.kernels[0].name = "finish");
    BROKEN("P2: 2 ops from 1, expected from 2", f.funcs[0].nops = 2);
    BROKEN("P2: 2 ops from 3", f.funcs[2].nops = 2);
    BROKEN("P2: 3 arguments from 14, of 16", f.ops[0].first_arg = 14);
    BROKEN("P2: kind 2", f.ops[0].kind = 2);
    BROKEN("P3: function 0 calls 0", f.ops[0].kind = RLX_OP_CALL);
    BROKEN("P3: function 1 calls 2", f.ops[2].target = 2);
    BROKEN("P3: more than", f.ops[4].count = 1 << 20);
    BROKEN("P4: kernel 2 of 2", f.ops[0].target = 2);
    BROKEN("P4: kernel finish takes 2 buffers, given 3", f.ops[0].target = 1);
    BROKEN("P5: layer has 2 parameters", f.ops[4].nargs = 2);
    BROKEN("P5: layer has 2 parameters", f.ops[4].nout = 2);
    BROKEN("P5: 0 layers", f.ops[4].count = 0);
    BROKEN("P5: mix repeats", f.funcs[0].nout = 2; f.ops[2].nout = 2; f.ops[2].nargs = 4;
           f.ops[2].count = 2);
    BROKEN("P6: frame offset 8192", f.args[5].offset = 8192);
    BROKEN("P6: frame offset 4", f.args[5].offset = 4);
    BROKEN("P6: parameter 2 of 2", f.args[0].index = 2);
    BROKEN("P6: bound tensor 4 of 4", f.args[1].index = 4);
    BROKEN("P6: 'layers.{}.w' is where a call writes", f.args[7] = bound(2));
    BROKEN("P6: kind 3", f.args[0].kind = 3);
    BROKEN("P7: frames of", f.p.arena_bytes = 8192 + 2048; f.ops[2].frame = 8192);
    BROKEN("P7: frame at 32", f.ops[2].frame = 32);
    BROKEN("P7: a frame of 4616 bytes", f.funcs[2].frame_bytes = 4616);
    BROKEN("P8: the entry has 2 parameters", f.funcs[2].nparams = 2);
    BROKEN("P8: 'y', 2048 bytes at 8256", f.outputs[0].offset = 8256);
    BROKEN("P8: 'y' at 8192 begins before", f.outputs[1] = f.outputs[0];
           f.p.noutputs = f.funcs[2].nparams = f.funcs[2].nout = 2);
    BROKEN("P8: no entry", f.p.nfuncs = 0);
    BROKEN("P8: 'y' at 4544, inside the entry's frame of 4608", f.outputs[0].offset = 4544);
    BROKEN("P8: the entry's frame has 4096 bytes, with its callees' 4608",
           f.funcs[2].frame_bytes = 4096);
    BROKEN("P8: the entry's frame has 4608 bytes, with its callees' 4672", f.ops[4].frame = 4160);
    BROKEN("P9: axis 0 of 'layers.{}.w'", f.bound[2].dim[0] = f.bound[0].dim[0]);
    BROKEN("P9: axis 1 of 'kv.k.{}'", f.bound[0].dim[1] = f.bound[0].dim[0]);
    BROKEN("P9: 'kv.k.{}' grows by an expression", f.bound[0].dim[0] = f.bound[3].dim[0]);
    BROKEN("P9: 'a.{}.{}'", f.bound[2].name = "a.{}.{}");
    BROKEN("P9: input 'ids.{}'", f.bound[1].name = "ids.{}");
    BROKEN("P9: 'kv.k.{}' in the entry", f.args[8] = bound(0));
    BROKEN("P9: 'layers.{}.w' is too large",
           f.bound[2].dim[0] = f.bound[2].dim[1] = (int64_t)1 << 40);
    BROKEN("arena of -1", f.p.arena_bytes = -1);
    BROKEN("goes up to -1", f.p.upper[1] = -1);
    BROKEN("code of kind 0", f.p.code_kind = 0);
}
END_TEST

static void turn_to_step(fixture *f)
{
    f->p.code_kind = RLX_CODE_PTX;
    f->kernels[2].name = RLX_PROGRAM_STEP;
}

/* Of GPUs' programs NVIDIA's alone have a part, one, the step. */
START_TEST(steps)
{
    fixture valid;
    rlx_program *p;
    fill(&valid);
    turn_to_step(&valid);
    rlx_text bytes = encode(&valid.p);
    EXPECT_OK(rlx_program_decode(bytes.data, bytes.len, &p));
    ck_assert_uint_eq(p->nparts, 1);
    ck_assert_str_eq(p->kernels[2].name, RLX_PROGRAM_STEP);
    rlx_program_destroy(p);
    rlx_text_deinit(&bytes);
    rlx_dims_destroy(valid.p.dims);
    BROKEN("P1: the part part in code of kind 2", f.p.code_kind = RLX_CODE_PTX);
    BROKEN("P1: the part rlx_step in code of kind 5", turn_to_step(&f);
           f.p.code_kind = RLX_CODE_HSACO);
    BROKEN("P1: two are named rlx_step", turn_to_step(&f); f.kernels[0].name = RLX_PROGRAM_STEP);
    BROKEN("P1: two are named rlx_step", turn_to_step(&f); f.kernels[1] = f.kernels[2];
           f.p.nkernels = 1; f.p.nparts = 2);
}
END_TEST

static void add_maps(fixture *f)
{
    turn_to_step(f);
    f->kernels[0].nmaps = 2;
    f->kernels[0].maps[0] = (rlx_program_map){2, 2, 0, 2048, 64, 64};
    f->kernels[0].maps[1] = (rlx_program_map){1, 1, 37, 144, 8, 32};
}

/* Boxes of arguments, of NVIDIA's programs alone. */
START_TEST(tensor_maps)
{
    fixture valid;
    rlx_program *p;
    fill(&valid);
    add_maps(&valid);
    rlx_text bytes = encode(&valid.p);
    EXPECT_OK(rlx_program_decode(bytes.data, bytes.len, &p));
    ck_assert_uint_eq(p->kernels[0].nmaps, 2);
    ck_assert_mem_eq(p->kernels[0].maps, valid.kernels[0].maps, sizeof valid.kernels[0].maps);
    rlx_program_destroy(p);
    rlx_text_deinit(&bytes);
    rlx_dims_destroy(valid.p.dims);
    BROKEN("P1: attend has tensor maps", add_maps(&f); f.p.code_kind = RLX_CODE_X86_64_ELF);
    BROKEN("P1: attend has tensor maps", add_maps(&f); f.kernels[0].nmaps = RLX_PROGRAM_MAPS + 1);
    BROKEN("P1: attend has a tensor map that is none", add_maps(&f);
           f.kernels[0].maps[1].buffer = 3);
    BROKEN("P1: attend has a tensor map that is none", add_maps(&f);
           f.kernels[0].maps[1].columns = 136);
    BROKEN("P1: attend has a tensor map that is none", add_maps(&f);
           f.kernels[0].maps[0].box_columns = 48);
    BROKEN("P1: attend has a tensor map that is none", add_maps(&f);
           f.kernels[0].maps[0].box_rows = 257);
    BROKEN("P1: attend has a tensor map that is none", add_maps(&f);
           f.kernels[0].maps[0].rows = -1);
    BROKEN("P1: attend has a tensor map that is none", add_maps(&f);
           f.kernels[0].maps[0].rows = INT64_C(1) << 31);
    BROKEN("P1: the part rlx_step has more", turn_to_step(&f); f.kernels[2].nmaps = 1);
}
END_TEST

/* Between a cost's symbol and its numbers: which of them are parts. */
START_TEST(parts_are_last)
{
    fixture f;
    rlx_program *p;
    for (uint8_t mark = 1; mark <= 2; mark++) {
        fill(&f);
        f.kernels[0].cost = (rlx_program_cost){1, {0x1234567, 0x1234568}, {1, 2}};
        rlx_text bytes = encode(&f.p);
        uint8_t *at = memmem(bytes.data, bytes.len, &f.kernels[0].cost.bytes[0], sizeof(int64_t));
        ck_assert_ptr_nonnull(at);
        at[-4] = mark;
        seal((uint8_t *)bytes.data, bytes.len);
        EXPECT_ERROR(rlx_program_decode(bytes.data, bytes.len, &p), RLX_INVALID_FILE,
                     mark == 1 ? "0 where a kernel has 0, and a part behind all kernels 1"
                               : "2 where a kernel has 0");
        rlx_text_deinit(&bytes);
        rlx_dims_destroy(f.p.dims);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("program");
    SUITE_TEST(s, "round trip", round_trip);
    SUITE_TEST(s, "truncated anywhere", truncated_anywhere);
    SUITE_TEST(s, "flipped bytes", flipped_bytes);
    SUITE_TEST(s, "flipped and sealed", flipped_and_sealed);
    SUITE_TEST(s, "random damage", random_damage);
    SUITE_TEST(s, "rules", rules);
    SUITE_TEST(s, "steps", steps);
    SUITE_TEST(s, "tensor maps", tensor_maps);
    SUITE_TEST(s, "parts are last", parts_are_last);
    return suite_run(s, 9);
}
