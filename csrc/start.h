/* The entry point of a program without a C library: stage, pause, sweep. Include it once, in the file that has program_main().
 *
 * The sanitizer builds of the tests have a C library; they define PYRUN_HOSTED and get an ordinary main().
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYRUN_START_H
#define PYRUN_START_H

#include "syscalls.h"

static int program_main(int argc, char **argv);

/* A descriptor's number, as an argument; -1 for what is none. */
static inline long parse_descriptor(const char *text)
{
    long value = 0;
    for (const char *c = text; *c; c++) {
        if (*c < '0' || *c > '9' || value > 0xfffff)
            return -1;
        value = value * 10 + (*c - '0');
    }
    return *text ? value : -1;
}

#ifdef PYRUN_HOSTED

int main(int argc, char **argv)
{
    return program_main(argc, argv);
}

#else

/* The compiler may emit calls to these for copies and clears, even in freestanding code (GCC manual, section 2.1). */
void *memcpy(void *restrict to, const void *restrict from, __SIZE_TYPE__ size);
void *memset(void *at, int value, __SIZE_TYPE__ size);

void *memcpy(void *restrict to, const void *restrict from, __SIZE_TYPE__ size)
{
    char *out = to;
    const char *in = from;
    while (size-- > 0) {
        *out++ = *in++;
        __asm__ volatile("" ::: "memory"); /* or the compiler turns this loop into a call of memcpy */
    }
    return to;
}

void *memset(void *at, int value, __SIZE_TYPE__ size)
{
    char *out = at;
    while (size-- > 0) {
        *out++ = (char)value;
        __asm__ volatile("" ::: "memory");
    }
    return at;
}

__attribute__((used, noreturn)) static void start(long *stack)
{
    sys_exit_group(program_main((int)stack[0], (char **)(stack + 1)));
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start: xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call start\n hlt");
#elif defined(__aarch64__)
__asm__(".globl _start\n_start: mov x29, #0\n mov x0, sp\n bl start\n brk #0");
#endif

#endif
#endif
