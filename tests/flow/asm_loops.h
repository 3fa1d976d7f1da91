/* tests/flow/asm_loops.h: innermost loops of x86 assembly that multiply vectors, and how many of their
 * instructions touch the stack. */
#ifndef RLX_TESTS_FLOW_ASM_LOOPS_H
#define RLX_TESTS_FLOW_ASM_LOOPS_H

typedef struct asm_loops {
    int count;   /* of such loops */
    int stack;   /* stack accesses of the one with most */
    int percent; /* of a loop's instructions: of the worst */
} asm_loops;

/* Adds those of a kernel's text. */
void asm_loops_count(const char *text, asm_loops *out);

#endif
