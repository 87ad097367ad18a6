/* Reset of a RISC-V hart: stack, memory, main. */
    .option arch, +zicsr
    .section .vectors, "ax"
    .globl reset
reset:
    .option push
    .option norelax
    la gp, __global_pointer$
    .option pop
    la sp, stack_top
    la t0, fault
    csrw mtvec, t0
    la t0, bss_start
    la t1, bss_end
1:  bgeu t0, t1, 2f
    sw zero, 0(t0)
    addi t0, t0, 4
    j 1b
2:  call main
    call host_exit
    .balign 4
fault:
    li a0, 9
    call host_exit
