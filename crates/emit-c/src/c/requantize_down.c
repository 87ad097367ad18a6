/* x * multiplier * 2^(shift - 31), rounded twice: halves up after the multiplication, halves away
   from zero after the shift. The multiplier is at least 2^30, the shift at most -1. */
static inline int32_t model_scale(int32_t x, int32_t multiplier, int32_t shift)
{
    const int64_t product = (int64_t)x * multiplier;
    const int32_t high = (int32_t)((product + ((int64_t)1 << 30)) >> 31);
    const int32_t lowered = high + (high >> 31);
    return ((lowered >> (-1 - shift)) + 1) >> 1;
}
