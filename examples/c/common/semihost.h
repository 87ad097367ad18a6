/* Files, text and exit through a debugger or an emulator (Arm semihosting 3.0; the RISC-V
   specification takes over its operations). */
#ifndef SEMIHOST_H
#define SEMIHOST_H

#include <stdint.h>

/* A handle, or -1. write: 0 to read, 1 to write, as bytes. */
int32_t host_open(const char *name, int write);
/* How many of the bytes were read: fewer at the end of the file. */
uint32_t host_read(int32_t handle, void *to, uint32_t bytes);
/* Whether all bytes were written. */
int host_write(int32_t handle, const void *from, uint32_t bytes);
void host_close(int32_t handle);
/* Writes a line to the console. */
void host_print(const char *text);
/* Ends the program. */
void host_exit(int code);

#endif
