/* As the portable one: for a sum within 30 bits, smmulr of its double is the product rounded. */
static inline int32_t model_scale(int32_t x, int32_t multiplier, int32_t shift)
{
#if defined(__GNUC__)
    int32_t high;
    int32_t lowered;
    __asm__("smmulr %0, %1, %2" : "=r"(high) : "r"(x * 2), "r"(multiplier));
    lowered = high + (high >> 31);
#else
    const int64_t product = (int64_t)x * multiplier;
    const int32_t high = (int32_t)((product + ((int64_t)1 << 30)) >> 31);
    const int32_t lowered = high + (high >> 31);
#endif
    return ((lowered >> (-1 - shift)) + 1) >> 1;
}
