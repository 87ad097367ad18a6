/* x * multiplier * 2^(shift - 31), rounded twice: halves up after the multiplication, halves away
   from zero after the shift. The multiplier is at least 2^30; a positive shift is done first. */
static int32_t model_scale_any(int32_t x, int32_t multiplier, int32_t shift)
{
    const uint32_t left = (shift > 0) ? (uint32_t)shift : 0u;
    const uint32_t right = (shift < 0) ? (uint32_t)(-shift) : 0u;
    const int64_t product = (int64_t)(int32_t)((uint32_t)x << left) * multiplier;
    const int32_t high = (int32_t)((product + ((int64_t)1 << 30)) >> 31);
    const int32_t mask = (int32_t)((1u << right) - 1u);
    const int32_t threshold = (mask >> 1) + ((high < 0) ? 1 : 0);
    return (high >> right) + (((high & mask) > threshold) ? 1 : 0);
}
