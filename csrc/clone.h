/* A clone that shares our memory and runs on a stack of its own: two return addresses on one stack have cost many programs a day.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYRUN_CLONE_H
#define PYRUN_CLONE_H

#include "syscalls.h"

/* clone3 whose child goes to child_start(argument), a function of the file that includes this, on the new stack, and never returns
 * here. */
static long clone_on_stack(struct clone_args *args, void *argument)
{
#if defined(__x86_64__)
    long ret;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %[argument], %%rdi\n\t"
                     "call child_start\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(ret)
                     : "a"((long)__NR_clone3), "D"(args), "S"(sizeof *args), [argument] "r"(argument)
                     : "rcx", "r11", "memory");
    return ret;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = __NR_clone3;
    register long x0 __asm__("x0") = (long)args;
    register long x1 __asm__("x1") = sizeof *args;
    register void *x19 __asm__("x19") = argument;
    __asm__ volatile("svc 0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, #0\n\t"
                     "mov x0, x19\n\t"
                     "bl child_start\n\t"
                     "brk #0\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x19)
                     : "memory");
    return x0;
#endif
}

#endif
