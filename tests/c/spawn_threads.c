/* pyrun_spawn() from a C program with many threads, under UndefinedBehaviorSanitizer.
 *
 * Not under AddressSanitizer: the child runs instrumented functions in the parent's memory, on a stack that is not a thread's, and
 * leaves them by exec, never by return. What it marked as out of bounds in the shared shadow memory stays marked when the stack is
 * unmapped and the next one comes to lie there; the reports that follow are about nothing.
 *
 *     spawn_threads STAGE PLAN THREADS ROUNDS
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "spawn.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static char plan[65536];
static ssize_t plan_size;
static int stage_fd, rounds;
static atomic_int failures, handled, stop;

static int memfd_with(const char *name, const void *bytes, ssize_t size)
{
    int fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0 || write(fd, bytes, (size_t)size) != size)
        abort();
    return fd;
}

static void fail(const char *what, long number)
{
    fprintf(stderr, "%s: %ld\n", what, number);
    atomic_fetch_add(&failures, 1);
}

static void spawn_once(unsigned long long flags)
{
    const char *call = "";
    int pidfd = -1;
    int plan_fd = memfd_with("plan", plan, plan_size);
    int keep[2] = {stage_fd < plan_fd ? stage_fd : plan_fd, stage_fd < plan_fd ? plan_fd : stage_fd};
    struct pyrun_spawn spawn = {
        .clone_flags = flags,
        .cgroup_fd = -1,
        .pid_namespace_fd = -1,
        .stage_fd = stage_fd,
        .plan_fd = plan_fd,
        .keep_fds = keep,
        .keep_count = 2,
        .uid_map = flags & CLONE_NEWUSER ? "0 100000 10\n" : NULL,
        .gid_map = flags & CLONE_NEWUSER ? "0 100000 10\n" : NULL,
    };
    struct pyrun_flight *flight = NULL;
    long pid = pyrun_spawn(&spawn, &flight, &pidfd, &call);
    if (pid >= 0 && pyrun_land(flight, &call) < 0)
        fail(call, pid);
    struct pyrun_wait ended = {0};
    if (pid < 0) {
        fail(call, pid);
    } else {
        while (pyrun_wait_pidfd(pidfd, WEXITED, &ended) == -EINTR)
            ;
        if (ended.pid != pid || ended.code != CLD_EXITED || ended.status != 0)
            fail("exit status", ended.status);
        close(pidfd);
    }
    close(plan_fd);
}

static void *spawn_many(void *unused)
{
    static const unsigned long long flags[] = {0, CLONE_NEWUTS, CLONE_NEWUSER, CLONE_NEWPID | CLONE_NEWNS};
    for (int i = 0; i < rounds; i++)
        spawn_once(flags[i % 4]);
    return unused;
}

static void *allocate(void *unused)
{
    while (!atomic_load(&stop)) {
        char *volatile block = malloc(100 + (size_t)atomic_load(&handled) % 100000);
        if (block)
            memset(block, 1, 100);
        free(block);
    }
    return unused;
}

static void handle(int sig)
{
    (void)sig;
    atomic_fetch_add(&handled, 1);
}

static int failures_are_told(void)
{
    const char *call = "";
    int pidfd = -1;
    struct pyrun_spawn spawn = {
        .cgroup_fd = stage_fd, .pid_namespace_fd = -1, .stage_fd = stage_fd, .plan_fd = stage_fd};
    struct pyrun_flight *flight = NULL;
    long ret = pyrun_spawn(&spawn, &flight, &pidfd, &call);
    if (ret >= 0 || strcmp(call, "clone3(2)") != 0)
        return 0;
    spawn.cgroup_fd = -1;
    spawn.stage_fd = 0; /* no program */
    if (pyrun_spawn(&spawn, &flight, &pidfd, &call) < 0)
        return 0;
    long error = pyrun_land(flight, &call);
    struct pyrun_wait ended = {0};
    ret = pyrun_wait_pidfd(pidfd, WEXITED, &ended);
    close(pidfd);
    return error < 0 && strcmp(call, "execveat(2)") == 0 && ret == 1 && ended.status == 127;
}

int main(int argc, char **argv)
{
    pthread_t spawners[16], allocators[2];
    int threads = argc == 5 ? atoi(argv[3]) : 0;
    if (threads < 1 || threads > 16)
        return 2;
    rounds = atoi(argv[4]);
    stage_fd = open(argv[1], O_RDONLY | O_CLOEXEC);
    int plan_file = open(argv[2], O_RDONLY | O_CLOEXEC);
    plan_size = read(plan_file, plan, sizeof plan);
    if (stage_fd < 0 || plan_size <= 0)
        return 2;
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 300}, {0, 300}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < 2; i++)
        pthread_create(&allocators[i], NULL, allocate, NULL);
    for (int i = 0; i < threads; i++)
        pthread_create(&spawners[i], NULL, spawn_many, NULL);
    for (int i = 0; i < threads; i++)
        pthread_join(spawners[i], NULL);
    atomic_store(&stop, 1);
    for (int i = 0; i < 2; i++)
        pthread_join(allocators[i], NULL);
    if (!failures_are_told())
        fail("a failure was not told", 0);
    printf("%d failures, %s signals\n", atomic_load(&failures), atomic_load(&handled) ? "with" : "without");
    return atomic_load(&failures) != 0;
}
