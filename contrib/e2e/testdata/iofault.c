// Preloaded, this lets the C library's writes to regular files fail with the error number that
// the file $IOFAULT holds, for as long as there is one: SQLite writes so, Go's logger does not.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int fails(int fd) {
  struct stat status;
  const char *path = getenv("IOFAULT");
  FILE *f;
  int number = 0;
  if (path == NULL || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || (f = fopen(path, "r")) == NULL)
    return 0;
  if (fscanf(f, "%d", &number) != 1)
    number = EIO;
  fclose(f);
  errno = number;
  return 1;
}

#define BREAK(result, name, parameters, ...)                                    \
  result name parameters {                                                      \
    static result(*next) parameters;                                            \
    if (next == NULL)                                                           \
      *(void **)&next = dlsym(RTLD_NEXT, #name);                                \
    return fails(fd) ? -1 : next(__VA_ARGS__);                                  \
  }

BREAK(ssize_t, write, (int fd, const void *buffer, size_t size), fd, buffer, size)
BREAK(ssize_t, pwrite, (int fd, const void *buffer, size_t size, off_t at), fd, buffer, size, at)
BREAK(ssize_t, pwrite64, (int fd, const void *buffer, size_t size, off64_t at), fd, buffer, size, at)
BREAK(int, fsync, (int fd), fd)
BREAK(int, fdatasync, (int fd), fd)
BREAK(int, ftruncate, (int fd, off_t size), fd, size)
BREAK(int, ftruncate64, (int fd, off64_t size), fd, size)
