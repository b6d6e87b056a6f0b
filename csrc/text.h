/* Text put together without a C library: each function writes at `out`, ends it with a zero, and returns where the zero stands.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYRUN_TEXT_H
#define PYRUN_TEXT_H

#include <linux/types.h>

static inline char *append_text(char *out, const char *text)
{
    while (*text)
        *out++ = *text++;
    *out = 0;
    return out;
}

static inline char *append_number(char *out, __s64 value)
{
    char digits[20];
    int count = 0;
    __u64 rest = value < 0 ? -(__u64)value : (__u64)value;
    if (value < 0)
        *out++ = '-';
    do {
        digits[count++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    while (count)
        *out++ = digits[--count];
    *out = 0;
    return out;
}

#endif
