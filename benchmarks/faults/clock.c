/* A wall clock that jumps, for the Python code of one service: see clock.py.
 *
 * Libraries in C keep the true clock: with a jump that the kernel does not know, their timed waits
 * would be wrong. The times of files jump, too: those written after a jump are as late as it is.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define MOST 255

struct jump {
    int64_t at;     /* true time of the jump, in nanoseconds */
    int64_t offset; /* from then on, in nanoseconds */
};
struct jumps {
    int64_t count, unused;
    struct jump each[MOST];
};
static const struct jumps *shared;
static void *python;

__attribute__((constructor)) static void open_clock(void)
{
    const char *path = getenv("MPA_FAULTS_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    Dl_info found;
    void *mapped;

    if (file < 0)
        return;
    mapped = mmap(NULL, sizeof(struct jumps), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED && dlsym(RTLD_DEFAULT, "Py_IsInitialized")
        && dladdr(dlsym(RTLD_DEFAULT, "Py_IsInitialized"), &found)) {
        shared = mapped;
        python = found.dli_fbase;
    }
}

static int is_python(void *caller)
{
    Dl_info found;

    return shared && dladdr(caller, &found) && found.dli_fbase == python;
}

static void shift(struct timespec *t)
{
    int64_t now = t->tv_sec * SECOND + t->tv_nsec;
    int64_t n = __atomic_load_n(&shared->count, __ATOMIC_ACQUIRE);

    while (n-- > 0)
        if (now >= shared->each[n].at) {
            now += shared->each[n].offset;
            break;
        }
    t->tv_sec = now / SECOND;
    t->tv_nsec = now % SECOND;
}

int clock_gettime(clockid_t id, struct timespec *t)
{
    static int (*real)(clockid_t, struct timespec *);
    int failed;

    if (!real)
        real = dlsym(RTLD_NEXT, "clock_gettime");
    failed = real(id, t);
    if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)
        && is_python(__builtin_return_address(0)))
        shift(t);
    return failed;
}

time_t time(time_t *into)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (is_python(__builtin_return_address(0)))
        shift(&now);
    if (into)
        *into = now.tv_sec;
    return now.tv_sec;
}

static void shift_all(struct stat64 *s)
{
    shift(&s->st_mtim);
    shift(&s->st_ctim);
    shift(&s->st_atim);
}

#define SHIFTED(name, parameters, arguments)                        \
    int name parameters                                             \
    {                                                               \
        static int(*real) parameters;                               \
        int failed;                                                 \
                                                                    \
        if (!real)                                                  \
            real = dlsym(RTLD_NEXT, #name);                         \
        failed = real arguments;                                    \
        if (!failed && is_python(__builtin_return_address(0)))      \
            shift_all(s);                                           \
        return failed;                                              \
    }

SHIFTED(stat64, (const char *path, struct stat64 *s), (path, s))
SHIFTED(lstat64, (const char *path, struct stat64 *s), (path, s))
SHIFTED(fstat64, (int file, struct stat64 *s), (file, s))
SHIFTED(fstatat64, (int folder, const char *path, struct stat64 *s, int flags),
        (folder, path, s, flags))
