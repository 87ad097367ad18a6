/* A clock that counts while the model runs: SysTick on Cortex-M, instret on RISC-V. */
#ifndef COUNTER_H
#define COUNTER_H

#include <stdint.h>

#if defined(__riscv)
static inline void counter_start(void)
{
}

static inline uint32_t counter_read(void)
{
    uint32_t count;
    __asm__ volatile(".option push\n.option arch, +zicsr\nrdinstret %0\n.option pop" : "=r"(count));
    return count;
}

static inline uint32_t counter_since(uint32_t start)
{
    return counter_read() - start;
}
#else
#define SYSTICK ((volatile uint32_t *)0xE000E010u)

static inline void counter_start(void)
{
    SYSTICK[1] = 0x00FFFFFFu;
    SYSTICK[2] = 0u;
    SYSTICK[0] = 5u;
}

static inline uint32_t counter_read(void)
{
    return SYSTICK[2];
}

/* It counts down, 24 bits. */
static inline uint32_t counter_since(uint32_t start)
{
    return (start - SYSTICK[2]) & 0x00FFFFFFu;
}
#endif

#endif
