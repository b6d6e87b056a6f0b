/* Feeds plan_check() with damaged plans. A plan that it lets pass is then read as the steps would read it: every string to its end,
 * every list, every run of bytes, every slot. Each plan lies in a block of just its size, so AddressSanitizer sees one byte too far.
 *
 *     fuzz_plan SEED ROUNDS FILE...     files hold valid plans; prints how many damaged ones passed
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "child.c"

#define PLANS_MAX 64

static __u64 state;
static volatile __u64 sink; /* what is read must not be optimized away */

/* xorshift64*, Vigna 2014 */
static __u64 next_random(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1dull;
}

static __u64 below(__u64 limit)
{
    return next_random() % limit;
}

static void damage(unsigned char *block, sys_size size)
{
    static const __u64 edges[] = {0,           1,          2,          7,          8,          0x7f,
                                  0xff,        0xffff,     0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
                                  0x100000000, 1ull << 63, ~0ull - 1,  ~0ull};
    sys_size hot = sizeof(struct plan_header) + 8 * sizeof(struct plan_step);
    sys_size range = below(4) && size > hot ? hot : size; /* mostly where the numbers are */
    __u64 value = below(2) ? edges[below(sizeof edges / sizeof *edges)] : next_random() >> below(64);
    sys_size width = (sys_size)1 << below(4);
    sys_size at = below(range) & ~(width - 1);
    if (at + width <= size)
        memcpy(block + at, &value, width);
}

static void read_text(const char *text)
{
    sink += strlen(text);
}

static void read_string(const struct child *child, const struct plan_step *step, const struct shape *shape, int i)
{
    const char *text = step_string(child, step, i);
    if (shape->bytes[i]) {
        __u64 size = step->arg[shape->bytes[i] - 1] * shape->unit_bytes;
        for (__u64 k = 0; k < size; k++)
            sink += (unsigned char)text[k];
    } else if (shape->list[i]) {
        for (__u64 k = 0; k < step->arg[shape->list[i] - 1]; k++) {
            read_text(text);
            text += strlen(text) + 1;
        }
    } else if (text) {
        read_text(text);
    } else if (shape->strings >> i & 1) {
        abort();
    }
}

static void read_plan(const struct child *child)
{
    for (__u32 i = 0; i < child->header->slot_count; i++)
        if (child->slots[i].pending || child->slots[i].fd < -1)
            abort();
    for (__u32 i = 0; i < child->header->step_count; i++) {
        const struct plan_step *step = &child->steps[i];
        const struct shape *shape = find_shape(step->kind);
        if (!step_functions[step->kind])
            abort();
        for (int k = 0; k < 3; k++) {
            if (step->fd[k] != PLAN_NO_SLOT)
                sink += (__u64)child->slots[step->fd[k]].fd;
            else if (shape->slots >> k & 1)
                abort();
            read_string(child, step, shape, k);
        }
        child->stamps[i].end_ns = 1;
    }
}

static long check(const unsigned char *bytes, sys_size size)
{
    struct child child = {0};
    void *block = malloc(size);
    if (!block)
        abort();
    memcpy(block, bytes, size);
    long ret = plan_check(&child, block, size);
    if (ret == 0)
        read_plan(&child);
    free(block);
    return ret;
}

struct plan {
    unsigned char *bytes;
    sys_size size;
};

static struct plan load(const char *path)
{
    struct plan plan = {0};
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END))
        abort();
    plan.size = (sys_size)ftell(file);
    plan.bytes = malloc(plan.size);
    rewind(file);
    if (!plan.bytes || fread(plan.bytes, 1, plan.size, file) != plan.size)
        abort();
    fclose(file);
    if (check(plan.bytes, plan.size)) {
        fprintf(stderr, "%s: a good plan is refused\n", path);
        exit(1);
    }
    return plan;
}

int main(int argc, char **argv)
{
    struct plan plans[PLANS_MAX];
    int count = argc - 3;
    if (count < 1 || count > PLANS_MAX)
        return 2;
    for (int i = 0; i < count; i++)
        plans[i] = load(argv[3 + i]);
    state = strtoull(argv[1], NULL, 10) | 1;
    long rounds = atol(argv[2]), passed = 0;
    for (long i = 0; i < rounds; i++) {
        struct plan *plan = &plans[below((__u64)count)];
        unsigned char *bytes = malloc(plan->size);
        if (!bytes)
            abort();
        memcpy(bytes, plan->bytes, plan->size);
        for (__u64 k = 1 + below(4); k > 0; k--)
            damage(bytes, plan->size);
        sys_size size = below(8) ? plan->size : below(plan->size + 1);
        passed += check(bytes, size) == 0;
        free(bytes);
    }
    for (int i = 0; i < count; i++)
        free(plans[i].bytes);
    printf("%ld\n", passed);
    return 0;
}
