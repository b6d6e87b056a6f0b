/* What the sanitizers' run-time libraries do in a build of the tests. The stage starts with an empty environment, so it cannot be told
 * by ASAN_OPTIONS. Leaks are none of a program that execs or exits; signals are to do what they do in the shipped programs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

const char *__asan_default_options(void)
{
    return "detect_leaks=0:exitcode=99:detect_stack_use_after_return=1:strict_string_checks=1:"
           "handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:handle_abort=0";
}

const char *__ubsan_default_options(void)
{
    return "print_stacktrace=1:halt_on_error=1";
}
