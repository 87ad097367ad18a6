/* Classifies samples: reads input.bin, one sample after another as the model's input type has it,
   prints the largest output of each, and writes all outputs to output.bin. The build names the model
   in MODEL_HEADER and its functions in MODEL(x) and SIZES(X), see model.mk. */
#include MODEL_HEADER
#include "counter.h"
#include "semihost.h"

static int8_t input[SIZES(INPUT_SIZE)];
static int8_t output[SIZES(OUTPUT_SIZE)];

/* n in decimal at `to`, ended by a zero. */
static char *decimal(char *to, uint32_t n)
{
    char digits[10];
    int count = 0;
    do {
        digits[count++] = (char)('0' + n % 10u);
        n /= 10u;
    } while (n != 0u);
    while (count > 0) {
        *to++ = digits[--count];
    }
    *to = '\0';
    return to;
}

static char *words(char *to, const char *text)
{
    while (*text != '\0') {
        *to++ = *text++;
    }
    *to = '\0';
    return to;
}

static void tell(uint32_t sample, uint32_t best, uint32_t ticks)
{
    char line[80];
    char *at = words(line, "sample ");
    at = decimal(at, sample);
    at = words(at, ": class ");
    at = decimal(at, best);
    at = words(at, ", ticks ");
    (void)decimal(at, ticks);
    host_print(line);
}

int main(void)
{
    const int32_t from = host_open("input.bin", 0);
    const int32_t to = host_open("output.bin", 1);
    uint32_t sample = 0;
    if ((from < 0) || (to < 0)) {
        host_print("input.bin or output.bin does not open");
        return 1;
    }
    counter_start();
    for (; host_read(from, input, sizeof input) == sizeof input; ++sample) {
        uint32_t best = 0;
        const uint32_t start = counter_read();
        const int status = MODEL(run)((const void *)input, (void *)output);
        const uint32_t ticks = counter_since(start);
        if (status != 0) {
            host_print("the model refuses to run");
            return 2;
        }
        for (uint32_t i = 1; i < sizeof output; ++i) {
            best = (output[i] > output[best]) ? i : best;
        }
        tell(sample, best, ticks);
        if (!host_write(to, output, sizeof output)) {
            host_print("output.bin cannot be written");
            return 3;
        }
    }
    host_close(from);
    host_close(to);
    return 0;
}
