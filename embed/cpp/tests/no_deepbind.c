/* Preloaded under AddressSanitizer, which refuses a flag that OpenVINO's thread library loads its parts with. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

__attribute__((visibility("default"))) void* dlopen(const char* name, int flags) {
    void* (*next)(const char*, int) = NULL;
    *(void**)&next = dlsym(RTLD_NEXT, "dlopen"); /* as POSIX writes it: C has no cast for it */
    return next(name, flags & ~RTLD_DEEPBIND);
}
