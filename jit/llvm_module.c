#include "jit/llvm_module.h"
#include "jit/build_id.h"

#include <elf.h>
#include <llvm-c/Analysis.h>
#include <llvm-c/ErrorHandling.h>
#include <llvm-c/Support.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jit/llvm_emit.h"

struct rlx_llvm {
    rlx_llvm_target target;
    const rlx_emit_engine *engine;
    LLVMContextRef cx;
    LLVMTargetMachineRef machine;
    char *layout;      /* data layout text, LLVM's */
    char message[512]; /* LLVM's first error of this kernel */
};

/* ---- LLVM's ways of failing
 * Errors in a context arrive at its diagnostic handler. What LLVM calls fatal ends the process
 * unless the handler does not return: it jumps back to the worker, whose context and target machine
 * are then in an unknown state and are abandoned. */

static _Thread_local jmp_buf *recovery;
static _Thread_local rlx_llvm *working;

static void note_error(rlx_llvm *w, const char *text)
{
    if (!w->message[0])
        snprintf(w->message, sizeof w->message, "%s", text);
}

static void on_diagnostic(LLVMDiagnosticInfoRef info, void *user)
{
    if (LLVMGetDiagInfoSeverity(info) != LLVMDSError)
        return;
    char *text = LLVMGetDiagInfoDescription(info);
    note_error(user, text);
    LLVMDisposeMessage(text);
}

static void on_fatal_error(const char *text)
{
    if (!recovery) /* not ours: the host's own use of LLVM */
        return;
    note_error(working, text);
    longjmp(*recovery, 1);
}

/* ---- workers ---- */

static pthread_mutex_t init_lock = PTHREAD_MUTEX_INITIALIZER;

typedef void init_fn(void);
typedef struct backend {
    const char *triple;
    init_fn *init[4];
    bool initialised;
} backend;

#define INIT(NAME)                                                           \
    {                                                                        \
        LLVMInitialize##NAME##TargetInfo, LLVMInitialize##NAME##Target,      \
            LLVMInitialize##NAME##TargetMC, LLVMInitialize##NAME##AsmPrinter \
    }
static backend backends[] = {
    [RLX_JIT_CPU] = {"x86_64-unknown-linux-gnu", INIT(X86), false},
    [RLX_JIT_AARCH64] = {"aarch64-unknown-linux-gnu", INIT(AArch64), false},
    [RLX_JIT_NVPTX] = {"nvptx64-nvidia-cuda", INIT(NVPTX), false},
    [RLX_JIT_AMDGPU] = {"amdgcn-amd-amdhsa", INIT(AMDGPU), false},
};
#undef INIT

/* What LLVM need not look for. Scalars that would better be masks: kernels have masks where they want them. */
static void set_options(void)
{
    static const char *const options[] = {"rlx", "-disable-x86-domain-reassignment"};
    LLVMParseCommandLineOptions(sizeof options / sizeof *options, options, NULL);
}

static void init_target(rlx_jit_kind kind)
{
    static bool opened;
    backend *b = &backends[kind];
    pthread_mutex_lock(&init_lock);
    if (!opened) {
        LLVMInstallFatalErrorHandler(on_fatal_error);
        set_options();
    }
    opened = true;
    for (int i = 0; i < 4 && !b->initialised; i++)
        b->init[i]();
    b->initialised = true;
    pthread_mutex_unlock(&init_lock);
}

static rlx_status open_llvm(rlx_llvm *w)
{
    const char *triple = backends[w->target.kind].triple;
    LLVMTargetRef target;
    char *error = NULL;
    if (LLVMGetTargetFromTriple(triple, &target, &error)) {
        rlx_status st = RLX_FAIL(RLX_UNSUPPORTED, "LLVM has no target %s: %s", triple, error);
        LLVMDisposeMessage(error);
        return st;
    }
    w->cx = LLVMContextCreate();
    LLVMContextSetDiagnosticHandler(w->cx, on_diagnostic, w);
    const LLVMCodeGenOptLevel level = w->engine == &rlx_emit_engine_host_team
                                          ? LLVMCodeGenLevelNone /* runs once, in tests */
                                          : LLVMCodeGenLevelDefault;
    w->machine = LLVMCreateTargetMachine(target, triple, w->target.cpu, w->target.features, level,
                                         LLVMRelocPIC, LLVMCodeModelDefault);
    if (!w->machine)
        return RLX_FAIL(RLX_UNSUPPORTED, "LLVM makes no target machine for %s", w->target.cpu);
    LLVMTargetDataRef data = LLVMCreateTargetDataLayout(w->machine);
    w->layout = LLVMCopyStringRepOfTargetData(data);
    LLVMDisposeTargetData(data);
    return RLX_OK;
}

static void close_llvm(rlx_llvm *w)
{
    LLVMDisposeMessage(w->layout);
    if (w->machine)
        LLVMDisposeTargetMachine(w->machine);
    if (w->cx)
        LLVMContextDispose(w->cx);
    w->layout = NULL;
    w->machine = NULL;
    w->cx = NULL;
}

static void destroy(rlx_llvm *w)
{
    if (!w)
        return;
    close_llvm(w);
    free((char *)w->target.cpu);
    free((char *)w->target.features);
    free(w);
}

static const rlx_emit_engine *engine_of(const rlx_llvm_target *t)
{
    if (t->kind == RLX_JIT_NVPTX)
        return &rlx_emit_engine_nvptx;
    if (t->kind == RLX_JIT_AMDGPU)
        return &rlx_emit_engine_amdgpu;
    return t->team > 1 ? &rlx_emit_engine_host_team : &rlx_emit_engine_cpu;
}

static rlx_status create(const rlx_llvm_target *target, rlx_llvm **out)
{
    rlx_llvm *w = calloc(1, sizeof *w);
    if (!w)
        return RLX_OOM();
    w->target = *target;
    w->target.cpu = strdup(target->cpu);
    w->target.features = strdup(target->features);
    w->engine = engine_of(target);
    rlx_status st = RLX_OK;
    if (!w->target.cpu || !w->target.features) {
        st = RLX_OOM();
    } else {
        init_target(target->kind);
        st = open_llvm(w);
    }
    if (st) {
        destroy(w);
        return st;
    }
    *out = w;
    return RLX_OK;
}

/* ---- objects ---- */

static bool is_part(const rlx_llvm_parts *parts, const char *name)
{
    for (int i = 0; parts && i < parts->n; i++)
        if (strcmp(parts->name[i].text, name) == 0)
            return true;
    return false;
}

/* The loader resolves nothing but parts: a kernel that calls out (libm, memset) is not one. */
static rlx_status check_object(const char *kernel, const rlx_llvm_parts *parts, const char *data,
                               size_t bytes)
{
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)data;
    if (bytes < sizeof *head || head->e_shoff + head->e_shnum * sizeof(Elf64_Shdr) > bytes)
        return RLX_FAIL(RLX_INTERNAL, "LLVM gave no ELF object for kernel @%s", kernel);
    const Elf64_Shdr *sections = (const Elf64_Shdr *)(data + head->e_shoff);
    for (int i = 0; i < head->e_shnum; i++) {
        if (sections[i].sh_type != SHT_SYMTAB)
            continue;
        const Elf64_Sym *sym = (const Elf64_Sym *)(data + sections[i].sh_offset);
        const char *names = data + sections[sections[i].sh_link].sh_offset;
        for (size_t k = 1; k < sections[i].sh_size / sizeof *sym; k++)
            if (sym[k].st_shndx == SHN_UNDEF && !is_part(parts, names + sym[k].st_name))
                return RLX_FAIL(RLX_UNSUPPORTED,
                                "the code of kernel @%s calls %s, which the loader"
                                " does not offer",
                                kernel, names + sym[k].st_name);
    }
    return RLX_OK;
}

/* PTX as it is, but for LLVM's numbers of calls: they stand in comments, and go on through all that a process compiles. */
static void put_ptx(const char *text, size_t bytes, rlx_text *out)
{
    static const char number[] = " // callseq ";
    const char *end = text + bytes, *comment;
    while ((comment = memmem(text, (size_t)(end - text), number, sizeof number - 1)) != NULL) {
        rlx_text_put_bytes(out, text, (size_t)(comment - text));
        const char *line = memchr(comment, '\n', (size_t)(end - comment));
        text = line ? line : end;
    }
    rlx_text_put_bytes(out, text, (size_t)(end - text));
}

/* Code generation; may jump away. */
static rlx_status generate(rlx_llvm *w, const char *kernel, LLVMModuleRef module,
                           rlx_llvm_form form, const rlx_llvm_parts *parts, rlx_text *out)
{
    bool object = form == RLX_LLVM_CODE && w->target.kind != RLX_JIT_NVPTX;
    char *error = NULL;
    LLVMMemoryBufferRef code = NULL;
    if (LLVMTargetMachineEmitToMemoryBuffer(
            w->machine, module, object ? LLVMObjectFile : LLVMAssemblyFile, &error, &code)) {
        note_error(w, error);
        LLVMDisposeMessage(error);
    }
    rlx_status st = RLX_OK;
    if (w->message[0]) {
        st = RLX_FAIL(RLX_UNSUPPORTED, "LLVM cannot compile kernel @%s for %s: %s", kernel,
                      w->target.cpu, w->message);
    } else {
        if (object)
            st = check_object(kernel, parts, LLVMGetBufferStart(code), LLVMGetBufferSize(code));
        if (!st && w->target.kind == RLX_JIT_NVPTX)
            put_ptx(LLVMGetBufferStart(code), LLVMGetBufferSize(code), out);
        else if (!st)
            rlx_text_put_bytes(out, LLVMGetBufferStart(code), LLVMGetBufferSize(code));
    }
    if (code)
        LLVMDisposeMemoryBuffer(code);
    return st ? st : out->oom ? RLX_OOM() : RLX_OK;
}

static rlx_status verify(const char *kernel, LLVMModuleRef module)
{
    char *error = NULL;
    rlx_status st = RLX_OK;
    if (LLVMVerifyModule(module, LLVMReturnStatusAction, &error))
        st = RLX_FAIL(RLX_INTERNAL, "LLVM IR of kernel @%s is wrong: %s", kernel, error);
    LLVMDisposeMessage(error);
    return st;
}

static rlx_status print_ir(LLVMModuleRef module, rlx_text *out)
{
    char *text = LLVMPrintModuleToString(module);
    rlx_text_put(out, text);
    LLVMDisposeMessage(text);
    return out->oom ? RLX_OOM() : RLX_OK;
}

/* One kernel, or a step, while it is made. */
typedef struct making {
    const char *name;
    const rlx_ir_func *const *kernels; /* of a step `n`; else one */
    int n;
    bool step;
    LLVMModuleRef module;
    bool cut; /* into parts */
    rlx_emit_parts parts;
} making;

static rlx_status build(rlx_llvm *w, making *m)
{
    if (m->step)
        return rlx_emit_step(w->engine, &w->target, m->kernels, m->n, w->cx, m->module);
    return rlx_emit_kernel(w->engine, &w->target, m->kernels[0], w->cx, m->module,
                           m->cut ? &m->parts : NULL);
}

static rlx_status emit_guarded(rlx_llvm *w, making *m, rlx_llvm_form form, int part, rlx_text *out)
{
    LLVMSetTarget(m->module, backends[w->target.kind].triple);
    LLVMSetDataLayout(m->module, w->layout);
    RLX_TRY(build(w, m));
    if (part >= m->parts.names.n)
        return RLX_FAIL(RLX_INTERNAL, "kernel @%s has %d parts, and no number %d", m->name,
                        m->parts.names.n, part);
    LLVMModuleRef module = part == RLX_LLVM_KERNEL ? m->module : m->parts.module;
    RLX_TRY(verify(m->name, module));
    if (form == RLX_LLVM_IR)
        return print_ir(module, out);
    return generate(w, m->name, module, form, part == RLX_LLVM_KERNEL ? &m->parts.names : NULL,
                    out);
}

/* AMX's tiles keep their shapes from a kernel's beginning to its end, which a part would not know of. */
static bool may_cut(const rlx_llvm *w)
{
    return w->engine == &rlx_emit_engine_cpu && !w->target.tiles_bf16 && !w->target.tiles_bytes;
}

static rlx_status make(rlx_llvm *w, making *m, rlx_llvm_form form, int part, rlx_text *out)
{
    if (!w->cx) /* abandoned after a fatal error */
        RLX_TRY(open_llvm(w));
    w->message[0] = 0;
    jmp_buf here;
    working = w;
    recovery = &here;
    if (setjmp(here)) {
        recovery = NULL;
        w->cx = NULL; /* leaked on purpose, with the target machine and the modules */
        w->machine = NULL;
        LLVMDisposeMessage(w->layout);
        w->layout = NULL;
        m->parts.module = NULL;
        return RLX_FAIL(RLX_UNSUPPORTED, "LLVM cannot compile kernel @%s for %s: %s", m->name,
                        w->target.cpu, w->message);
    }
    m->module = LLVMModuleCreateWithNameInContext(m->name, w->cx);
    rlx_status st = emit_guarded(w, m, form, part, out);
    recovery = NULL;
    LLVMDisposeModule(m->module);
    return st;
}

static rlx_status emit(rlx_llvm *w, const rlx_ir_func *kernel, rlx_llvm_form form,
                       rlx_llvm_parts *parts, int part, rlx_text *out)
{
    making m = {.name = kernel->name,
                .kernels = &kernel,
                .n = 1,
                .cut = parts && may_cut(w),
                .parts.wanted = part};
    rlx_status st = make(w, &m, form, part, out);
    if (parts)
        *parts = m.parts.names;
    rlx_emit_parts_deinit(&m.parts);
    return st;
}

static rlx_status emit_step(rlx_llvm *w, const rlx_ir_func *const *kernels, int n,
                            rlx_llvm_form form, rlx_text *out)
{
    making m = {.name = RLX_PROGRAM_STEP,
                .kernels = kernels,
                .n = n,
                .step = true,
                .parts.wanted = RLX_LLVM_KERNEL};
    return make(w, &m, form, RLX_LLVM_KERNEL, out);
}

static const rlx_llvm_module the_module = {
    .version = RLX_LLVM_API_VERSION,
    .build = RLX_BUILD_ID,
    .llvm = "LLVM " LLVM_VERSION_TEXT,
    .create = create,
    .destroy = destroy,
    .emit = emit,
    .emit_step = emit_step,
};

__attribute__((visibility("default"))) const rlx_llvm_module *rlx_llvm_module_get(void);

const rlx_llvm_module *rlx_llvm_module_get(void)
{
    return &the_module;
}
