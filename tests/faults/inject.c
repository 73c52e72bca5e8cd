/* Makes one call of this process that changes files fail: the n-th below a directory, in a chosen way.
 *
 * Preloaded; asleep until `inject_arm` is called, and asleep in every child that is executed, but in the program
 * that `INJECT_INTO` names: there it wakes up by itself, as `INJECT_HOW` says. Calls are counted from one, in the
 * order in which they are made. Paths that lie elsewhere are not looked at.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

enum kind { COUNT, FAIL, FULL, SHORT, KILL_BEFORE, KILL_AFTER, GONE };

static int armed, kind, wanted, number, calls;
static char root[PATH_MAX], met[PATH_MAX + 64];
static FILE *account;

void inject_arm(const char *directory, int how, int which, int error, const char *log) {
    snprintf(root, sizeof root, "%s", directory);
    kind = how, wanted = which, number = error, calls = 0, met[0] = 0;
    account = log && *log ? fopen(log, "ae") : NULL;
    if (account) setvbuf(account, NULL, _IOLBF, 0); /* a fork has nothing to write twice */
    armed = 1;
}

__attribute__((constructor)) static void wake_up(int argc, char **argv) {
    const char *into = getenv("INJECT_INTO"), *how = getenv("INJECT_HOW");
    char where[PATH_MAX], log[PATH_MAX] = "";
    int a_kind, which, error;
    if (!into || !how || sscanf(how, "%d %d %d %s %s", &a_kind, &which, &error, where, log) < 4) return;
    for (int i = 1; i < argc; i++)
        if (strstr(argv[i], into)) inject_arm(where, a_kind, which, error, log);
}

int inject_disarm(void) {
    armed = 0;
    if (account) fclose(account);
    account = NULL;
    return calls;
}

const char *inject_met(void) { return met; }

static int below(const char *path) {
    size_t length = strlen(root);
    return !strncmp(path, root, length) && (path[length] == '/' || path[length] == 0);
}

static int is_below(int fd, const char *path, char *shown) {
    char link[64], of[PATH_MAX];
    ssize_t length;
    if (path && *path == '/') {
        snprintf(shown, PATH_MAX, "%s", path);
        return below(path);
    }
    if (fd == AT_FDCWD)
        length = getcwd(of, sizeof of) ? (ssize_t)strlen(of) : -1;
    else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        length = readlink(link, of, sizeof of - 1);
    }
    if (length < 0) return 0;
    of[length] = 0;
    if (snprintf(shown, PATH_MAX, "%s%s%s", of, path ? "/" : "", path ? path : "") < 0) return 0;
    return below(of);
}

/* A full disk refuses these; what is removed, or changed where it is, it lets pass. */
static int needs_room(const char *call) {
    const char *calls[] = {"write", "copy", "open", "mkdir", "mkfifo", "mknod", "link", "symlink", "sync", "xattr"};
    if (!strncmp(call, "unlink", 6)) return 0;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (strstr(call, calls[i])) return 1;
    return 0;
}

/* What becomes of this call: 0 it is made, 1 it fails, 2 it is made by half, 3 it is made, and the last one. */
static int fate(const char *call, int fd, const char *path) {
    char shown[PATH_MAX];
    int kept = errno;
    if (!armed || !is_below(fd, path, shown)) {
        errno = kept;
        return 0;
    }
    errno = kept;
    int now = __sync_add_and_fetch(&calls, 1);
    if (account) fprintf(account, "%d %s %s\n", now, call, shown);
    if (kind == COUNT || now < wanted || (now > wanted && kind != FULL && kind != GONE)) return 0;
    if (kind == FULL && !needs_room(call)) return 0;
    if (now == wanted) snprintf(met, sizeof met, "%s %s", call, shown);
    switch (kind) {
    case SHORT:
        return 2;
    case KILL_BEFORE:
        kill(getpid(), SIGKILL);
        pause();
        return 1;
    case KILL_AFTER:
        return 3;
    default:
        errno = number;
        return 1;
    }
}

static void die(void) {
    kill(getpid(), SIGKILL);
    pause();
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = dlsym(RTLD_NEXT, #name)

/* A call that changes something, and answers -1 when it fails. */
#define CHANGE(type, name, parameters, arguments, fd, path) \
    type name parameters { \
        REAL(name); \
        int what = fate(#name, fd, path); \
        if (what == 1) return -1; \
        type answer = real arguments; \
        if (what == 3) die(); \
        return answer; \
    }

/* One that writes *size* bytes. */
#define WRITING(name, parameters, arguments, fd, size) \
    ssize_t name parameters { \
        REAL(name); \
        int what = fate(#name, fd, NULL); \
        if (what == 1) return -1; \
        if (what == 2 && size > 1) size /= 2; \
        ssize_t answer = real arguments; \
        if (what == 3) die(); \
        return answer; \
    }

WRITING(write, (int fd, const void *data, size_t size), (fd, data, size), fd, size)
WRITING(pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at), fd, size)
WRITING(pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at), fd, size)
WRITING(copy_file_range, (int from, off64_t *a, int fd, off64_t *b, size_t size, unsigned flags),
        (from, a, fd, b, size, flags), fd, size)

CHANGE(int, fsync, (int fd), (fd), fd, NULL)
CHANGE(int, fdatasync, (int fd), (fd), fd, NULL)
CHANGE(int, syncfs, (int fd), (fd), fd, NULL)
CHANGE(int, ftruncate, (int fd, off_t size), (fd, size), fd, NULL)
CHANGE(int, ftruncate64, (int fd, off64_t size), (fd, size), fd, NULL)
CHANGE(int, fchmod, (int fd, mode_t mode), (fd, mode), fd, NULL)
CHANGE(int, chmod, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path)
CHANGE(int, fchown, (int fd, uid_t uid, gid_t gid), (fd, uid, gid), fd, NULL)
CHANGE(int, fchownat, (int fd, const char *path, uid_t uid, gid_t gid, int flags), (fd, path, uid, gid, flags), fd, path)
CHANGE(int, futimens, (int fd, const struct timespec times[2]), (fd, times), fd, NULL)
CHANGE(int, utimensat, (int fd, const char *path, const struct timespec times[2], int flags), (fd, path, times, flags), fd, path)
CHANGE(int, fsetxattr, (int fd, const char *name, const void *value, size_t size, int flags), (fd, name, value, size, flags), fd, NULL)
CHANGE(int, rename, (const char *from, const char *to), (from, to), AT_FDCWD, from)
CHANGE(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), a, from)
CHANGE(int, renameat2, (int a, const char *from, int b, const char *to, unsigned flags), (a, from, b, to, flags), a, from)
CHANGE(int, unlink, (const char *path), (path), AT_FDCWD, path)
CHANGE(int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags), fd, path)
CHANGE(int, rmdir, (const char *path), (path), AT_FDCWD, path)
CHANGE(int, link, (const char *from, const char *to), (from, to), AT_FDCWD, to)
CHANGE(int, linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags), b, to)
CHANGE(int, symlink, (const char *target, const char *path), (target, path), AT_FDCWD, path)
CHANGE(int, symlinkat, (const char *target, int fd, const char *path), (target, fd, path), fd, path)
CHANGE(int, mkdir, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path)
CHANGE(int, mkdirat, (int fd, const char *path, mode_t mode), (fd, path, mode), fd, path)
CHANGE(int, mknodat, (int fd, const char *path, mode_t mode, dev_t device), (fd, path, mode, device), fd, path)
CHANGE(int, mkfifoat, (int fd, const char *path, mode_t mode), (fd, path, mode), fd, path)

#define MAKES(flags) ((flags) & (O_CREAT | O_TRUNC) || ((flags) & O_TMPFILE) == O_TMPFILE)

#define OPENING(name, parameters, arguments, fd, path) \
    int name parameters { \
        REAL(name); \
        mode_t mode = 0; \
        va_list more; \
        va_start(more, flags); \
        if (MAKES(flags)) mode = va_arg(more, mode_t); \
        va_end(more); \
        int what = MAKES(flags) ? fate(#name, fd, path) : 0; \
        if (what == 1) return -1; \
        int answer = real arguments; \
        if (what == 3) die(); \
        return answer; \
    }

OPENING(open, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD, path)
OPENING(open64, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD, path)
OPENING(openat, (int fd, const char *path, int flags, ...), (fd, path, flags, mode), fd, path)
OPENING(openat64, (int fd, const char *path, int flags, ...), (fd, path, flags, mode), fd, path)
