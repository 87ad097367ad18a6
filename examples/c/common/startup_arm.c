/* Reset of a Cortex-M: memory, floating point and vector unit, main. */
#include <stdint.h>

#include "semihost.h"

extern uint32_t stack_top[], data_load[], data_start[], data_end[], bss_start[], bss_end[];
int main(void);

#define CPACR (*(volatile uint32_t *)0xE000ED88u)

__attribute__((noreturn)) void reset(void)
{
    const uint32_t *from = data_load;
    for (uint32_t *to = data_start; to != data_end; ++to) {
        *to = *from++;
    }
    for (uint32_t *to = bss_start; to != bss_end; ++to) {
        *to = 0u;
    }
    /* Coprocessors 10 and 11: floating point, and Helium. */
    CPACR |= 0xFu << 20;
    __asm__ volatile("dsb\nisb" ::: "memory");
    host_exit(main());
    for (;;) {
    }
}

static void fault(void)
{
    host_print("fault");
    host_exit(9);
}

typedef void (*vector)(void);

__attribute__((section(".vectors"), used)) static const vector vectors[16] = {
    (vector)stack_top, (vector)reset, fault, fault, fault, fault, fault, fault,
    fault, fault, fault, fault, fault, fault, fault, fault,
};
