/* The last steps: find the program, wait at the gate, become the program.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "child.h"

#include <linux/errno.h>

static int has_slash(const char *text)
{
    for (; *text; text++)
        if (*text == '/')
            return 1;
    return 0;
}

/* directory + "/" + name into ret; an empty element of PATH is the current directory (POSIX, environment variables). Returns what
 * follows the element, or NULL at the end. */
static const char *next_candidate(char ret[CHILD_PATH_MAX], const char *path, const char *name, long *ret_error)
{
    sys_size at = 0;
    *ret_error = 0;
    for (; *path && *path != ':'; path++) {
        if (at + 2 >= CHILD_PATH_MAX)
            *ret_error = -ENAMETOOLONG;
        else
            ret[at++] = *path;
    }
    if (at)
        ret[at++] = '/';
    for (; *name; name++) {
        if (at + 1 >= CHILD_PATH_MAX)
            *ret_error = -ENAMETOOLONG;
        else
            ret[at++] = *name;
    }
    ret[at] = 0;
    return *path ? path + 1 : 0;
}

/* As execvp(3): an element that cannot be entered or does not hold the program is passed over; if there was a file that may not be
 * executed and nothing better came after it, that is the error. */
static long search(char ret[CHILD_PATH_MAX], const char *path, const char *name)
{
    long error = -ENOENT;
    while (path) {
        long found;
        path = next_candidate(ret, path, name, &found);
        if (found == 0)
            found = executable_by_permission(ret);
        if (found == 0)
            return 0;
        if (found == -EACCES)
            error = found;
        else if (found != -ENOENT && found != -ENOTDIR && found != -ENAMETOOLONG && found != -ELOOP)
            return found;
    }
    return error;
}

static long find(struct child *child, const char *program, const char *path)
{
    sys_size length = text_length(program);
    if (length == 0)
        return -ENOENT;
    if (length >= CHILD_PATH_MAX)
        return -ENAMETOOLONG;
    if (!has_slash(program))
        return search(child->found, path, program);
    for (sys_size i = 0; i <= length; i++)
        child->found[i] = program[i];
    return executable_by_permission(program);
}

static const struct plan_step *next_exec(const struct child *child)
{
    for (__u32 i = child->current; i < child->header->step_count; i++)
        if (child->steps[i].kind == PLAN_EXEC)
            return &child->steps[i];
    return 0;
}

long step_find_program(struct child *child, const struct plan_step *step)
{
    long ret = find(child, step_string(child, step, 0), step_string(child, step, 1));
    if (ret >= 0)
        ret = executable_by_format(child->found);
    const struct plan_step *exec = next_exec(child);
    return ret < 0 || !exec ? ret : executable_by_size(child, exec, child->found);
}

/* The parent opens the gate with one byte. If it is gone, or gives up, it closes the pipe, and the program never runs. A gate with a
 * slot of its own outlives the parent: whoever has the other end opens it. */
long step_gate(struct child *child, const struct plan_step *step)
{
    char go = 0;
    int gate_fd = step->fd[0] == PLAN_NO_SLOT ? child->header->gate_fd : step_fd(child, step, 0);
    child_report(child, PLAN_REPORT_GATE, 0);
    long ret;
    do
        ret = sys_read(gate_fd, &go, 1);
    while (ret == -EINTR);
    if (ret != 1)
        sys_exit_group(PLAN_STATUS_CLOSED);
    return 0;
}

static char **string_list(char **at, const char *strings, __u64 count)
{
    for (; count > 0; count--) {
        *at++ = (char *)(unsigned long)strings;
        strings += text_length(strings) + 1;
    }
    *at++ = 0;
    return at;
}

long step_exec(struct child *child, const struct plan_step *step)
{
    const char *named = step_string(child, step, 0);
    const char *program = named ? named : child->found;
    char **env = string_list(child->lists, step_string(child, step, 1), step->arg[0]);
    (void)string_list(env, step_string(child, step, 2), step->arg[1]);
    if (step->fd[0] != PLAN_NO_SLOT)
        return sys_execveat(step_fd(child, step, 0), "", child->lists, env, AT_EMPTY_PATH);
    return sys_execve(program, child->lists, env);
}
