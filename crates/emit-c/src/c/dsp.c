/* Four bytes from anywhere. */
static inline uint32_t model_load(const int8_t *from)
{
    uint32_t v;
    memcpy(&v, from, 4);
    return v;
}

/* Bytes 0 and 2 as 16-bit numbers. */
static inline uint32_t model_even(uint32_t v)
{
    return (uint32_t)__sxtb16((int8x4_t)v);
}

/* Bytes 1 and 3 as 16-bit numbers. */
static inline uint32_t model_odd(uint32_t v)
{
#if defined(__GNUC__)
    uint32_t wide;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(wide) : "r"(v));
    return wide;
#else
    return (uint32_t)__sxtb16((int8x4_t)((v >> 8) | (v << 24)));
#endif
}

/* Both products of 16-bit numbers added to a sum. */
static inline int32_t model_mac2(uint32_t a, uint32_t b, int32_t sum)
{
    return __smlad((int16x2_t)a, (int16x2_t)b, sum);
}

/* The low halves of a and b. */
static inline uint32_t model_low_halves(uint32_t a, uint32_t b)
{
#if defined(__GNUC__)
    uint32_t both;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(both) : "r"(a), "r"(b));
    return both;
#else
    return (a & 0xffffu) | (b << 16);
#endif
}

/* The high halves of a and b. */
static inline uint32_t model_high_halves(uint32_t a, uint32_t b)
{
#if defined(__GNUC__)
    uint32_t both;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(both) : "r"(b), "r"(a));
    return both;
#else
    return (a >> 16) | (b & 0xffff0000u);
#endif
}
