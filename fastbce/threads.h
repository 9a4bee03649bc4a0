/* What _threads.pyx asks of the system: whether this process was forked, whether a call may have a team of threads, and
 * what time it is. */
#ifndef FASTBCE_THREADS_H
#define FASTBCE_THREADS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <link.h>
#endif

#ifdef _OPENMP
#include <omp.h>
#define FB_OPENMP 1
#else
#define FB_OPENMP 0
static inline int omp_get_max_threads(void)
{
    return 1;
}
static inline int omp_in_parallel(void)
{
    return 0;
}
#endif

/* ---- forks ---------------------------------------------------------------------------------------------------------
 *
 * The threads of an OpenMP runtime do not survive a fork, and a region in the child would wait for them forever,
 * whichever library they worked for before it: the child computes serially. So do its children. */

static atomic_int fb_forked;
static pid_t fb_pid;

static void fb_after_fork(void)
{
    atomic_store(&fb_forked, 1);
}

/* A child that was made by a system call, past the C library, has only its number to know itself by. */
static int fb_is_forked(void)
{
    if (!atomic_load(&fb_forked) && getpid() != fb_pid)
        fb_after_fork();
    return atomic_load(&fb_forked);
}

#if FB_OPENMP && defined(__linux__)

/* Objects are listed in the order in which they were loaded. */
typedef struct {
    const char *runtime, *package; /* file name of the OpenMP runtime; folder of this package */
    size_t length;                 /* of the folder's name */
    int before;                    /* whether the runtime came first */
} fb_search;

static int fb_which_first(struct dl_phdr_info *object, size_t size, void *search_)
{
    fb_search *search = search_;
    (void)size;
    search->before = strcmp(object->dlpi_name, search->runtime) == 0;
    return search->before || strncmp(object->dlpi_name, search->package, search->length) == 0;
}

static int fb_runtime_was_loaded(void)
{
    Dl_info runtime, own;
    fb_search search = {0};
    if (!dladdr((void *)omp_get_max_threads, &runtime) || !dladdr((void *)fb_after_fork, &own))
        return 1;
    search.runtime = runtime.dli_fname;
    search.package = own.dli_fname;
    search.length = strrchr(own.dli_fname, '/') ? strrchr(own.dli_fname, '/') - own.dli_fname + 1 : 1;
    dl_iterate_phdr(fb_which_first, &search);
    return search.before;
}

/* Whether this process is a child that has not begun another program since: PF_FORKNOEXEC in the flags, the seventh
 * field after the name, which is in parentheses and may hold anything. */
static int fb_was_forked_before(void)
{
    char line[512];
    unsigned flags = 0;
    FILE *file = fopen("/proc/self/stat", "r");
    if (file == NULL)
        return 0;
    const char *name_end = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
    fclose(file);
    if (name_end == NULL || sscanf(name_end, ") %*c %*d %*d %*d %*d %*d %u", &flags) != 1)
        return 0;
    return (flags & 0x40) != 0;
}

#else
static int fb_runtime_was_loaded(void)
{
    return 0;
}
static int fb_was_forked_before(void)
{
    return 0;
}
#endif

/* ---- teams ---------------------------------------------------------------------------------------------------------
 *
 * One region at a time: calls that other threads make meanwhile take one thread each, and so does one from within an
 * OpenMP region. And few threads have a team: the runtime keeps a team's threads for the one that started them, until
 * that one ends. */

enum { FB_MOST_TEAMS = 2, FB_MOST_THREADS = 1024 };

/* How many calls go without a team after late ones, at most. Tests that watch teams want more of them. */
#ifndef FB_MOST_ALONE
#define FB_MOST_ALONE 4096
#endif

static atomic_int fb_running; /* a lock, too: of fb_most_threads, and of what judges teams */
static atomic_int fb_teams;
static pthread_key_t fb_has_team; /* the largest team that the thread has had */
static int fb_most_threads = FB_MOST_THREADS;

static void fb_thread_ends(void *unused)
{
    (void)unused;
    atomic_fetch_sub(&fb_teams, 1);
}

static void fb_leave_team(void)
{
    atomic_store(&fb_running, 0);
}

static void *fb_wait_for(void *lock)
{
    pthread_mutex_lock(lock);
    pthread_mutex_unlock(lock);
    return NULL;
}

/* How many more threads the system starts at the moment, up to `most`. An OpenMP runtime ends the process where it wants
 * one too many: under a limit of a container, say, or of the address space. */
static int fb_startable(int most)
{
    pthread_t threads[FB_MOST_THREADS];
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    int count = 0;
    pthread_mutex_lock(&lock);
    while (count < most && pthread_create(&threads[count], NULL, fb_wait_for, &lock) == 0)
        count++;
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    return count;
}

/* How many threads a call may have that wants `most`. If it is more than one, fb_leave_team must follow. */
static int fb_take_team(int most)
{
    if (!FB_OPENMP || omp_in_parallel() || fb_is_forked() || atomic_exchange(&fb_running, 1))
        return 1;
    const int before = (int)(intptr_t)pthread_getspecific(fb_has_team);
    most = most < fb_most_threads ? most : fb_most_threads;
    if (before == 0 && atomic_load(&fb_teams) == FB_MOST_TEAMS)
        most = 1;
    else if (most > before && fb_startable(most - 1) < most - 1)
        most = fb_most_threads = fb_startable(most - 1) / 2 + 1; /* not to the very limit */
    if (most > before && most > 1) {
        if (pthread_setspecific(fb_has_team, (void *)(intptr_t)most) != 0)
            most = 1;
        else if (before == 0)
            atomic_fetch_add(&fb_teams, 1);
    }
    if (most == 1)
        fb_leave_team();
    return most;
}

/* ---- time, in seconds ------------------------------------------------------------------------------------------- */

static double fb_clock(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static double fb_now(void)
{
    return fb_clock(CLOCK_MONOTONIC);
}

/* To some milliseconds, in a quarter of the time. */
static double fb_about_now(void)
{
#ifdef CLOCK_MONOTONIC_COARSE
    return fb_clock(CLOCK_MONOTONIC_COARSE);
#else
    return fb_clock(CLOCK_MONOTONIC);
#endif
}

/* ---- when the library is imported ------------------------------------------------------------------------------- */

static int fb_threads_init(void)
{
    fb_pid = getpid();
    if (fb_was_forked_before() && fb_runtime_was_loaded())
        fb_after_fork();
    return pthread_key_create(&fb_has_team, fb_thread_ends) == 0 &&
           pthread_atfork(NULL, NULL, fb_after_fork) == 0;
}

#endif
