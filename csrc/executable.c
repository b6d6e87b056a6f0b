/* Would the kernel run this file? Asked before the gate, so that what an exec refuses is an error of the creation: when the gates
 * are open, other containers of the pod have started.
 *
 * What is looked at is what execve(2) looks at first: permission, "#!" and its interpreter, an ELF file's interpreter, the size of
 * arguments and environment. What is left to the exec itself are formats that a kernel may have been taught (binfmt_misc), files
 * that may be executed but not read, and security modules.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "child.h"

#include <linux/elf.h>
#include <linux/errno.h>
#include <linux/resource.h>

#define ACCESS_EXECUTE 1       /* X_OK */
#define ACCESS_EFFECTIVE 0x200 /* AT_EACCESS */
#define SCRIPT_LINE_MAX 256    /* BINPRM_BUF_SIZE: the kernel reads so much of a file */
#define SCRIPT_DEPTH_MAX 5     /* interpreters that are scripts themselves: then the kernel says ELOOP (fs/exec.c) */
#define HEAD_BYTES 1024

/* The kernel's own limits: bprm_stack_limits() in fs/exec.c. */
#define STRING_MAX 131072ul    /* MAX_ARG_STRLEN */
#define TOTAL_LEAST 131072ul   /* ARG_MAX */
#define TOTAL_MOST (6ul << 20) /* three quarters of _STK_LIM */

#if defined(__x86_64__)
#define OUR_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define OUR_MACHINE EM_AARCH64
#endif

struct file_head {
    int fd;
    long size;
    char bytes[HEAD_BYTES];
};

/* What a file needs to run. */
enum format {
    FORMAT_ITSELF = 0,  /* or what only the kernel knows */
    FORMAT_SCRIPT = 1,  /* an interpreter, which may be a script */
    FORMAT_DYNAMIC = 2, /* a dynamic linker, whose own needs the kernel does not look at */
};

long executable_by_permission(const char *path)
{
    struct statx status;
    long ret = sys_statx(AT_FDCWD, path, 0, STATX_TYPE, &status);
    if (ret < 0)
        return ret;
    if ((status.stx_mode & S_IFMT) != S_IFREG)
        return -EACCES;
    return sys_faccessat2(AT_FDCWD, path, ACCESS_EXECUTE, ACCESS_EFFECTIVE);
}

/* "#!", blanks, the interpreter up to a blank or the end of the line (fs/binfmt_script.c). */
static long read_script(const struct file_head *head, char ret_interpreter[CHILD_PATH_MAX])
{
    long at = 2, length = 0;
    long end = head->size < SCRIPT_LINE_MAX ? head->size : SCRIPT_LINE_MAX;
    while (at < end && (head->bytes[at] == ' ' || head->bytes[at] == '\t'))
        at++;
    for (; at < end && head->bytes[at] != ' ' && head->bytes[at] != '\t' && head->bytes[at] != '\n' && head->bytes[at];
         at++)
        ret_interpreter[length++] = head->bytes[at];
    ret_interpreter[length] = 0;
    return length == 0 || at == SCRIPT_LINE_MAX ? -ENOEXEC : FORMAT_SCRIPT;
}

static long read_linker(int fd, const struct elf64_phdr *header, char ret_interpreter[CHILD_PATH_MAX])
{
    if (header->p_filesz < 2 || header->p_filesz > CHILD_PATH_MAX)
        return -ENOEXEC;
    long size = sys_pread64(fd, ret_interpreter, (sys_size)header->p_filesz, header->p_offset);
    if (size < 0)
        return size;
    return (__u64)size != header->p_filesz || ret_interpreter[size - 1] ? -ENOEXEC : FORMAT_DYNAMIC;
}

/* Of another machine or class: the kernel may have been taught to run it. */
static long read_elf(const struct file_head *head, char ret_interpreter[CHILD_PATH_MAX])
{
    struct elf64_hdr elf;
    struct elf64_phdr header;
    for (sys_size i = 0; i < sizeof elf; i++)
        ((char *)&elf)[i] = head->bytes[i];
    if (elf.e_ident[EI_CLASS] != ELFCLASS64 || elf.e_machine != OUR_MACHINE || elf.e_phentsize != sizeof header)
        return FORMAT_ITSELF;
    for (unsigned int i = 0; i < elf.e_phnum; i++) {
        long size = sys_pread64(head->fd, &header, sizeof header, elf.e_phoff + i * sizeof header);
        if (size != (long)sizeof header)
            return size < 0 ? size : -ENOEXEC;
        if (header.p_type == PT_INTERP)
            return read_linker(head->fd, &header, ret_interpreter);
    }
    return FORMAT_ITSELF;
}

static int is_text(const struct file_head *head)
{
    for (long i = 0; i < head->size; i++)
        if (!head->bytes[i])
            return 0;
    return 1;
}

static long read_head(const struct file_head *head, char ret_interpreter[CHILD_PATH_MAX])
{
    const char *b = head->bytes;
    if (head->size >= 2 && b[0] == '#' && b[1] == '!')
        return read_script(head, ret_interpreter);
    if (head->size >= (long)sizeof(struct elf64_hdr) && b[0] == 0x7f && b[1] == 'E' && b[2] == 'L' && b[3] == 'F')
        return read_elf(head, ret_interpreter);
    /* Nothing, or a script that does not say whose: a shell would take it for its own, the kernel does not. */
    return is_text(head) ? -ENOEXEC : FORMAT_ITSELF;
}

/* A format, with the interpreter if it names one. */
static long read_format(const char *path, char ret_interpreter[CHILD_PATH_MAX])
{
    struct file_head head;
    long fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
    if (fd < 0)
        return FORMAT_ITSELF;
    head.fd = (int)fd;
    head.size = sys_pread64(head.fd, head.bytes, sizeof head.bytes, 0);
    long ret = head.size < 0 ? head.size : read_head(&head, ret_interpreter);
    (void)sys_close(head.fd);
    return ret;
}

/* For an interpreter that is missing the kernel says ENOENT, which would read as if the program itself were. */
long executable_by_format(const char *path)
{
    char interpreter[CHILD_PATH_MAX];
    for (int scripts = 0; scripts <= SCRIPT_DEPTH_MAX; scripts++) {
        long format = read_format(path, interpreter);
        if (format <= FORMAT_ITSELF)
            return format;
        if (format == FORMAT_SCRIPT && scripts == SCRIPT_DEPTH_MAX)
            break;
        long ret = executable_by_permission(interpreter);
        if (ret < 0)
            return ret == -ENOENT || ret == -ENOTDIR ? -ELIBACC : ret;
        if (format == FORMAT_DYNAMIC)
            return 0;
        path = interpreter;
    }
    return -ELOOP;
}

/* ---- arguments and environment ---- */

static __u64 most_in_all(void)
{
    struct rlimit64 stack;
    __u64 most = TOTAL_MOST;
    if (sys_prlimit64(0, RLIMIT_STACK, 0, &stack) >= 0 && stack.rlim_cur / 4 < most)
        most = stack.rlim_cur / 4;
    return most > TOTAL_LEAST ? most : TOTAL_LEAST;
}

static long add_strings(const char *strings, __u64 count, __u64 *total)
{
    for (; count > 0; count--) {
        sys_size size = text_length(strings) + 1;
        if (size > STRING_MAX)
            return -E2BIG;
        *total += size;
        strings += size;
    }
    return 0;
}

/* The strings, the name of the program, and a pointer for each of the strings. */
long executable_by_size(const struct child *child, const struct plan_step *exec, const char *program)
{
    __u64 total = (exec->arg[0] + exec->arg[1]) * sizeof(char *) + text_length(program) + 1 + sizeof(char *);
    long ret = add_strings(step_string(child, exec, 1), exec->arg[0], &total);
    if (ret >= 0)
        ret = add_strings(step_string(child, exec, 2), exec->arg[1], &total);
    return ret < 0 ? ret : total > most_in_all() ? -E2BIG : 0;
}
