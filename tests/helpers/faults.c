/* Fails calls that change files, for tests: loaded ahead of the C library (LD_PRELOAD, Linux).
 *
 * Nothing happens until `fault_arm` is called. From then on, calls are counted that open a file
 * under a directory for writing, write to it, cut it off, flush it, or make, link, rename or delete
 * something there. At the call with a given number, one of these things happens:
 *
 *   'k'  the process is killed, before the call
 *   't'  half of what is to be written is written, then the process is killed: a torn write
 *   's'  half of what is to be written is written, and the call returns that
 *   'n'  there is no room: calls that need some fail with ENOSPC
 *   'i'  the device fails: calls fail with EIO
 *
 * The last two last for as many calls as told. Writes through mapped memory can't be seen here.
 * Of what rag-tools and SQLite do, these are the memory that processes share beside a log of commits
 * (catalog.sqlite-shm), which SQLite makes anew from the log after a crash. What the C library does
 * by itself isn't seen either, such as the writes of a FILE; nothing in rag-tools uses one.
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
#include <unistd.h>

#define FILES 65536
#define REAL(name) ((__typeof__(&name))real(#name))

static char root[PATH_MAX];
static size_t root_length;
static long fatal, lasting, calls;
static int kind;
static int told = -1;
static char *opened[FILES]; /* the path of each file that was opened for writing, under the root */

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

/* Count calls under `directory`; from call `at` on, `count` calls fail in a way. Each call is told
 * to the file descriptor `log`, unless that is negative. */
void fault_arm(const char *directory, long at, int what, long count, int log) {
    snprintf(root, sizeof root, "%s", directory);
    root_length = strlen(root);
    fatal = at, lasting = count, kind = what, told = log, calls = 0;
}

long fault_calls(void) { return calls; }

/* Let everything work again; return how many calls there were. */
long fault_disarm(void) {
    root_length = 0;
    return calls;
}

/* Write the whole path to `into`; return whether it is under the root. */
static int under(int directory, const char *path, char *into) {
    char base[PATH_MAX] = "";
    if (!root_length || !path) return 0;
    if (path[0] != '/') {
        if (directory == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) return 0;
        } else {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
            ssize_t length = readlink(link, base, sizeof base - 1);
            if (length < 0) return 0;
            base[length] = 0;
        }
    }
    if (snprintf(into, PATH_MAX, "%s%s%s", base, base[0] ? "/" : "", path) >= PATH_MAX) return 0;
    return !strncmp(into, root, root_length) && (into[root_length] == '/' || !into[root_length]);
}

static const char *name_of(int file) {
    return root_length && file >= 0 && file < FILES ? opened[file] : NULL;
}

/* Count a call. Returns 0 if it may go on, an error number if it fails, -1 if it writes half. */
static int counted(const char *call, const char *path, long size, int room) {
    long number = __sync_add_and_fetch(&calls, 1);
    if (told >= 0) {
        char line[PATH_MAX + 100];
        int length = snprintf(line, sizeof line, "%s %ld %d %s\n", call, size, room,
                              path + root_length + (path[root_length] == '/'));
        if (REAL(write)(told, line, (size_t)length) != length) abort();
    }
    if (!kind || number < fatal || number >= fatal + lasting) return 0;
    switch (kind) {
        case 'k': raise(SIGKILL); return 0;
        case 't':
            if (size > 1) return -1;
            raise(SIGKILL);
            return 0;
        case 's': return size > 1 ? -1 : 0;
        case 'n': return room ? ENOSPC : 0;
        default: return EIO;
    }
}

static void half_written(void) {
    if (kind == 't') raise(SIGKILL);
}

#define CHECK(call, path, room, result)                     \
    {                                                       \
        int found = counted(call, path, 0, room);           \
        if (found > 0) return errno = found, (result);      \
    }

/* -- opening --------------------------------------------------------------------------------- */

static int fails_to_open(int directory, const char *path, int flags, char *whole) {
    if ((flags & O_ACCMODE) == O_RDONLY && !(flags & (O_CREAT | O_TRUNC))) return 0;
    if (!under(directory, path, whole)) return 0;
    int room = (flags & O_CREAT) && access(whole, F_OK);
    int found = counted(room ? "create" : "open", whole, 0, room);
    if (found > 0) {
        errno = found;
        return 1;
    }
    return 0;
}

static int keep(int file, const char *whole) {
    if (file >= 0 && file < FILES) {
        /* The old name isn't freed: another thread may be writing it to the log. */
        opened[file] = whole[0] ? strdup(whole) : NULL;
    }
    return file;
}

#define MODE()                                \
    mode_t mode = 0;                          \
    if (flags & (O_CREAT | __O_TMPFILE)) {    \
        va_list rest;                         \
        va_start(rest, flags);                \
        mode = (mode_t)va_arg(rest, int);     \
        va_end(rest);                         \
    }

#define OPEN(name)                                                              \
    int name(const char *path, int flags, ...) {                                \
        MODE()                                                                  \
        char whole[PATH_MAX] = "";                                              \
        if (fails_to_open(AT_FDCWD, path, flags, whole)) return -1;             \
        return keep(REAL(name)(path, flags, mode), whole);                      \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                            \
    int name(int directory, const char *path, int flags, ...) {                 \
        MODE()                                                                  \
        char whole[PATH_MAX] = "";                                              \
        if (fails_to_open(directory, path, flags, whole)) return -1;            \
        return keep(REAL(name)(directory, path, flags, mode), whole);           \
    }
OPENAT(openat)
OPENAT(openat64)

int __open_2(const char *path, int flags) { return open(path, flags); }
int __open64_2(const char *path, int flags) { return open64(path, flags); }
int __openat_2(int directory, const char *path, int flags) { return openat(directory, path, flags); }
int __openat64_2(int directory, const char *path, int flags) {
    return openat64(directory, path, flags);
}

int close(int file) {
    if (file >= 0 && file < FILES && opened[file]) {
        opened[file] = NULL;
    }
    return REAL(close)(file);
}

/* -- writing --------------------------------------------------------------------------------- */

/* How much to write: less than `size` for half of it, -1 if the call fails. */
static ssize_t allowed(const char *call, int file, size_t size) {
    const char *path = name_of(file);
    if (!path) return (ssize_t)size;
    int found = counted(call, path, (long)size, 1);
    if (found > 0) {
        errno = found;
        return -1;
    }
    return (ssize_t)(found < 0 ? size / 2 : size);
}

static ssize_t written(size_t size, ssize_t wanted, ssize_t done) {
    if ((size_t)wanted < size) half_written();
    return done;
}

ssize_t write(int file, const void *data, size_t size) {
    ssize_t wanted = allowed("write", file, size);
    return wanted < 0 ? -1 : written(size, wanted, REAL(write)(file, data, (size_t)wanted));
}

#define PWRITE(name, offset_t)                                                               \
    ssize_t name(int file, const void *data, size_t size, offset_t place) {                  \
        ssize_t wanted = allowed("pwrite", file, size);                                      \
        return wanted < 0 ? -1                                                               \
                          : written(size, wanted, REAL(name)(file, data, (size_t)wanted, place)); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

/* A vector is written as a whole or not at all, unless only its first piece is written. */
ssize_t writev(int file, const struct iovec *pieces, int count) {
    size_t size = 0;
    for (int i = 0; i < count; i++) size += pieces[i].iov_len;
    ssize_t wanted = allowed("writev", file, size);
    if (wanted < 0) return -1;
    if ((size_t)wanted == size) return REAL(writev)(file, pieces, count);
    size_t first = pieces[0].iov_len < (size_t)wanted ? pieces[0].iov_len : (size_t)wanted;
    return written(size, wanted, REAL(write)(file, pieces[0].iov_base, first));
}

#define SENDFILE(name, offset_t)                                                             \
    ssize_t name(int file, int from, offset_t *place, size_t size) {                         \
        ssize_t wanted = allowed("sendfile", file, size);                                    \
        return wanted < 0 ? -1                                                               \
                          : written(size, wanted, REAL(name)(file, from, place, (size_t)wanted)); \
    }
#include <sys/sendfile.h>
SENDFILE(sendfile, off_t)
SENDFILE(sendfile64, off64_t)

ssize_t copy_file_range(int from, off64_t *start, int file, off64_t *place, size_t size,
                        unsigned flags) {
    ssize_t wanted = allowed("copy", file, size);
    if (wanted < 0) return -1;
    return written(size, wanted,
                   REAL(copy_file_range)(from, start, file, place, (size_t)wanted, flags));
}

/* -- sizes and flushing ---------------------------------------------------------------------- */

#define ON_FILE(result, name, room, parameters, arguments)         \
    result name parameters {                                       \
        const char *path = name_of(file);                          \
        if (path) CHECK(#name, path, room, -1)                     \
        return REAL(name) arguments;                               \
    }
ON_FILE(int, ftruncate, 0, (int file, off_t size), (file, size))
ON_FILE(int, ftruncate64, 0, (int file, off64_t size), (file, size))
ON_FILE(int, fallocate, 1, (int file, int mode, off_t from, off_t size), (file, mode, from, size))
ON_FILE(int, fallocate64, 1, (int file, int mode, off64_t from, off64_t size),
        (file, mode, from, size))
ON_FILE(int, fdatasync, 1, (int file), (file))

int posix_fallocate(int file, off_t from, off_t size) {
    const char *path = name_of(file);
    int found = path ? counted("posix_fallocate", path, 0, 1) : 0;
    return found > 0 ? found : REAL(posix_fallocate)(file, from, size);
}

int posix_fallocate64(int file, off64_t from, off64_t size) {
    const char *path = name_of(file);
    int found = path ? counted("posix_fallocate", path, 0, 1) : 0;
    return found > 0 ? found : REAL(posix_fallocate64)(file, from, size);
}

/* A folder is flushed too, and is opened for reading. */
int fsync(int file) {
    char link[64], whole[PATH_MAX];
    if (root_length) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
        ssize_t length = readlink(link, whole, sizeof whole - 1);
        if (length > 0) {
            char again[PATH_MAX];
            whole[length] = 0;
            if (under(AT_FDCWD, whole, again)) CHECK("fsync", again, 1, -1)
        }
    }
    return REAL(fsync)(file);
}

/* -- names ----------------------------------------------------------------------------------- */

#define AT_PATH(name, room, parameters, arguments)                            \
    int name parameters {                                                     \
        char whole[PATH_MAX];                                                 \
        if (under(directory, path, whole)) CHECK(#name, whole, room, -1)      \
        return REAL(name) arguments;                                          \
    }
#define PATH(name, room, parameters, arguments)                               \
    int name parameters {                                                     \
        char whole[PATH_MAX];                                                 \
        if (under(AT_FDCWD, path, whole)) CHECK(#name, whole, room, -1)       \
        return REAL(name) arguments;                                          \
    }
PATH(unlink, 0, (const char *path), (path))
AT_PATH(unlinkat, 0, (int directory, const char *path, int flags), (directory, path, flags))
PATH(rmdir, 0, (const char *path), (path))
PATH(mkdir, 1, (const char *path, mode_t mode), (path, mode))
AT_PATH(mkdirat, 1, (int directory, const char *path, mode_t mode), (directory, path, mode))
PATH(truncate, 0, (const char *path, off_t size), (path, size))
PATH(rename, 0, (const char *old, const char *path), (old, path))
AT_PATH(renameat, 0, (int from, const char *old, int directory, const char *path),
        (from, old, directory, path))
PATH(link, 1, (const char *old, const char *path), (old, path))
AT_PATH(linkat, 1, (int from, const char *old, int directory, const char *path, int flags),
        (from, old, directory, path, flags))
PATH(symlink, 1, (const char *old, const char *path), (old, path))
