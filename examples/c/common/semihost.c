#include "semihost.h"

#include <string.h>

enum { SYS_OPEN = 0x01, SYS_CLOSE = 0x02, SYS_WRITE0 = 0x04, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT_EXTENDED = 0x20 };

static int32_t semihost(uint32_t operation, const void *parameters)
{
#if defined(__riscv)
    register uintptr_t a0 __asm__("a0") = operation;
    register uintptr_t a1 __asm__("a1") = (uintptr_t)parameters;
    /* The three instructions are the sign, uncompressed and within one page. */
    __asm__ volatile(".option push\n.option norvc\n.balign 16\n"
                     "slli x0, x0, 0x1f\nebreak\nsrai x0, x0, 7\n.option pop\n"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return (int32_t)a0;
#else
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = parameters;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return (int32_t)r0;
#endif
}

int32_t host_open(const char *name, int write)
{
    const uintptr_t parameters[3] = {(uintptr_t)name, write ? 5u : 1u, strlen(name)};
    return semihost(SYS_OPEN, parameters);
}

uint32_t host_read(int32_t handle, void *to, uint32_t bytes)
{
    const uintptr_t parameters[3] = {(uintptr_t)handle, (uintptr_t)to, bytes};
    const int32_t missing = semihost(SYS_READ, parameters);
    return (missing < 0) ? 0u : bytes - (uint32_t)missing;
}

int host_write(int32_t handle, const void *from, uint32_t bytes)
{
    const uintptr_t parameters[3] = {(uintptr_t)handle, (uintptr_t)from, bytes};
    return semihost(SYS_WRITE, parameters) == 0;
}

void host_close(int32_t handle)
{
    const uintptr_t parameters[1] = {(uintptr_t)handle};
    (void)semihost(SYS_CLOSE, parameters);
}

void host_print(const char *text)
{
    (void)semihost(SYS_WRITE0, text);
    (void)semihost(SYS_WRITE0, "\n");
}

void host_exit(int code)
{
    /* ADP_Stopped_ApplicationExit */
    const uintptr_t parameters[2] = {0x20026u, (uintptr_t)code};
    (void)semihost(SYS_EXIT_EXTENDED, parameters);
    for (;;) {
    }
}
